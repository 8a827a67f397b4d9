"""Whether the realtime connections that a revoked key opened are known to be closed.

Of those revoked before it is not, so they are closed once more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from infra.sql.types import Utc

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_UNCLOSED = sa.text("IsActive = 0 AND ConnectionsClosedAt IS NULL")


def upgrade() -> None:
    op.add_column("APIKeys", sa.Column("ConnectionsClosedAt", Utc()))
    op.create_index(
        "IX_APIKey_Unclosed", "APIKeys", ["RevokedAt"], sqlite_where=_UNCLOSED, mssql_where=_UNCLOSED
    )


def downgrade() -> None:
    op.drop_index("IX_APIKey_Unclosed", "APIKeys")
    op.drop_column("APIKeys", "ConnectionsClosedAt")
