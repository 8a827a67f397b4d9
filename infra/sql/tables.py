"""The schema: section 13's tables, columns and indexes by name, plus what DESIGN adds. Alembic owns changes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from domain.webhooks.model import AttemptOutcome, DeliveryStatus, WebhookState
from infra.sql.types import Enum, Flag, Guid, Text, Utc, Varchar

metadata = MetaData()


class utc_now(GenericFunction[Any]):  # noqa: N801 - a SQL function's name
    """The database's own UTC time, for the columns the specification gives a default."""

    type = Utc()
    inherit_cache = True


@compiles(utc_now, "sqlite")
def _utc_now_sqlite(element: utc_now, compiler: Any, **options: Any) -> str:
    return "(strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))"


@compiles(utc_now)
def _utc_now(element: utc_now, compiler: Any, **options: Any) -> str:
    return "GETUTCDATE()"


def _filtered(name: str, *columns: Any, where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), mssql_where=text(where))


def _created_at() -> Column[Any]:
    return Column("CreatedAt", Utc, nullable=False, server_default=utc_now())


def _user(name: str, *, constraint: str, nullable: bool = False) -> Column[Any]:
    return Column(name, Guid, ForeignKey("Users.UserId", name=constraint), nullable=nullable)


BigKey = BigInteger().with_variant(Integer, "sqlite")

tenants = Table(
    "Tenants",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("LockVersion", BigInteger, nullable=False, server_default=text("0")),
    _created_at(),
)

users = Table(
    "Users",
    metadata,
    Column("UserId", Guid, primary_key=True),
    Column("TenantId", Guid, ForeignKey("Tenants.TenantId", name="FK_User_Tenant"), nullable=False),
    Column("DisplayName", Varchar(200), nullable=False, server_default=text("''")),
    _created_at(),
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
    Column("ActiveSlot", Varchar(400)),
    _created_at(),
    Column("ModifiedAt", Utc),
    _user("CreatedBy", constraint="FK_Integration_CreatedBy"),
    _user("ModifiedBy", constraint="FK_Integration_ModifiedBy", nullable=True),
    Index("IX_Integration_Type", "IntegrationType"),
    Index("IX_Integration_Status", "Status"),
    Index("IX_Integration_Provider", "Provider"),
    Index("IX_Integration_Tenant", "TenantId"),
    # BR-IM-01: one active integration per slot, whoever races
    _filtered(
        "UX_Integration_ActiveSlot", "TenantId", "ActiveSlot", where="ActiveSlot IS NOT NULL", unique=True
    ),
)

api_keys = Table(
    "APIKeys",
    metadata,
    Column("APIKeyId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("KeyName", Varchar(100), nullable=False),
    Column("KeyHash", Varchar(64), nullable=False),
    Column("KeyPrefix", Varchar(8), nullable=False),
    Column("Scopes", Text, nullable=False),
    Column("ExpiresAt", Utc),
    Column("IsActive", Flag, nullable=False, server_default=text("1")),
    Column("LastUsedAt", Utc),
    Column("UsageCount", BigInteger, nullable=False, server_default=text("0")),
    Column("RateLimitPerHour", Integer, nullable=False, server_default=text("1000")),
    _created_at(),
    _user("CreatedBy", constraint="FK_APIKey_CreatedBy"),
    Column("RevokedAt", Utc),
    _user("RevokedBy", constraint="FK_APIKey_RevokedBy", nullable=True),
    Index("IX_APIKey_Hash", "KeyHash", unique=True),
    Index("IX_APIKey_Prefix", "KeyPrefix"),
    _filtered("IX_APIKey_Active", "IsActive", where="IsActive = 1"),
    Index("IX_APIKey_Tenant", "TenantId"),
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
    _created_at(),
    _user("CreatedBy", constraint="FK_Webhook_CreatedBy"),
    Column("ModifiedAt", Utc),
    Column("Version", Integer, nullable=False, server_default=text("1")),
    _filtered("IX_Webhook_Active", "IsActive", where="IsActive = 1"),
    Index("IX_Webhook_Integration", "IntegrationId"),
    Index("IX_Webhook_Tenant", "TenantId", "CreatedAt"),
)

webhook_subscriptions = Table(
    "WebhookSubscriptions",
    metadata,
    Column("TenantId", Guid, primary_key=True),
    Column("EventType", Varchar(100), primary_key=True),
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
    Column("EventId", Varchar(100), nullable=False),
    Column("EventType", Varchar(100), nullable=False),
    Column("Subject", Varchar(200)),
    Column("Payload", Text, nullable=False),
    Column("OccurredAt", Utc, nullable=False),
    Column("TraceParent", Varchar(55)),
    Column("AnnouncedAt", Utc, nullable=False),
    Column("FannedOutAt", Utc),
    _created_at(),
    UniqueConstraint("TenantId", "EventId", name="UQ_DomainEvent_Id"),
    # The outbox: what is committed and not yet fanned out.
    _filtered("IX_DomainEvent_Outbox", "AnnouncedAt", where="FannedOutAt IS NULL"),
)

webhook_deliveries = Table(
    "WebhookDeliveries",
    metadata,
    Column("WebhookDeliveryId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column(
        "WebhookId",
        Guid,
        ForeignKey("Webhooks.WebhookId", name="FK_WebhookDelivery_Webhook", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("EventId", Varchar(100), nullable=False),
    Column("EventType", Varchar(100), nullable=False),
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
    # (EventId, WebhookId): a repeated fan-out inserts nothing.
    UniqueConstraint("EventId", "WebhookId", name="UQ_WebhookDelivery_Event"),
    Index("IX_WebhookDelivery_Webhook", "WebhookId", "ScheduledAt"),
    Index("IX_WebhookDelivery_Status", "DeliveryStatus"),
    _filtered("IX_WebhookDelivery_NextRetry", "NextRetryAt", where="NextRetryAt IS NOT NULL"),
    _filtered("IX_WebhookDelivery_Requeue", "RequeueAt", where="RequeueAt IS NOT NULL"),
    Index("IX_WebhookDelivery_Scheduled", "ScheduledAt"),
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
        primary_key=True,
    ),
    Column("AttemptNumber", Integer, primary_key=True, autoincrement=False),
    Column("StartedAt", Utc, nullable=False),
    Column("DurationMs", Integer, nullable=False),
    Column("Outcome", Enum(AttemptOutcome), nullable=False),
    Column("HttpStatusCode", Integer),
    Column("ResponseBody", Text),
    Column("ErrorMessage", Text),
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
    _created_at(),
    _user("CreatedBy", constraint="FK_DataSync_CreatedBy"),
    Index("IX_DataSync_Integration", "IntegrationId"),
    Index("IX_DataSync_Status", "Status"),
    Index("IX_DataSync_Scheduled", "ScheduledAt"),
    Index("IX_DataSync_Tenant", "TenantId"),
)

integration_logs = Table(
    "IntegrationLogs",
    metadata,
    Column("IntegrationLogId", Guid, primary_key=True),
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
    _created_at(),
    Index("IX_IntegrationLog_Integration", "IntegrationId"),
    Index("IX_IntegrationLog_CreatedAt", "CreatedAt"),
    Index("IX_IntegrationLog_Level", "LogLevel"),
)
