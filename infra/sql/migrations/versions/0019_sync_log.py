"""The log of an execution, beside the records that it refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Varchar

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    interruptions = sa.Column("Interruptions", sa.Integer, nullable=False, server_default=sa.text("0"))
    op.add_column("DataSyncJobs", interruptions)
    kind = sa.Column("Kind", Exact(12), nullable=False, server_default=sa.text("'Record'"))
    op.add_column("SyncRecordErrors", kind)
    op.add_column("SyncRecordErrors", sa.Column("Details", Varchar(400)))


def downgrade() -> None:
    op.drop_column("SyncRecordErrors", "Details")
    op.drop_column("SyncRecordErrors", "Kind")
    op.drop_column("DataSyncJobs", "Interruptions")
