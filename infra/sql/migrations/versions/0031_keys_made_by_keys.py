"""Which key made a key, and what of its quota it gave."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Guid

revision = "0031"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("APIKeys", sa.Column("MadeByKey", Guid))
    op.add_column("APIKeys", sa.Column("RootQuota", Guid))
    op.add_column("APIKeys", sa.Column("GivenPerHour", sa.Integer))


def downgrade() -> None:
    for column in ("GivenPerHour", "RootQuota", "MadeByKey"):
        op.drop_column("APIKeys", column)
