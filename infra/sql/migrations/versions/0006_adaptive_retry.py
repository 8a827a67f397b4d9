"""Adaptive retry: what a webhook's endpoint taught about its outages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("Webhooks", sa.Column("RetryHistory", Text))


def downgrade() -> None:
    op.drop_column("Webhooks", "RetryHistory")
