"""The trees over the audit log, whose heads are signed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Text

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "AuditTrees",
        sa.Column("TenantId", Guid, primary_key=True),
        sa.Column("FirstSequence", sa.BigInteger, nullable=False),
        sa.Column("Size", sa.BigInteger, nullable=False),
        sa.Column("SignedSize", sa.BigInteger, nullable=False),
        sa.Column("Note", Text),
    )
    op.create_table(
        "AuditNodes",
        sa.Column("TenantId", Guid, primary_key=True),
        sa.Column("Level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("Position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("Hash", Exact(64), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("AuditNodes")
    op.drop_table("AuditTrees")
