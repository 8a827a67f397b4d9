"""Tables of alerts."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)

from domain.journal.signals import SubjectKind
from domain.monitoring.alerts.model import AlertStatus, NotificationStatus, Severity, Transition
from domain.monitoring.anomalies.model import Direction
from domain.monitoring.anomalies.ports import Trait
from infra.sql.columns import filtered, metadata
from infra.sql.types import Enum, Exact, Flag, Guid, Named, Text, Utc, Varchar

# The hub's own alerts have a tenant id that is no tenant's, so nothing refers to Tenants.
alerts = Table(
    "Alerts",
    metadata,
    Column("AlertId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("Kind", Exact(40), nullable=False),
    Column("Subject", Exact(100), nullable=False),
    Column("Severity", Enum(Severity), nullable=False),
    Column("Status", Enum(AlertStatus), nullable=False),
    Column("Summary", Varchar(400), nullable=False),
    Column("Details", Text, nullable=False),
    Column("Occurrences", Integer, nullable=False, server_default=text("1")),
    Column("OpenedAt", Utc, nullable=False),
    Column("LastSeenAt", Utc, nullable=False),
    Column("AcknowledgedAt", Utc),
    Column("AcknowledgedBy", Guid),
    Column("Note", Varchar(400)),
    Column("RecoveredAt", Utc),
    Column("Recovery", Varchar(400)),
    Column("ClosedAs", Exact(20)),
    Column("Reopenings", Integer, nullable=False, server_default=text("0")),
    Column("Successes", Integer, nullable=False, server_default=text("0")),
    Column("NotificationFailure", Varchar(400)),
    # one that has not recovered, whoever races
    filtered("UX_Alert_Active", "TenantId", "Kind", "Subject", where="RecoveredAt IS NULL", unique=True),
    filtered("IX_Alert_Active", "Kind", where="RecoveredAt IS NULL"),
    Index("IX_Alert_Opened", "TenantId", "OpenedAt"),
    Index("IX_Alert_Subject", "TenantId", "Kind", "Subject", "RecoveredAt"),
    filtered("IX_Alert_Recovered", "RecoveredAt", where="RecoveredAt IS NOT NULL"),
)

alert_rules = Table(
    "AlertRules",
    metadata,
    Column("TenantId", Guid, nullable=False),
    Column("Kind", Exact(40), nullable=False),
    Column("IsEnabled", Flag),
    Column("Severity", Enum(Severity)),
    Column("Threshold", Float),
    Column("MinimumVolume", Integer),
    Column("Sinks", Text, nullable=False),
    Column("ModifiedAt", Utc, nullable=False),
    Column("ModifiedBy", Guid, nullable=False),
    Column("Version", Integer, nullable=False),
    PrimaryKeyConstraint("Kind", "TenantId", name="PK_AlertRules"),
)

alert_notifications = Table(
    "AlertNotifications",
    metadata,
    Column("NotificationId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column(
        "AlertId",
        Guid,
        ForeignKey("Alerts.AlertId", name="FK_AlertNotification_Alert", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("Transition", Enum(Transition), nullable=False),
    Column("IntegrationId", Guid, nullable=False),
    Column("Recipient", Exact(254), nullable=False),
    Column("Status", Enum(NotificationStatus), nullable=False),
    Column("Attempts", Integer, nullable=False, server_default=text("0")),
    Column("DueAt", Utc, nullable=False),
    Column("SentAt", Utc),
    Column("Detail", Varchar(400)),
    Column("CreatedAt", Utc, nullable=False),
    # one message a recipient and change
    UniqueConstraint(
        "AlertId", "Transition", "IntegrationId", "Recipient", name="UQ_AlertNotification_Message"
    ),
    filtered("IX_AlertNotification_Due", "DueAt", where="Status = 0"),
)


anomalies = Table(
    "Anomalies",
    metadata,
    Column("AnomalyId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("SubjectKind", Enum(SubjectKind), nullable=False),
    Column("SubjectId", Guid, nullable=False),
    Column("Metric", Exact(40), nullable=False),
    Column("Direction", Enum(Direction), nullable=False),
    Column("Detail", Varchar(400), nullable=False),
    Column("Observed", Float),
    Column("Typical", Float),
    Column("Low", Float),
    Column("High", Float),
    Column("Score", Float),
    Column("Hours", Integer, nullable=False, server_default=text("1")),
    Column("StartedAt", Utc, nullable=False),
    Column("LastSeenAt", Utc, nullable=False),
    Column("EndedAt", Utc),
    Column("AcknowledgedAt", Utc),
    Column("AcknowledgedBy", Guid),
    Column("Note", Varchar(400)),
    Column("SnoozedUntil", Utc),
    # one that has not ended, whoever races
    filtered(
        "UX_Anomaly_Active",
        "TenantId",
        "SubjectId",
        "SubjectKind",
        "Metric",
        "Direction",
        where="EndedAt IS NULL",
        unique=True,
    ),
    Index("IX_Anomaly_Started", "TenantId", "StartedAt"),
    filtered("IX_Anomaly_Snoozed", "TenantId", "SnoozedUntil", where="SnoozedUntil IS NOT NULL"),
    filtered("IX_Anomaly_Ended", "EndedAt", where="EndedAt IS NOT NULL"),
)

anomaly_watermarks = Table(
    "AnomalyWatermarks",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("Hour", Utc, nullable=False),
)

key_sightings = Table(
    "KeySightings",
    metadata,
    Column("ApiKeyId", Guid, nullable=False),
    Column("Trait", Enum(Trait), nullable=False),
    Column("Value", Named(100), nullable=False),
    Column("TenantId", Guid, nullable=False),
    Column("FirstSeenAt", Utc, nullable=False),
    Column("LastSeenAt", Utc, nullable=False),
    PrimaryKeyConstraint("ApiKeyId", "Trait", "Value", name="PK_KeySightings"),
    Index("IX_KeySighting_LastSeen", "LastSeenAt"),
)
