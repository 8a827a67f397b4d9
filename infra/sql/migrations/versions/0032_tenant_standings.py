"""What the platform decided about tenants: limits, suspension, deletion."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Guid, Text, Utc, Varchar

revision = "0032"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "TenantStandings",
        sa.Column("TenantId", Guid, primary_key=True),
        sa.Column("SuspendedAt", Utc),
        sa.Column("Reason", Varchar(400)),
        sa.Column("RestoringSince", Utc),
        sa.Column("ResumedAt", Utc),
        sa.Column("MostWebhooks", sa.Integer),
        sa.Column("MostApiKeys", sa.Integer),
        sa.Column("MostIntegrations", sa.Integer),
        sa.Column("MostRequestsPerHour", sa.Integer),
        sa.Column("MostEventsPerHour", sa.Integer),
        sa.Column("DeletionRequestedAt", Utc),
        sa.Column("DeletionRequestedBy", Guid),
        sa.Column("DeletionPlace", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("DeletionPosition", Guid),
        sa.Column("DeletionCounts", Text),
        sa.Column("DeletedAt", Utc),
        sa.Column("Version", sa.Integer, nullable=False, server_default=sa.text("1")),
    )


def downgrade() -> None:
    op.drop_table("TenantStandings")
