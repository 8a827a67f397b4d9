"""The whole schema: section 13's tables, columns and indexes by name, plus what DESIGN adds.

Each table is declared in the module of its subject; code that needs all of them imports `metadata` from here. Alembic
owns changes.
"""

from __future__ import annotations

import infra.sql.apikeys.tables
import infra.sql.incoming.tables
import infra.sql.integrations.tables
import infra.sql.journal.tables
import infra.sql.monitoring.tables
import infra.sql.privacy.tables
import infra.sql.recommendations.tables
import infra.sql.sync.tables
import infra.sql.tenants.tables
import infra.sql.webhooks.tables  # noqa: F401
from infra.sql.columns import metadata

__all__ = ["metadata"]
