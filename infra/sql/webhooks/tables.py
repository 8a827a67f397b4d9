"""Tables of webhooks, of the events they hear of, and of deliveries."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, UniqueConstraint, text

from domain.webhooks.loops import LoopState
from domain.webhooks.model import AttemptOutcome, DeliveryStatus, WebhookState
from infra.sql.columns import clustered, created_at, filtered, integration, metadata, scattered_key, user
from infra.sql.types import Enum, Exact, Flag, Guid, Text, Utc, Varchar

webhooks = Table(
    "Webhooks",
    metadata,
    Column("WebhookId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    integration("FK_Webhook_Integration", nullable=True),
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
    Column("Ordering", Exact(20), nullable=False, server_default=text("'none'")),
    Column("LastTriggeredAt", Utc),
    Column("SuccessCount", BigInteger, nullable=False, server_default=text("0")),
    Column("FailureCount", BigInteger, nullable=False, server_default=text("0")),
    Column("ConsecutiveFailures", Integer, nullable=False, server_default=text("0")),
    Column("FailingSince", Utc),
    # Of attempts, which alerts recover by; those of deliveries are above.
    Column("SuccessesInRow", BigInteger, nullable=False, server_default=text("0")),
    Column("SucceedingSince", Utc),
    Column("LastFailedAt", Utc),
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
    # A call of /test, which counts nowhere.
    Column("IsTest", Flag, nullable=False, server_default=text("0")),
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
    # Which line it stands in, and where: the Sequence of its event. NULL: in none, or it has ended.
    Column("Line", BigInteger),
    Column("LinePlace", BigInteger),
    # Somebody before it in its line has the turn.
    Column("IsWaiting", Flag, nullable=False, server_default=text("0")),
    # (EventId, WebhookId): a repeated fan-out inserts nothing.
    UniqueConstraint("EventId", "WebhookId", name="UQ_WebhookDelivery_Event"),
    Index("IX_WebhookDelivery_Webhook", "WebhookId", "ScheduledAt"),
    Index("IX_WebhookDelivery_Status", "DeliveryStatus"),
    filtered("IX_WebhookDelivery_NextRetry", "NextRetryAt", where="NextRetryAt IS NOT NULL"),
    filtered("IX_WebhookDelivery_Requeue", "RequeueAt", where="RequeueAt IS NOT NULL"),
    filtered("IX_WebhookDelivery_Held", "WebhookId", "ExpiresAt", where="IsHeld = 1"),
    filtered(
        "IX_WebhookDelivery_Line", "WebhookId", "Line", "IsWaiting", "LinePlace", where="Line IS NOT NULL"
    ),
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
    Column("RequestHeaders", Text),
    Column("ResponseHeaders", Text),
    scattered_key("WebhookDeliveryId", "AttemptNumber"),
    clustered("IX_WebhookAttempt_Started", "StartedAt"),
)

# Event types of which what goes round in a loop is held, or was.
loop_brakes = Table(
    "LoopBrakes",
    metadata,
    Column("LoopBrakeId", Guid, primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("EventType", Exact(100), nullable=False),
    Column("State", Enum(LoopState), nullable=False),
    Column("Since", Utc, nullable=False),
    Column("LastSeenAt", Utc, nullable=False),
    Column("Trips", Integer, nullable=False),
    Column("Unprovoked", Integer, nullable=False),
    Column("ProbeEventId", Exact(100)),
    Column("TrustedUntil", Utc),
    UniqueConstraint("TenantId", "EventType", name="UQ_LoopBrake_Type"),
)
