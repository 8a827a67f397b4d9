"""The order of a webhook's deliveries, and the lines that they wait in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Flag

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_IN_LINE = sa.text("Line IS NOT NULL")


def upgrade() -> None:
    op.add_column(
        "Webhooks", sa.Column("Ordering", Exact(20), nullable=False, server_default=sa.text("'none'"))
    )
    op.add_column("WebhookDeliveries", sa.Column("Line", sa.BigInteger))
    op.add_column("WebhookDeliveries", sa.Column("LinePlace", sa.BigInteger))
    op.add_column(
        "WebhookDeliveries", sa.Column("IsWaiting", Flag, nullable=False, server_default=sa.text("0"))
    )
    op.create_index(
        "IX_WebhookDelivery_Line",
        "WebhookDeliveries",
        ["WebhookId", "Line", "IsWaiting", "LinePlace"],
        sqlite_where=_IN_LINE,
        mssql_where=_IN_LINE,
    )


def downgrade() -> None:
    op.drop_index("IX_WebhookDelivery_Line", "WebhookDeliveries")
    for column in ("IsWaiting", "LinePlace", "Line"):
        op.drop_column("WebhookDeliveries", column)
    op.drop_column("Webhooks", "Ordering")
