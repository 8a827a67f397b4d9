"""Requests to erase a person, and whom synchronisation leaves out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Text, Utc

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "Erasures",
        sa.Column("ErasureId", Guid, primary_key=True),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Status", sa.Integer(), nullable=False),
        sa.Column("Subject", Text),
        sa.Column("Place", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("Position", Text),
        sa.Column("Counts", Text, nullable=False),
        sa.Column("CreatedAt", Utc(), nullable=False),
        sa.Column("CreatedBy", Guid, nullable=False),
        sa.Column("CompletedAt", Utc()),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("1")),
    )
    op.create_index("IX_Erasure_Tenant", "Erasures", ["TenantId", "CreatedAt"])
    waiting = sa.text("CompletedAt IS NULL")
    op.create_index("IX_Erasure_Open", "Erasures", ["CreatedAt"], sqlite_where=waiting, mssql_where=waiting)
    op.create_table(
        "SuppressedPeople",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Digest", Exact(64), nullable=False),
        sa.Column("SuppressedAt", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("TenantId", "Digest", name="PK_SuppressedPeople"),
    )


def downgrade() -> None:
    for table in ("SuppressedPeople", "Erasures"):
        op.drop_table(table)
