"""What tenants use, by the hour and the month."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from domain.journal.usage import UsagePeriod
from infra.sql.types import Enum, Guid, Utc

revision = "0030"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    zero = sa.text("0")
    op.create_table(
        "TenantUsage",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Period", Enum(UsagePeriod), nullable=False),
        sa.Column("Start", Utc, nullable=False),
        sa.Column("Calls", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("Events", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("Deliveries", sa.BigInteger, nullable=False, server_default=zero),
        sa.Column("Records", sa.BigInteger, nullable=False, server_default=zero),
        sa.PrimaryKeyConstraint("TenantId", "Period", "Start", name="PK_TenantUsage"),
    )
    op.create_index("IX_TenantUsage_Start", "TenantUsage", ["Period", "Start"])


def downgrade() -> None:
    op.drop_table("TenantUsage")
