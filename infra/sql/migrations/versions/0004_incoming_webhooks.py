"""Incoming webhooks: the inbox, the requests that brought them, and how each integration is reached."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Text, Utc, Varchar

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "IncomingEndpoints",
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("AllowedIps", Text, nullable=False),
        sa.Column("TokenHash", Exact(64)),
        sa.Column("PreviousTokenHash", Exact(64)),
        sa.Column("PreviousExpiresAt", Utc()),
        sa.Column("RotatedAt", Utc()),
        sa.Column("RefusedCount", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("LastRefusedAt", Utc()),
        sa.Column("LastRefusal", Varchar(400)),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("IntegrationId", name="PK_IncomingEndpoints"),
        sa.ForeignKeyConstraint(
            ["IntegrationId"], ["Integrations.IntegrationId"], name="FK_IncomingEndpoint_Integration"
        ),
    )
    op.create_table(
        "IncomingBodies",
        sa.Column("IncomingBodyId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("Request", Text, nullable=False),
        sa.Column("ReceivedAt", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("IncomingBodyId", name="PK_IncomingBodies", mssql_clustered=False),
    )
    op.create_index("IX_IncomingBody_Received", "IncomingBodies", ["ReceivedAt"], mssql_clustered=True)
    _create_inbox()


def downgrade() -> None:
    for table in ("IncomingWebhooks", "IncomingBodies", "IncomingEndpoints"):
        op.drop_table(table)


def _create_inbox() -> None:
    op.create_table(
        "IncomingWebhooks",
        sa.Column("IncomingWebhookId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("IncomingBodyId", Guid, nullable=False),
        sa.Column("ProviderEventId", Exact(200), nullable=False),
        sa.Column("EventType", Exact(100), nullable=False),
        sa.Column("Status", sa.Integer(), nullable=False),
        sa.Column("Attempts", sa.Integer(), nullable=False),
        sa.Column("ReceivedAt", Utc(), nullable=False),
        sa.Column("SourceIP", Exact(45)),
        sa.Column("OccurredAt", Utc()),
        sa.Column("EventId", Exact(100)),
        sa.Column("ProcessedAt", Utc()),
        sa.Column("ErrorMessage", Text),
        sa.PrimaryKeyConstraint("IncomingWebhookId", name="PK_IncomingWebhooks", mssql_clustered=False),
        sa.ForeignKeyConstraint(
            ["IntegrationId"], ["Integrations.IntegrationId"], name="FK_IncomingWebhook_Integration"
        ),
        sa.UniqueConstraint("IntegrationId", "ProviderEventId", name="UQ_IncomingWebhook_Event"),
    )
    op.create_index("IX_IncomingWebhook_Integration", "IncomingWebhooks", ["IntegrationId", "ReceivedAt"])
    op.create_index("IX_IncomingWebhook_Received", "IncomingWebhooks", ["ReceivedAt"], mssql_clustered=True)
