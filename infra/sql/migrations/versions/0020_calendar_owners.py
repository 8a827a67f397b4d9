"""Whose calendar an integration is, which account it uses, and the OAuth client of its grant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Exact, Guid

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("Integrations", sa.Column("OwnerId", Guid))
    op.add_column("Integrations", sa.Column("AccountHash", Exact(64)))
    op.add_column("Integrations", sa.Column("ClientHash", Exact(64)))
    granted = sa.text("ClientHash IS NOT NULL")
    columns = ["ClientHash", "AccountHash"]
    op.create_index(
        "IX_Integration_Client", "Integrations", columns, sqlite_where=granted, mssql_where=granted
    )


def downgrade() -> None:
    op.drop_index("IX_Integration_Client", "Integrations")
    for column in ("ClientHash", "AccountHash", "OwnerId"):
        op.drop_column("Integrations", column)
