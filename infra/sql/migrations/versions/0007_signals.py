"""Signals: what happened in each hour, appended and then added up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from domain.journal.signals import SubjectKind
from infra.sql.columns import BigKey
from infra.sql.types import Enum, Guid, Text, Utc

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _columns() -> list[sa.Column[object]]:
    counts = ("Total", "Succeeded", "Failed", "FailedForGood", "Volume")
    return [
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Kind", Enum(SubjectKind), nullable=False),
        sa.Column("SubjectId", Guid, nullable=False),
        sa.Column("Hour", Utc(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False, server_default=sa.text("0")) for name in counts),
        sa.Column("Errors", Text, nullable=False),
        sa.Column("Latency", Text, nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "SignalDeltas",
        sa.Column("Sequence", BigKey, primary_key=True, autoincrement=True),
        *_columns(),
    )
    op.create_index("IX_SignalDelta_Subject", "SignalDeltas", ["TenantId", "Kind", "SubjectId"])
    op.create_table(
        "SignalBuckets",
        *_columns(),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint("TenantId", "Kind", "Hour", "SubjectId", name="PK_SignalBuckets"),
    )
    op.create_index("IX_SignalBucket_Hour", "SignalBuckets", ["Hour"])


def downgrade() -> None:
    op.drop_table("SignalBuckets")
    op.drop_table("SignalDeltas")
