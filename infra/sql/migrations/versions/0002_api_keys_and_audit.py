"""API keys: rotation, allow lists, reasons. The audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Text, Utc, Varchar

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TENANT_COLUMNS = ("AuditAnchorSequence", "AuditAnchorHash", "AuditSequence", "AuditHash")
_KEY_COLUMNS = (
    "NotBefore",
    "AllowedIps",
    "Description",
    "QuotaId",
    "RotatesFrom",
    "RotatedTo",
    "RevokeReason",
    "ModifiedAt",
    "Version",
)


def upgrade() -> None:
    for end in ("AuditAnchor", "Audit"):
        op.add_column(
            "Tenants",
            sa.Column(f"{end}Sequence", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        )
        op.add_column(
            "Tenants", sa.Column(f"{end}Hash", Exact(64), nullable=False, server_default=sa.text("''"))
        )
    for column in (
        sa.Column("NotBefore", Utc()),
        sa.Column("AllowedIps", Text),
        sa.Column("Description", Varchar(500)),
        sa.Column("QuotaId", Guid),
        sa.Column("RotatesFrom", Guid),
        sa.Column("RotatedTo", Guid),
        sa.Column("RevokeReason", Varchar(400)),
        sa.Column("ModifiedAt", Utc()),
        sa.Column("Version", sa.Integer(), nullable=False, server_default=sa.text("1")),
    ):
        op.add_column("APIKeys", column)
    where = sa.text("IsActive = 1")
    op.create_index("IX_APIKey_Expires", "APIKeys", ["ExpiresAt"], sqlite_where=where, mssql_where=where)
    _create_audit_log()


def downgrade() -> None:
    op.drop_table("AuditLog")
    op.drop_index("IX_APIKey_Expires", "APIKeys")
    for name in _KEY_COLUMNS:
        op.drop_column("APIKeys", name, mssql_drop_default=True)
    for name in _TENANT_COLUMNS:
        op.drop_column("Tenants", name, mssql_drop_default=True)


def _create_audit_log() -> None:
    op.create_table(
        "AuditLog",
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("Sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("OccurredAt", Utc(), nullable=False),
        sa.Column("ActorUserId", Guid),
        sa.Column("ActorKeyId", Guid),
        sa.Column("Action", Exact(100), nullable=False),
        sa.Column("TargetType", Exact(50), nullable=False),
        sa.Column("TargetId", Exact(200), nullable=False),
        sa.Column("Before", Text),
        sa.Column("After", Text),
        sa.Column("RequestId", Exact(128)),
        sa.Column("TraceId", Exact(32)),
        sa.Column("IpAddress", Exact(45)),
        sa.Column("PreviousHash", Exact(64), nullable=False),
        sa.Column("Hash", Exact(64), nullable=False),
        sa.PrimaryKeyConstraint("TenantId", "Sequence", name="PK_AuditLog"),
    )
    op.create_index("IX_Audit_Target", "AuditLog", ["TenantId", "TargetId", "Sequence"])
    op.create_index("IX_Audit_Occurred", "AuditLog", ["TenantId", "OccurredAt"])
