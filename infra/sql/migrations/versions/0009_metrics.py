"""Metrics: refusals of keys since they were made, and an index to count integrations by health."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_COUNTS = ("LimitedCount", "RefusedCount")


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column(
            "APIKeys", sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        )
    op.create_index("IX_Integration_Health", "Integrations", ["Provider", "Status", "HealthStatus"])


def downgrade() -> None:
    op.drop_index("IX_Integration_Health", "Integrations")
    for name in _COUNTS:
        op.drop_column("APIKeys", name, mssql_drop_default=True)
