"""The schema: section 13's tables, columns and indexes by name, plus what DESIGN adds. Alembic owns changes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, UniqueConstraint, text

from domain.incoming.model import IncomingStatus
from domain.webhooks.model import AttemptOutcome, DeliveryStatus, WebhookState
from infra.sql.columns import BigKey, clustered, created_at, filtered, scattered_key, user
from infra.sql.types import Enum, Exact, Flag, Guid, Text, Utc, Varchar

metadata = MetaData(naming_convention={"pk": "PK_%(table_name)s"})

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
    # Which of many secret names are still in use.
    filtered("IX_Integration_Secret", "SecretName", where="SecretName IS NOT NULL"),
    # BR-IM-01: one active integration per slot, whoever races
    filtered(
        "UX_Integration_ActiveSlot", "TenantId", "ActiveSlot", where="ActiveSlot IS NOT NULL", unique=True
    ),
)

api_keys = Table(
    "APIKeys",
    metadata,
    Column("APIKeyId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("KeyName", Varchar(100), nullable=False),
    Column("KeyHash", Exact(64), nullable=False),
    Column("KeyPrefix", Exact(8), nullable=False),
    Column("Scopes", Text, nullable=False),
    Column("ExpiresAt", Utc),
    Column("IsActive", Flag, nullable=False, server_default=text("1")),
    Column("LastUsedAt", Utc),
    Column("UsageCount", BigInteger, nullable=False, server_default=text("0")),
    Column("RateLimitPerHour", Integer, nullable=False, server_default=text("1000")),
    created_at(),
    user("CreatedBy", constraint="FK_APIKey_CreatedBy"),
    Column("RevokedAt", Utc),
    user("RevokedBy", constraint="FK_APIKey_RevokedBy", nullable=True),
    Index("IX_APIKey_Hash", "KeyHash", unique=True),
    Index("IX_APIKey_Prefix", "KeyPrefix"),
    filtered("IX_APIKey_Active", "IsActive", where="IsActive = 1"),
    Index("IX_APIKey_Tenant", "TenantId"),
    Column("NotBefore", Utc),
    Column("AllowedIps", Text),
    Column("Description", Varchar(500)),
    Column("QuotaId", Guid),
    Column("RotatesFrom", Guid),
    Column("RotatedTo", Guid),
    Column("RevokeReason", Varchar(400)),
    Column("ModifiedAt", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    # Requests refused since the key was made: by its quota, and for another reason.
    Column("LimitedCount", BigInteger, nullable=False, server_default=text("0")),
    Column("RefusedCount", BigInteger, nullable=False, server_default=text("0")),
    # The hourly expiry (BR-AK-04).
    filtered("IX_APIKey_Expires", "ExpiresAt", where="IsActive = 1"),
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

webhooks = Table(
    "Webhooks",
    metadata,
    Column("WebhookId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("IntegrationId", Guid, ForeignKey("Integrations.IntegrationId", name="FK_Webhook_Integration")),
    Column("Url", Varchar(500), nullable=False),
    Column("Description", Varchar(500)),
    Column("EventTypes", Text, nullable=False),
    Column("Secret", Text, nullable=False),
    Column("PreviousSecret", Text),
    Column("PreviousSecretExpiresAt", Utc),
    Column("IsActive", Flag, nullable=False, server_default=text("1")),
    Column("State", Enum(WebhookState), nullable=False),
    Column("DisabledReason", Varchar(400)),
    Column("VerifiedAt", Utc),
    Column("RetryPolicy", Text, nullable=False),
    Column("MaxRetries", Integer, nullable=False, server_default=text("3")),
    Column("TimeoutSeconds", Integer, nullable=False, server_default=text("30")),
    Column("RateLimitPerSecond", Integer),
    Column("LastTriggeredAt", Utc),
    Column("SuccessCount", BigInteger, nullable=False, server_default=text("0")),
    Column("FailureCount", BigInteger, nullable=False, server_default=text("0")),
    Column("ConsecutiveFailures", Integer, nullable=False, server_default=text("0")),
    Column("FailingSince", Utc),
    Column("RetryHistory", Text),
    created_at(),
    user("CreatedBy", constraint="FK_Webhook_CreatedBy"),
    Column("ModifiedAt", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    filtered("IX_Webhook_Active", "IsActive", where="IsActive = 1"),
    Index("IX_Webhook_Integration", "IntegrationId"),
    Index("IX_Webhook_Tenant", "TenantId", "CreatedAt"),
)

webhook_subscriptions = Table(
    "WebhookSubscriptions",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("EventType", Exact(100), primary_key=True),
    Column(
        "WebhookId",
        Guid,
        ForeignKey("Webhooks.WebhookId", name="FK_WebhookSubscription_Webhook", ondelete="CASCADE"),
        primary_key=True,
    ),
    Index("IX_WebhookSubscription_Webhook", "WebhookId"),
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
    Column("AnnouncedAt", Utc, nullable=False),
    Column("FannedOutAt", Utc),
    created_at(),
    UniqueConstraint("TenantId", "EventId", name="UQ_DomainEvent_Id"),
    # The outbox: what is committed and not yet fanned out.
    filtered("IX_DomainEvent_Outbox", "AnnouncedAt", where="FannedOutAt IS NULL"),
    Index("IX_DomainEvent_CreatedAt", "CreatedAt"),
)

webhook_deliveries = Table(
    "WebhookDeliveries",
    metadata,
    Column("WebhookDeliveryId", Guid, nullable=False),
    Column("TenantId", Guid, nullable=False),
    Column(
        "WebhookId",
        Guid,
        ForeignKey("Webhooks.WebhookId", name="FK_WebhookDelivery_Webhook", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("EventId", Exact(100), nullable=False),
    Column("EventType", Exact(100), nullable=False),
    # NULL: the event's own payload, which is stored once in DomainEvents.
    Column("Payload", Text),
    Column("HttpStatusCode", Integer),
    Column("ResponseBody", Text),
    Column("AttemptCount", Integer, nullable=False, server_default=text("0")),
    Column("RetriesUsed", Integer, nullable=False, server_default=text("0")),
    Column("DeliveryStatus", Enum(DeliveryStatus), nullable=False),
    Column("IsHeld", Flag, nullable=False, server_default=text("0")),
    Column("ErrorMessage", Text),
    Column("ScheduledAt", Utc, nullable=False),
    Column("ExpiresAt", Utc, nullable=False),
    Column("DeliveredAt", Utc),
    Column("NextRetryAt", Utc),
    Column("LeaseId", Guid),
    Column("LeasedAt", Utc),
    # When the retry processor looks at it again; NULL once it has ended.
    Column("RequeueAt", Utc),
    Column("PayloadBytes", Integer, nullable=False, server_default=text("0")),
    # (EventId, WebhookId): a repeated fan-out inserts nothing.
    UniqueConstraint("EventId", "WebhookId", name="UQ_WebhookDelivery_Event"),
    Index("IX_WebhookDelivery_Webhook", "WebhookId", "ScheduledAt"),
    Index("IX_WebhookDelivery_Status", "DeliveryStatus"),
    filtered("IX_WebhookDelivery_NextRetry", "NextRetryAt", where="NextRetryAt IS NOT NULL"),
    filtered("IX_WebhookDelivery_Requeue", "RequeueAt", where="RequeueAt IS NOT NULL"),
    filtered("IX_WebhookDelivery_Held", "WebhookId", "ExpiresAt", where="IsHeld = 1"),
    scattered_key("WebhookDeliveryId"),
    clustered("IX_WebhookDelivery_Scheduled", "ScheduledAt"),
)

webhook_delivery_attempts = Table(
    "WebhookDeliveryAttempts",
    metadata,
    Column(
        "WebhookDeliveryId",
        Guid,
        ForeignKey(
            "WebhookDeliveries.WebhookDeliveryId", name="FK_WebhookAttempt_Delivery", ondelete="CASCADE"
        ),
        nullable=False,
    ),
    Column("AttemptNumber", Integer, nullable=False, autoincrement=False),
    Column("StartedAt", Utc, nullable=False),
    Column("DurationMs", Integer, nullable=False),
    Column("Outcome", Enum(AttemptOutcome), nullable=False),
    Column("HttpStatusCode", Integer),
    Column("ResponseBody", Text),
    Column("ErrorMessage", Text),
    scattered_key("WebhookDeliveryId", "AttemptNumber"),
    clustered("IX_WebhookAttempt_Started", "StartedAt"),
)

data_sync_jobs = Table(
    "DataSyncJobs",
    metadata,
    Column("DataSyncJobId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column(
        "IntegrationId",
        Guid,
        ForeignKey("Integrations.IntegrationId", name="FK_DataSync_Integration"),
        nullable=False,
    ),
    Column("SyncType", Integer, nullable=False),
    Column("Direction", Integer, nullable=False),
    Column("Status", Integer, nullable=False),
    Column("RecordsTotal", Integer, nullable=False, server_default=text("0")),
    Column("RecordsProcessed", Integer, nullable=False, server_default=text("0")),
    Column("RecordsFailed", Integer, nullable=False, server_default=text("0")),
    Column("ErrorLog", Text),
    Column("StartedAt", Utc),
    Column("CompletedAt", Utc),
    Column("ScheduledAt", Utc, nullable=False),
    created_at(),
    user("CreatedBy", constraint="FK_DataSync_CreatedBy"),
    Index("IX_DataSync_Integration", "IntegrationId"),
    Index("IX_DataSync_Status", "Status"),
    Index("IX_DataSync_Scheduled", "ScheduledAt"),
    Index("IX_DataSync_Tenant", "TenantId"),
)

integration_logs = Table(
    "IntegrationLogs",
    metadata,
    Column("IntegrationLogId", Guid, nullable=False),
    Column(
        "IntegrationId",
        Guid,
        ForeignKey("Integrations.IntegrationId", name="FK_IntegrationLog_Integration"),
        nullable=False,
    ),
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

incoming_endpoints = Table(
    "IncomingEndpoints",
    metadata,
    Column(
        "IntegrationId",
        Guid,
        ForeignKey("Integrations.IntegrationId", name="FK_IncomingEndpoint_Integration"),
        primary_key=True,
    ),
    Column("TenantId", Guid, nullable=False),
    Column("AllowedIps", Text, nullable=False),
    Column("TokenHash", Exact(64)),
    Column("PreviousTokenHash", Exact(64)),
    Column("PreviousExpiresAt", Utc),
    Column("RotatedAt", Utc),
    Column("RefusedCount", BigInteger, nullable=False, server_default=text("0")),
    Column("LastRefusedAt", Utc),
    Column("LastRefusal", Varchar(400)),
    Column("Version", Integer, nullable=False, server_default=text("0")),
)

# One row a request; its events outlive it, so nothing refers to it by a foreign key.
incoming_bodies = Table(
    "IncomingBodies",
    metadata,
    Column("IncomingBodyId", Guid, nullable=False),
    Column("TenantId", Guid, nullable=False),
    Column("IntegrationId", Guid, nullable=False),
    Column("Request", Text, nullable=False),
    Column("ReceivedAt", Utc, nullable=False),
    scattered_key("IncomingBodyId"),
    clustered("IX_IncomingBody_Received", "ReceivedAt"),
)

incoming_webhooks = Table(
    "IncomingWebhooks",
    metadata,
    Column("IncomingWebhookId", Guid, nullable=False),
    Column("TenantId", Guid, nullable=False),
    Column(
        "IntegrationId",
        Guid,
        ForeignKey("Integrations.IntegrationId", name="FK_IncomingWebhook_Integration"),
        nullable=False,
    ),
    Column("IncomingBodyId", Guid, nullable=False),
    Column("ProviderEventId", Exact(200), nullable=False),
    Column("EventType", Exact(100), nullable=False),
    Column("Status", Enum(IncomingStatus), nullable=False),
    Column("Attempts", Integer, nullable=False),
    Column("ReceivedAt", Utc, nullable=False),
    Column("SourceIP", Exact(45)),
    Column("OccurredAt", Utc),
    Column("EventId", Exact(100)),
    Column("ProcessedAt", Utc),
    Column("ErrorMessage", Text),
    # A repeat stores nothing.
    UniqueConstraint("IntegrationId", "ProviderEventId", name="UQ_IncomingWebhook_Event"),
    Index("IX_IncomingWebhook_Integration", "IntegrationId", "ReceivedAt"),
    scattered_key("IncomingWebhookId"),
    clustered("IX_IncomingWebhook_Received", "ReceivedAt"),
)
