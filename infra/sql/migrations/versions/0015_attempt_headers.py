"""The headers of each attempt at a delivery: as sent, and as answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Text

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("WebhookDeliveryAttempts", sa.Column("RequestHeaders", Text))
    op.add_column("WebhookDeliveryAttempts", sa.Column("ResponseHeaders", Text))


def downgrade() -> None:
    op.drop_column("WebhookDeliveryAttempts", "ResponseHeaders")
    op.drop_column("WebhookDeliveryAttempts", "RequestHeaders")
