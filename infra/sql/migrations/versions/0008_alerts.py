"""Alerts, what tenants changed of their rules, and messages to people about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Flag, Guid, Text, Utc, Varchar

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_alerts()
    op.create_table(
        "AlertRules",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Kind", Exact(40), nullable=False),
        sa.Column("IsEnabled", Flag),
        sa.Column("Severity", sa.Integer()),
        sa.Column("Threshold", sa.Float()),
        sa.Column("MinimumVolume", sa.Integer()),
        sa.Column("Sinks", Text, nullable=False),
        sa.Column("ModifiedAt", Utc(), nullable=False),
        sa.Column("ModifiedBy", Guid, nullable=False),
        sa.Column("Version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("Kind", "TenantId", name="PK_AlertRules"),
    )
    _create_notifications()


def downgrade() -> None:
    for table in ("AlertNotifications", "AlertRules", "Alerts"):
        op.drop_table(table)


def _filtered(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, mssql_where=condition)


def _create_alerts() -> None:
    op.create_table(
        "Alerts",
        sa.Column("AlertId", Guid, primary_key=True),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Kind", Exact(40), nullable=False),
        sa.Column("Subject", Exact(100), nullable=False),
        sa.Column("Severity", sa.Integer(), nullable=False),
        sa.Column("Status", sa.Integer(), nullable=False),
        sa.Column("Summary", Varchar(400), nullable=False),
        sa.Column("Details", Text, nullable=False),
        sa.Column("Occurrences", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("OpenedAt", Utc(), nullable=False),
        sa.Column("LastSeenAt", Utc(), nullable=False),
        sa.Column("AcknowledgedAt", Utc()),
        sa.Column("AcknowledgedBy", Guid),
        sa.Column("Note", Varchar(400)),
        sa.Column("RecoveredAt", Utc()),
        sa.Column("Recovery", Varchar(400)),
        sa.Column("NotificationFailure", Varchar(400)),
    )
    active, subject = "RecoveredAt IS NULL", ["TenantId", "Kind", "Subject"]
    _filtered("UX_Alert_Active", "Alerts", subject, active, unique=True)
    _filtered("IX_Alert_Active", "Alerts", ["Kind"], active)
    op.create_index("IX_Alert_Opened", "Alerts", ["TenantId", "OpenedAt"])
    op.create_index("IX_Alert_Subject", "Alerts", [*subject, "RecoveredAt"])
    _filtered("IX_Alert_Recovered", "Alerts", ["RecoveredAt"], "RecoveredAt IS NOT NULL")


def _create_notifications() -> None:
    op.create_table(
        "AlertNotifications",
        sa.Column("NotificationId", Guid, primary_key=True),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("AlertId", Guid, nullable=False),
        sa.Column("Transition", sa.Integer(), nullable=False),
        sa.Column("IntegrationId", Guid, nullable=False),
        sa.Column("Recipient", Exact(254), nullable=False),
        sa.Column("Status", sa.Integer(), nullable=False),
        sa.Column("Attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("DueAt", Utc(), nullable=False),
        sa.Column("SentAt", Utc()),
        sa.Column("Detail", Varchar(400)),
        sa.Column("CreatedAt", Utc(), nullable=False),
        sa.ForeignKeyConstraint(
            ["AlertId"], ["Alerts.AlertId"], name="FK_AlertNotification_Alert", ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "AlertId", "Transition", "IntegrationId", "Recipient", name="UQ_AlertNotification_Message"
        ),
    )
    _filtered("IX_AlertNotification_Due", "AlertNotifications", ["DueAt"], "Status = 0")
