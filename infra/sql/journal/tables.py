"""Tables of what is written beside a row: events, audit, occurrences, signals."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from domain.journal.event_types import OriginKind
from domain.journal.signals import SubjectKind
from domain.journal.usage import UsagePeriod
from infra.sql.columns import BigKey, created_at, filtered, metadata
from infra.sql.types import Enum, Exact, Guid, Text, Utc, Varchar

_ZERO = text("0")
_COUNTS = ("Total", "Succeeded", "Failed", "FailedForGood", "Volume")


def _columns() -> list[Column[Any]]:
    return [
        Column("TenantId", Guid, nullable=False),
        Column("Kind", Enum(SubjectKind), nullable=False),
        Column("SubjectId", Guid, nullable=False),
        Column("Hour", Utc, nullable=False),
        *(Column(name, BigInteger, nullable=False, server_default=_ZERO) for name in _COUNTS),
        Column("Errors", Text, nullable=False),
        Column("Latency", Text, nullable=False),
    ]


signal_deltas = Table(
    "SignalDeltas",
    metadata,
    Column("Sequence", BigKey, primary_key=True, autoincrement=True),
    *_columns(),
    Index("IX_SignalDelta_Subject", "TenantId", "Kind", "SubjectId"),
)

signal_buckets = Table(
    "SignalBuckets",
    metadata,
    *_columns(),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    PrimaryKeyConstraint("TenantId", "Kind", "Hour", "SubjectId", name="PK_SignalBuckets"),
    Index("IX_SignalBucket_Hour", "Hour"),
)

tenant_usage = Table(
    "TenantUsage",
    metadata,
    Column("TenantId", Guid, nullable=False),
    Column("Period", Enum(UsagePeriod), nullable=False),
    Column("Start", Utc, nullable=False),
    *(
        Column(name, BigInteger, nullable=False, server_default=_ZERO)
        for name in ("Calls", "Events", "Deliveries", "Records")
    ),
    PrimaryKeyConstraint("TenantId", "Period", "Start", name="PK_TenantUsage"),
    Index("IX_TenantUsage_Start", "Period", "Start"),
)


audit_log = Table(
    "AuditLog",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("Sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("OccurredAt", Utc, nullable=False),
    Column("ActorUserId", Guid),
    Column("ActorKeyId", Guid),
    Column("Action", Exact(100), nullable=False),
    Column("TargetType", Exact(50), nullable=False),
    Column("TargetId", Exact(200), nullable=False),
    Column("Before", Text),
    Column("After", Text),
    Column("RequestId", Exact(128)),
    Column("TraceId", Exact(32)),
    Column("IpAddress", Exact(45)),
    Column("PreviousHash", Exact(64), nullable=False),
    Column("Hash", Exact(64), nullable=False),
    Index("IX_Audit_Target", "TenantId", "TargetId", "Sequence"),
    Index("IX_Audit_Occurred", "TenantId", "OccurredAt"),
)


# The tree over a tenant's audit rows: how far it has grown, and the newest head that was signed and kept.
audit_trees = Table(
    "AuditTrees",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("FirstSequence", BigInteger, nullable=False),
    Column("Size", BigInteger, nullable=False),
    Column("SignedSize", BigInteger, nullable=False),
    Column("Note", Text),
)

# Hashes of its perfect subtrees; level 0 has the leaves. They outlive the rows.
audit_nodes = Table(
    "AuditNodes",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("Level", Integer, primary_key=True, autoincrement=False),
    Column("Position", BigInteger, primary_key=True, autoincrement=False),
    Column("Hash", Exact(64), nullable=False),
)


domain_events = Table(
    "DomainEvents",
    metadata,
    Column("Sequence", BigKey, primary_key=True, autoincrement=True),
    Column("TenantId", Guid, nullable=False),
    Column("EventId", Exact(100), nullable=False),
    Column("EventType", Exact(100), nullable=False),
    Column("Subject", Varchar(200)),
    Column("Payload", Text, nullable=False),
    Column("OccurredAt", Utc, nullable=False),
    Column("TraceParent", Varchar(55)),
    # Who raised it. NULL: it is older than this column, and nobody knows.
    Column("Origin", Enum(OriginKind)),
    Column("OriginProvider", Exact(100)),
    Column("OriginIntegrationId", Guid),
    Column("AnnouncedAt", Utc, nullable=False),
    Column("FannedOutAt", Utc),
    Column("Hops", Integer, nullable=False, server_default=_ZERO),
    Column("Laps", Integer, nullable=False, server_default=_ZERO),
    Column("Digest", BigInteger),
    Column("HeldAt", Utc),
    created_at(),
    UniqueConstraint("TenantId", "EventId", name="UQ_DomainEvent_Id"),
    # The outbox: what is committed and not yet fanned out.
    filtered("IX_DomainEvent_Outbox", "AnnouncedAt", where="FannedOutAt IS NULL"),
    Index("IX_DomainEvent_CreatedAt", "CreatedAt"),
    # What may be repeated, by its data; what goes round; and what a loop's brake holds.
    filtered("IX_DomainEvent_Digest", "TenantId", "Digest", "CreatedAt", where="Digest IS NOT NULL"),
    filtered("IX_DomainEvent_Laps", "TenantId", "FannedOutAt", "EventType", where="Laps >= 8"),
    filtered("IX_DomainEvent_Held", "TenantId", "EventType", "Sequence", where="HeldAt IS NOT NULL"),
)


# Alerts that the queue does not have yet.
pending_alerts = Table(
    "PendingAlerts",
    metadata,
    Column("AlertId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("Kind", Exact(100), nullable=False),
    Column("Data", Text, nullable=False),
    created_at(),
    Index("IX_PendingAlert_CreatedAt", "CreatedAt"),
)

# What security forbids, while it goes on; a row ends with its burst.
security_bursts = Table(
    "SecurityBursts",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("Source", Exact(20), primary_key=True),
    Column("Subject", Exact(100), primary_key=True),
    Column("Label", Varchar(200), nullable=False),
    Column("StartedAt", Utc, nullable=False),
    Column("LastAt", Utc, nullable=False),
    Column("Occurred", BigInteger, nullable=False),
    Column("Reason", Varchar(400), nullable=False),
    Column("SourceIp", Exact(45)),
    Column("LoggedAt", Utc),
    Column("ToldCount", BigInteger),
)
