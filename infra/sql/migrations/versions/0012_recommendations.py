"""Decisions on recommendations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Guid, Text, Utc, Varchar

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "RecommendationDecisions",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("RecommendationId", Guid, nullable=False),
        sa.Column("Status", sa.Integer(), nullable=False),
        sa.Column("Reason", Varchar(400)),
        sa.Column("EndsAt", Utc()),
        sa.Column("DecidedAt", Utc(), nullable=False),
        sa.Column("DecidedBy", Guid, nullable=False),
        sa.Column("Snapshot", Text, nullable=False),
        sa.PrimaryKeyConstraint("TenantId", "RecommendationId", name="PK_RecommendationDecisions"),
    )


def downgrade() -> None:
    op.drop_table("RecommendationDecisions")
