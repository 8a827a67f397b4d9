"""What alerts end by, and the bursts that security violations are counted in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Utc, Varchar

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_ALERTS = ("Successes", "Reopenings", "ClosedAs")
_WEBHOOKS = ("LastFailedAt", "SucceedingSince", "SuccessesInRow")


def upgrade() -> None:
    zero = sa.text("0")
    op.add_column("Alerts", sa.Column("ClosedAs", Exact(20)))
    op.add_column("Alerts", sa.Column("Reopenings", sa.Integer, nullable=False, server_default=zero))
    op.add_column("Alerts", sa.Column("Successes", sa.Integer, nullable=False, server_default=zero))
    op.add_column("Webhooks", sa.Column("SuccessesInRow", sa.BigInteger, nullable=False, server_default=zero))
    op.add_column("Webhooks", sa.Column("SucceedingSince", Utc))
    op.add_column("Webhooks", sa.Column("LastFailedAt", Utc))
    op.create_table(
        "SecurityBursts",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Source", Exact(20), nullable=False),
        sa.Column("Subject", Exact(100), nullable=False),
        sa.Column("Label", Varchar(200), nullable=False),
        sa.Column("StartedAt", Utc, nullable=False),
        sa.Column("LastAt", Utc, nullable=False),
        sa.Column("Occurred", sa.BigInteger, nullable=False),
        sa.Column("Reason", Varchar(400), nullable=False),
        sa.Column("SourceIp", Exact(45)),
        sa.Column("LoggedAt", Utc),
        sa.Column("ToldCount", sa.BigInteger),
        sa.PrimaryKeyConstraint("TenantId", "Source", "Subject", name="PK_SecurityBursts"),
    )


def downgrade() -> None:
    op.drop_table("SecurityBursts")
    for column in _WEBHOOKS:
        op.drop_column("Webhooks", column)
    for column in _ALERTS:
        op.drop_column("Alerts", column)
