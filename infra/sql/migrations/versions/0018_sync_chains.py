"""The chain of jobs that goes on after a time-out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Guid, Utc

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("DataSyncJobs", sa.Column("ResumedFrom", Guid))
    op.add_column("DataSyncJobs", sa.Column("ResumedBy", Guid))
    chain_run = sa.Column("ChainRun", sa.Integer, nullable=False, server_default=sa.text("1"))
    op.add_column("DataSyncJobs", chain_run)
    op.add_column("DataSyncJobs", sa.Column("ChainBeganAt", Utc))
    run_batches = sa.Column("RunBatches", sa.Integer, nullable=False, server_default=sa.text("0"))
    op.add_column("DataSyncJobs", run_batches)


def downgrade() -> None:
    for column in ("RunBatches", "ChainBeganAt", "ChainRun", "ResumedBy", "ResumedFrom"):
        op.drop_column("DataSyncJobs", column)
