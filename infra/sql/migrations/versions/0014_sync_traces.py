"""The trace of a synchronisation job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Varchar

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("DataSyncJobs", sa.Column("TraceParent", Varchar(55)))


def downgrade() -> None:
    op.drop_column("DataSyncJobs", "TraceParent")
