"""Who raised an event. Of those that are stored already nobody knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid

revision = "0027"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("DomainEvents", sa.Column("Origin", sa.Integer))
    op.add_column("DomainEvents", sa.Column("OriginProvider", Exact(100)))
    op.add_column("DomainEvents", sa.Column("OriginIntegrationId", Guid))


def downgrade() -> None:
    op.drop_column("DomainEvents", "OriginIntegrationId")
    op.drop_column("DomainEvents", "OriginProvider")
    op.drop_column("DomainEvents", "Origin")
