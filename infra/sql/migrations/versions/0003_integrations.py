"""Integrations: where their secrets are, why they are not active, how they fare. Alerts on their way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.columns import utc_now
from infra.sql.types import Exact, Flag, Guid, Text, Utc

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = (
    "SecretName",
    "AllowTls12",
    "StatusReason",
    "SuspensionCause",
    "ValidatedAt",
    "Account",
    "Vitals",
    "ConsecutiveFailures",
    "ProbeAfter",
    "Version",
)


def upgrade() -> None:
    for column in (
        sa.Column("SecretName", Exact(127)),
        sa.Column("AllowTls12", Flag, nullable=False, server_default=sa.text("0")),
        sa.Column("StatusReason", Text),
        sa.Column("SuspensionCause", sa.Integer()),
        sa.Column("ValidatedAt", Utc()),
        sa.Column("Account", Text),
        sa.Column("Vitals", Text),
        sa.Column("ConsecutiveFailures", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("ProbeAfter", Utc()),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("1")),
    ):
        op.add_column("Integrations", column)
    where = sa.text("SecretName IS NOT NULL")
    op.create_index(
        "IX_Integration_Secret", "Integrations", ["SecretName"], sqlite_where=where, mssql_where=where
    )
    op.create_table(
        "PendingAlerts",
        sa.Column("AlertId", Guid, nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Kind", Exact(100), nullable=False),
        sa.Column("Data", Text, nullable=False),
        sa.Column("CreatedAt", Utc(), server_default=utc_now(), nullable=False),
        sa.PrimaryKeyConstraint("AlertId", name="PK_PendingAlerts"),
    )
    op.create_index("IX_PendingAlert_CreatedAt", "PendingAlerts", ["CreatedAt"])


def downgrade() -> None:
    op.drop_table("PendingAlerts")
    op.drop_index("IX_Integration_Secret", "Integrations")
    for name in _COLUMNS:
        op.drop_column("Integrations", name, mssql_drop_default=True)
