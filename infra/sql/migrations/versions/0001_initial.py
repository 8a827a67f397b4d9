"""Initial schema: section 13 of the specification, and what the webhook pipeline adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.columns import BigKey, utc_now
from infra.sql.types import Exact, Flag, Guid, Text, Utc, Varchar

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_domain_events()
    _create_tenants()
    _create_users()
    _create_api_keys()
    _create_integrations()
    _create_data_sync_jobs()
    _create_integration_logs()
    _create_webhooks()
    _create_webhook_deliveries()
    _create_webhook_subscriptions()
    _create_webhook_delivery_attempts()


def downgrade() -> None:
    for table in (
        "WebhookDeliveryAttempts",
        "WebhookSubscriptions",
        "WebhookDeliveries",
        "Webhooks",
        "IntegrationLogs",
        "DataSyncJobs",
        "Integrations",
        "APIKeys",
        "Users",
        "Tenants",
        "DomainEvents",
    ):
        op.drop_table(table)


def _filtered(name: str, table: str, columns: list[str], *, where: str, unique: bool = False) -> None:
    op.create_index(
        name, table, columns, unique=unique, sqlite_where=sa.text(where), mssql_where=sa.text(where)
    )


def _create_domain_events() -> None:
    op.create_table(
        "DomainEvents",
        sa.Column("Sequence", BigKey, nullable=False, autoincrement=True),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("EventId", Exact(100), nullable=False),
        sa.Column("EventType", Exact(100), nullable=False),
        sa.Column("Subject", Varchar(200), nullable=True),
        sa.Column("Payload", Text, nullable=False),
        sa.Column("OccurredAt", Utc, nullable=False),
        sa.Column("TraceParent", Varchar(55), nullable=True),
        sa.Column("AnnouncedAt", Utc, nullable=False),
        sa.Column("FannedOutAt", Utc, nullable=True),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("Sequence", name="PK_DomainEvents"),
        sa.UniqueConstraint("TenantId", "EventId", name="UQ_DomainEvent_Id"),
    )
    op.create_index("IX_DomainEvent_CreatedAt", "DomainEvents", ["CreatedAt"])
    _filtered("IX_DomainEvent_Outbox", "DomainEvents", ["AnnouncedAt"], where="FannedOutAt IS NULL")


def _create_tenants() -> None:
    op.create_table(
        "Tenants",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("LockVersion", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("TenantId", name="PK_Tenants"),
    )


def _create_users() -> None:
    op.create_table(
        "Users",
        sa.Column("UserId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("DisplayName", Varchar(200), nullable=False, server_default=sa.text("''")),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("UserId", name="PK_Users"),
        sa.ForeignKeyConstraint(["TenantId"], ["Tenants.TenantId"], name="FK_User_Tenant"),
    )


def _create_api_keys() -> None:
    op.create_table(
        "APIKeys",
        sa.Column("APIKeyId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("KeyName", Varchar(100), nullable=False),
        sa.Column("KeyHash", Exact(64), nullable=False),
        sa.Column("KeyPrefix", Exact(8), nullable=False),
        sa.Column("Scopes", Text, nullable=False),
        sa.Column("ExpiresAt", Utc, nullable=True),
        sa.Column("IsActive", Flag, nullable=False, server_default=sa.text("1")),
        sa.Column("LastUsedAt", Utc, nullable=True),
        sa.Column("UsageCount", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("RateLimitPerHour", sa.Integer, nullable=False, server_default=sa.text("1000")),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.Column("CreatedBy", Guid, nullable=False),
        sa.Column("RevokedAt", Utc, nullable=True),
        sa.Column("RevokedBy", Guid, nullable=True),
        sa.PrimaryKeyConstraint("APIKeyId", name="PK_APIKeys"),
        sa.ForeignKeyConstraint(["CreatedBy"], ["Users.UserId"], name="FK_APIKey_CreatedBy"),
        sa.ForeignKeyConstraint(["RevokedBy"], ["Users.UserId"], name="FK_APIKey_RevokedBy"),
    )
    _filtered("IX_APIKey_Active", "APIKeys", ["IsActive"], where="IsActive = 1")
    op.create_index("IX_APIKey_Hash", "APIKeys", ["KeyHash"], unique=True)
    op.create_index("IX_APIKey_Prefix", "APIKeys", ["KeyPrefix"])
    op.create_index("IX_APIKey_Tenant", "APIKeys", ["TenantId"])


def _create_integrations() -> None:
    op.create_table(
        "Integrations",
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Name", Varchar(200), nullable=False),
        sa.Column("IntegrationType", sa.Integer, nullable=False),
        sa.Column("Provider", Varchar(100), nullable=False),
        sa.Column("Status", sa.Integer, nullable=False),
        sa.Column("Configuration", Text, nullable=False),
        sa.Column("IsEnabled", Flag, nullable=False, server_default=sa.text("1")),
        sa.Column("HealthStatus", sa.Integer, nullable=False, server_default=sa.text("3")),
        sa.Column("LastHealthCheck", Utc, nullable=True),
        sa.Column("LastSyncTime", Utc, nullable=True),
        sa.Column("ActiveSlot", Exact(400), nullable=True),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.Column("ModifiedAt", Utc, nullable=True),
        sa.Column("CreatedBy", Guid, nullable=False),
        sa.Column("ModifiedBy", Guid, nullable=True),
        sa.PrimaryKeyConstraint("IntegrationId", name="PK_Integrations"),
        sa.ForeignKeyConstraint(["CreatedBy"], ["Users.UserId"], name="FK_Integration_CreatedBy"),
        sa.ForeignKeyConstraint(["ModifiedBy"], ["Users.UserId"], name="FK_Integration_ModifiedBy"),
    )
    op.create_index("IX_Integration_Provider", "Integrations", ["Provider"])
    op.create_index("IX_Integration_Status", "Integrations", ["Status"])
    op.create_index("IX_Integration_Tenant", "Integrations", ["TenantId"])
    op.create_index("IX_Integration_Type", "Integrations", ["IntegrationType"])
    _filtered(
        "UX_Integration_ActiveSlot",
        "Integrations",
        ["TenantId", "ActiveSlot"],
        where="ActiveSlot IS NOT NULL",
        unique=True,
    )


def _create_data_sync_jobs() -> None:
    op.create_table(
        "DataSyncJobs",
        sa.Column("DataSyncJobId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("SyncType", sa.Integer, nullable=False),
        sa.Column("Direction", sa.Integer, nullable=False),
        sa.Column("Status", sa.Integer, nullable=False),
        sa.Column("RecordsTotal", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("RecordsProcessed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("RecordsFailed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("ErrorLog", Text, nullable=True),
        sa.Column("StartedAt", Utc, nullable=True),
        sa.Column("CompletedAt", Utc, nullable=True),
        sa.Column("ScheduledAt", Utc, nullable=False),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.Column("CreatedBy", Guid, nullable=False),
        sa.PrimaryKeyConstraint("DataSyncJobId", name="PK_DataSyncJobs"),
        sa.ForeignKeyConstraint(
            ["IntegrationId"], ["Integrations.IntegrationId"], name="FK_DataSync_Integration"
        ),
        sa.ForeignKeyConstraint(["CreatedBy"], ["Users.UserId"], name="FK_DataSync_CreatedBy"),
    )
    op.create_index("IX_DataSync_Integration", "DataSyncJobs", ["IntegrationId"])
    op.create_index("IX_DataSync_Scheduled", "DataSyncJobs", ["ScheduledAt"])
    op.create_index("IX_DataSync_Status", "DataSyncJobs", ["Status"])
    op.create_index("IX_DataSync_Tenant", "DataSyncJobs", ["TenantId"])


def _create_integration_logs() -> None:
    op.create_table(
        "IntegrationLogs",
        sa.Column("IntegrationLogId", Guid, nullable=False),
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("LogLevel", sa.Integer, nullable=False),
        sa.Column("Message", Text, nullable=False),
        sa.Column("Details", Text, nullable=True),
        sa.Column("Exception", Text, nullable=True),
        sa.Column("RequestId", Guid, nullable=True),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.PrimaryKeyConstraint("IntegrationLogId", name="PK_IntegrationLogs", mssql_clustered=False),
        sa.ForeignKeyConstraint(
            ["IntegrationId"], ["Integrations.IntegrationId"], name="FK_IntegrationLog_Integration"
        ),
    )
    op.create_index("IX_IntegrationLog_CreatedAt", "IntegrationLogs", ["CreatedAt"], mssql_clustered=True)
    op.create_index("IX_IntegrationLog_Integration", "IntegrationLogs", ["IntegrationId"])
    op.create_index("IX_IntegrationLog_Level", "IntegrationLogs", ["LogLevel"])


def _create_webhooks() -> None:
    op.create_table(
        "Webhooks",
        sa.Column("WebhookId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("IntegrationId", Guid, nullable=True),
        sa.Column("Url", Varchar(500), nullable=False),
        sa.Column("Description", Varchar(500), nullable=True),
        sa.Column("EventTypes", Text, nullable=False),
        sa.Column("Secret", Text, nullable=False),
        sa.Column("PreviousSecret", Text, nullable=True),
        sa.Column("PreviousSecretExpiresAt", Utc, nullable=True),
        sa.Column("IsActive", Flag, nullable=False, server_default=sa.text("1")),
        sa.Column("State", sa.Integer, nullable=False),
        sa.Column("DisabledReason", Varchar(400), nullable=True),
        sa.Column("VerifiedAt", Utc, nullable=True),
        sa.Column("RetryPolicy", Text, nullable=False),
        sa.Column("MaxRetries", sa.Integer, nullable=False, server_default=sa.text("3")),
        sa.Column("TimeoutSeconds", sa.Integer, nullable=False, server_default=sa.text("30")),
        sa.Column("RateLimitPerSecond", sa.Integer, nullable=True),
        sa.Column("LastTriggeredAt", Utc, nullable=True),
        sa.Column("SuccessCount", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("FailureCount", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("ConsecutiveFailures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("FailingSince", Utc, nullable=True),
        sa.Column("CreatedAt", Utc, nullable=False, server_default=utc_now()),
        sa.Column("CreatedBy", Guid, nullable=False),
        sa.Column("ModifiedAt", Utc, nullable=True),
        sa.Column("Version", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("WebhookId", name="PK_Webhooks"),
        sa.ForeignKeyConstraint(
            ["IntegrationId"], ["Integrations.IntegrationId"], name="FK_Webhook_Integration"
        ),
        sa.ForeignKeyConstraint(["CreatedBy"], ["Users.UserId"], name="FK_Webhook_CreatedBy"),
    )
    _filtered("IX_Webhook_Active", "Webhooks", ["IsActive"], where="IsActive = 1")
    op.create_index("IX_Webhook_Integration", "Webhooks", ["IntegrationId"])
    op.create_index("IX_Webhook_Tenant", "Webhooks", ["TenantId", "CreatedAt"])


def _create_webhook_deliveries() -> None:
    op.create_table(
        "WebhookDeliveries",
        sa.Column("WebhookDeliveryId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("WebhookId", Guid, nullable=False),
        sa.Column("EventId", Exact(100), nullable=False),
        sa.Column("EventType", Exact(100), nullable=False),
        sa.Column("Payload", Text, nullable=True),
        sa.Column("HttpStatusCode", sa.Integer, nullable=True),
        sa.Column("ResponseBody", Text, nullable=True),
        sa.Column("AttemptCount", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("RetriesUsed", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("DeliveryStatus", sa.Integer, nullable=False),
        sa.Column("IsHeld", Flag, nullable=False, server_default=sa.text("0")),
        sa.Column("ErrorMessage", Text, nullable=True),
        sa.Column("ScheduledAt", Utc, nullable=False),
        sa.Column("ExpiresAt", Utc, nullable=False),
        sa.Column("DeliveredAt", Utc, nullable=True),
        sa.Column("NextRetryAt", Utc, nullable=True),
        sa.Column("LeaseId", Guid, nullable=True),
        sa.Column("LeasedAt", Utc, nullable=True),
        sa.Column("RequeueAt", Utc, nullable=True),
        sa.Column("PayloadBytes", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("WebhookDeliveryId", name="PK_WebhookDeliveries", mssql_clustered=False),
        sa.ForeignKeyConstraint(
            ["WebhookId"], ["Webhooks.WebhookId"], name="FK_WebhookDelivery_Webhook", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("EventId", "WebhookId", name="UQ_WebhookDelivery_Event"),
    )
    op.create_index(
        "IX_WebhookDelivery_Scheduled", "WebhookDeliveries", ["ScheduledAt"], mssql_clustered=True
    )
    _filtered("IX_WebhookDelivery_Held", "WebhookDeliveries", ["WebhookId", "ExpiresAt"], where="IsHeld = 1")
    _filtered(
        "IX_WebhookDelivery_NextRetry", "WebhookDeliveries", ["NextRetryAt"], where="NextRetryAt IS NOT NULL"
    )
    _filtered("IX_WebhookDelivery_Requeue", "WebhookDeliveries", ["RequeueAt"], where="RequeueAt IS NOT NULL")
    op.create_index("IX_WebhookDelivery_Status", "WebhookDeliveries", ["DeliveryStatus"])
    op.create_index("IX_WebhookDelivery_Webhook", "WebhookDeliveries", ["WebhookId", "ScheduledAt"])


def _create_webhook_subscriptions() -> None:
    op.create_table(
        "WebhookSubscriptions",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("EventType", Exact(100), nullable=False),
        sa.Column("WebhookId", Guid, nullable=False),
        sa.PrimaryKeyConstraint("TenantId", "EventType", "WebhookId", name="PK_WebhookSubscriptions"),
        sa.ForeignKeyConstraint(
            ["WebhookId"], ["Webhooks.WebhookId"], name="FK_WebhookSubscription_Webhook", ondelete="CASCADE"
        ),
    )
    op.create_index("IX_WebhookSubscription_Webhook", "WebhookSubscriptions", ["WebhookId"])


def _create_webhook_delivery_attempts() -> None:
    op.create_table(
        "WebhookDeliveryAttempts",
        sa.Column("WebhookDeliveryId", Guid, nullable=False),
        sa.Column("AttemptNumber", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("StartedAt", Utc, nullable=False),
        sa.Column("DurationMs", sa.Integer, nullable=False),
        sa.Column("Outcome", sa.Integer, nullable=False),
        sa.Column("HttpStatusCode", sa.Integer, nullable=True),
        sa.Column("ResponseBody", Text, nullable=True),
        sa.Column("ErrorMessage", Text, nullable=True),
        sa.PrimaryKeyConstraint(
            "WebhookDeliveryId", "AttemptNumber", name="PK_WebhookDeliveryAttempts", mssql_clustered=False
        ),
        sa.ForeignKeyConstraint(
            ["WebhookDeliveryId"],
            ["WebhookDeliveries.WebhookDeliveryId"],
            name="FK_WebhookAttempt_Delivery",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "IX_WebhookAttempt_Started", "WebhookDeliveryAttempts", ["StartedAt"], mssql_clustered=True
    )
