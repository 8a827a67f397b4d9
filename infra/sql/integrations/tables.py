"""Tables of integrations and their logs."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, text

from infra.sql.columns import clustered, created_at, filtered, integration, metadata, scattered_key, user
from infra.sql.types import Exact, Flag, Guid, Text, Utc, Varchar

integrations = Table(
    "Integrations",
    metadata,
    Column("IntegrationId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("Name", Varchar(200), nullable=False),
    Column("IntegrationType", Integer, nullable=False),
    Column("Provider", Varchar(100), nullable=False),
    Column("Status", Integer, nullable=False),
    Column("Configuration", Text, nullable=False),
    Column("IsEnabled", Flag, nullable=False, server_default=text("1")),
    Column("HealthStatus", Integer, nullable=False, server_default=text("3")),
    Column("LastHealthCheck", Utc),
    Column("LastSyncTime", Utc),
    Column("ActiveSlot", Exact(400)),
    created_at(),
    Column("ModifiedAt", Utc),
    user("CreatedBy", constraint="FK_Integration_CreatedBy"),
    user("ModifiedBy", constraint="FK_Integration_ModifiedBy", nullable=True),
    Index("IX_Integration_Type", "IntegrationType"),
    Index("IX_Integration_Status", "Status"),
    Index("IX_Integration_Provider", "Provider"),
    Index("IX_Integration_Tenant", "TenantId"),
    # How many are how well, without reading their configurations.
    Index("IX_Integration_Health", "Provider", "Status", "HealthStatus"),
    # Where the secrets are, and what else the hub keeps about an integration.
    Column("SecretName", Exact(127)),
    Column("AllowTls12", Flag, nullable=False, server_default=text("0")),
    Column("StatusReason", Text),
    Column("SuspensionCause", Integer),
    Column("ValidatedAt", Utc),
    Column("Account", Text),
    Column("Vitals", Text),
    Column("ConsecutiveFailures", Integer, nullable=False, server_default=text("0")),
    Column("ProbeAfter", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    # Whose calendar it is; which account at the provider it uses, and the OAuth client that its grant was given to.
    Column("OwnerId", Guid),
    Column("AccountHash", Exact(64)),
    Column("ClientHash", Exact(64)),
    filtered("IX_Integration_Client", "ClientHash", "AccountHash", where="ClientHash IS NOT NULL"),
    # Which of many secret names are still in use.
    filtered("IX_Integration_Secret", "SecretName", where="SecretName IS NOT NULL"),
    # BR-IM-01: one active integration per slot, whoever races
    filtered(
        "UX_Integration_ActiveSlot", "TenantId", "ActiveSlot", where="ActiveSlot IS NOT NULL", unique=True
    ),
)

integration_logs = Table(
    "IntegrationLogs",
    metadata,
    Column("IntegrationLogId", Guid, nullable=False),
    integration("FK_IntegrationLog_Integration"),
    Column("LogLevel", Integer, nullable=False),
    Column("Message", Text, nullable=False),
    Column("Details", Text),
    Column("Exception", Text),
    Column("RequestId", Guid),
    created_at(),
    Index("IX_IntegrationLog_Integration", "IntegrationId"),
    scattered_key("IntegrationLogId"),
    clustered("IX_IntegrationLog_CreatedAt", "CreatedAt"),
    Index("IX_IntegrationLog_Level", "LogLevel"),
)
