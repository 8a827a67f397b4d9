"""Tables of tenants, users and what they did."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, text

from infra.sql.columns import created_at, metadata
from infra.sql.types import Exact, Guid, Text, Utc, Varchar

tenants = Table(
    "Tenants",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("LockVersion", BigInteger, nullable=False, server_default=text("0")),
    created_at(),
    # The two ends of the tenant's audit chain: where retention cut it, and its newest row.
    Column("AuditAnchorSequence", BigInteger, nullable=False, server_default=text("0")),
    Column("AuditAnchorHash", Exact(64), nullable=False, server_default=text("''")),
    Column("AuditSequence", BigInteger, nullable=False, server_default=text("0")),
    Column("AuditHash", Exact(64), nullable=False, server_default=text("''")),
)

users = Table(
    "Users",
    metadata,
    Column("UserId", Guid, primary_key=True),
    Column("TenantId", Guid, ForeignKey("Tenants.TenantId", name="FK_User_Tenant"), nullable=False),
    Column("DisplayName", Varchar(200), nullable=False, server_default=text("''")),
    created_at(),
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
