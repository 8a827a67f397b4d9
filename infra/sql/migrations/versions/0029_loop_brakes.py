"""Hops, laps and digests of events, and the brakes of loops."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid, Utc

revision = "0029"
down_revision = "0031"
branch_labels = None
depends_on = None

_INDEXES = {
    "IX_DomainEvent_Digest": (["TenantId", "Digest", "CreatedAt"], "Digest IS NOT NULL"),
    "IX_DomainEvent_Laps": (["TenantId", "FannedOutAt", "EventType"], "Laps >= 8"),
    "IX_DomainEvent_Held": (["TenantId", "EventType", "Sequence"], "HeldAt IS NOT NULL"),
}


def upgrade() -> None:
    zero = sa.text("0")
    op.add_column("DomainEvents", sa.Column("Hops", sa.Integer, nullable=False, server_default=zero))
    op.add_column("DomainEvents", sa.Column("Laps", sa.Integer, nullable=False, server_default=zero))
    op.add_column("DomainEvents", sa.Column("Digest", sa.BigInteger))
    op.add_column("DomainEvents", sa.Column("HeldAt", Utc))
    for name, (columns, where) in _INDEXES.items():
        condition = sa.text(where)
        op.create_index(name, "DomainEvents", columns, sqlite_where=condition, mssql_where=condition)
    op.create_table(
        "LoopBrakes",
        sa.Column("LoopBrakeId", Guid, primary_key=True),
        sa.Column("TenantId", Guid, nullable=False),
        sa.Column("EventType", Exact(100), nullable=False),
        sa.Column("State", sa.Integer, nullable=False),
        sa.Column("Since", Utc, nullable=False),
        sa.Column("LastSeenAt", Utc, nullable=False),
        sa.Column("Trips", sa.Integer, nullable=False),
        sa.Column("Unprovoked", sa.Integer, nullable=False),
        sa.Column("ProbeEventId", Exact(100)),
        sa.Column("TrustedUntil", Utc),
        sa.UniqueConstraint("TenantId", "EventType", name="UQ_LoopBrake_Type"),
    )


def downgrade() -> None:
    op.drop_table("LoopBrakes")
    for name in _INDEXES:
        op.drop_index(name, "DomainEvents")
    for column in ("HeldAt", "Digest", "Laps", "Hops"):
        op.drop_column("DomainEvents", column)
