"""What a tenant set of a record, beside what its provider has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Text

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("SyncedRecords", sa.Column("LocalFields", Text))


def downgrade() -> None:
    op.drop_column("SyncedRecords", "LocalFields")
