"""Tables of tenants and users."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, Table, text

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

# What the platform decided about a tenant. A table of its own: the row of Tenants is locked by every audited change.
tenant_standings = Table(
    "TenantStandings",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("SuspendedAt", Utc),
    Column("Reason", Varchar(400)),
    Column("RestoringSince", Utc),
    Column("ResumedAt", Utc),
    Column("MostWebhooks", Integer),
    Column("MostApiKeys", Integer),
    Column("MostIntegrations", Integer),
    Column("MostRequestsPerHour", Integer),
    Column("MostEventsPerHour", Integer),
    Column("DeletionRequestedAt", Utc),
    Column("DeletionRequestedBy", Guid),
    # How far it has come: the place, the last row that was seen to there, and what was deleted so far.
    Column("DeletionPlace", Integer, nullable=False, server_default=text("0")),
    Column("DeletionPosition", Guid),
    Column("DeletionCounts", Text),
    Column("DeletedAt", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
)
