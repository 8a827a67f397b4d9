"""Whether a delivery is a test, which counts nowhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Flag

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("WebhookDeliveries", sa.Column("IsTest", Flag, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    op.drop_column("WebhookDeliveries", "IsTest")
