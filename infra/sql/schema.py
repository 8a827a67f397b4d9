"""The whole schema: section 13's tables, columns and indexes by name, plus what DESIGN adds.

Each table is declared in the module of its subject; code that needs all of them imports `metadata` from here. Alembic
owns changes.
"""

from __future__ import annotations

import infra.sql.apikeys.tables  # noqa: F401
import infra.sql.incoming.tables  # noqa: F401
import infra.sql.integrations.tables  # noqa: F401
import infra.sql.journal.tables  # noqa: F401
import infra.sql.monitoring.tables  # noqa: F401
import infra.sql.privacy.tables  # noqa: F401
import infra.sql.recommendations.tables  # noqa: F401
import infra.sql.sync.tables  # noqa: F401
import infra.sql.tenants.tables  # noqa: F401
import infra.sql.webhooks.tables  # noqa: F401
from infra.sql.columns import metadata

__all__ = ["metadata"]
