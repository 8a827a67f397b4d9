"""Anomalies, how far each tenant's hours were judged, and what API keys showed of their use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Utc, Varchar

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_anomalies()
    op.create_table(
        "AnomalyWatermarks",
        sa.Column("TenantId", Guid, primary_key=True),
        sa.Column("Hour", Utc(), nullable=False),
    )
    op.create_table(
        "KeySightings",
        sa.Column("ApiKeyId", Guid, nullable=False),
        sa.Column("Trait", sa.Integer(), nullable=False),
        sa.Column("Value", Exact(100), nullable=False),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("FirstSeenAt", Utc(), nullable=False),
        sa.Column("LastSeenAt", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("ApiKeyId", "Trait", "Value", name="PK_KeySightings"),
    )
    op.create_index("IX_KeySighting_LastSeen", "KeySightings", ["LastSeenAt"])


def downgrade() -> None:
    for table in ("KeySightings", "AnomalyWatermarks", "Anomalies"):
        op.drop_table(table)


def _filtered(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, "Anomalies", columns, unique=unique, sqlite_where=condition, mssql_where=condition)


def _create_anomalies() -> None:
    op.create_table(
        "Anomalies",
        sa.Column("AnomalyId", Guid, primary_key=True),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("SubjectKind", sa.Integer(), nullable=False),
        sa.Column("SubjectId", Guid, nullable=False),
        sa.Column("Metric", Exact(40), nullable=False),
        sa.Column("Direction", sa.Integer(), nullable=False),
        sa.Column("Detail", Varchar(400), nullable=False),
        *(sa.Column(name, sa.Float()) for name in ("Observed", "Typical", "Low", "High", "Score")),
        sa.Column("Hours", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("StartedAt", Utc(), nullable=False),
        sa.Column("LastSeenAt", Utc(), nullable=False),
        sa.Column("EndedAt", Utc()),
        sa.Column("AcknowledgedAt", Utc()),
        sa.Column("AcknowledgedBy", Guid),
        sa.Column("Note", Varchar(400)),
        sa.Column("SnoozedUntil", Utc()),
    )
    key = ["TenantId", "SubjectId", "SubjectKind", "Metric", "Direction"]
    _filtered("UX_Anomaly_Active", key, "EndedAt IS NULL", unique=True)
    op.create_index("IX_Anomaly_Started", "Anomalies", ["TenantId", "StartedAt"])
    _filtered("IX_Anomaly_Snoozed", ["TenantId", "SnoozedUntil"], "SnoozedUntil IS NOT NULL")
    _filtered("IX_Anomaly_Ended", ["EndedAt"], "EndedAt IS NOT NULL")
