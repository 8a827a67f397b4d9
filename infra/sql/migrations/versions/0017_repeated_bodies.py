"""What equal bodies of incoming webhooks are known by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("IncomingEndpoints", sa.Column("RepeatWindowSeconds", sa.Integer))
    op.add_column("IncomingWebhooks", sa.Column("ContentDigest", Exact(64)))
    op.add_column("IncomingWebhooks", sa.Column("SameBodyAs", Guid))
    op.add_column("IncomingWebhooks", sa.Column("UnsignedFields", Exact(20)))
    op.create_index(
        "IX_IncomingWebhook_Content", "IncomingWebhooks", ["IntegrationId", "ContentDigest", "ReceivedAt"]
    )


def downgrade() -> None:
    op.drop_index("IX_IncomingWebhook_Content", "IncomingWebhooks")
    for column in ("UnsignedFields", "SameBodyAs", "ContentDigest"):
        op.drop_column("IncomingWebhooks", column)
    op.drop_column("IncomingEndpoints", "RepeatWindowSeconds")
