"""Tables of incoming webhooks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, UniqueConstraint, text

from domain.incoming.model import IncomingStatus
from infra.sql.columns import clustered, integration, metadata, scattered_key
from infra.sql.types import Enum, Exact, Guid, Text, Utc, Varchar

incoming_endpoints = Table(
    "IncomingEndpoints",
    metadata,
    integration("FK_IncomingEndpoint_Integration", primary_key=True),
    Column("TenantId", Guid, nullable=False),
    Column("AllowedIps", Text, nullable=False),
    Column("TokenHash", Exact(64)),
    Column("PreviousTokenHash", Exact(64)),
    Column("PreviousExpiresAt", Utc),
    Column("RotatedAt", Utc),
    Column("RefusedCount", BigInteger, nullable=False, server_default=text("0")),
    Column("LastRefusedAt", Utc),
    Column("LastRefusal", Varchar(400)),
    Column("RepeatWindowSeconds", Integer),
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
    integration("FK_IncomingWebhook_Integration"),
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
    Column("ContentDigest", Exact(64)),
    Column("SameBodyAs", Guid),
    Column("UnsignedFields", Exact(20)),
    # A repeat stores nothing.
    UniqueConstraint("IntegrationId", "ProviderEventId", name="UQ_IncomingWebhook_Event"),
    Index("IX_IncomingWebhook_Content", "IntegrationId", "ContentDigest", "ReceivedAt"),
    Index("IX_IncomingWebhook_Integration", "IntegrationId", "ReceivedAt"),
    scattered_key("IncomingWebhookId"),
    clustered("IX_IncomingWebhook_Received", "ReceivedAt"),
)
