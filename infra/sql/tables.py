"""The whole schema: section 13's tables, columns and indexes by name, plus what DESIGN adds. Each table is declared in
the module of its subject; whoever needs all of them imports `metadata` from here. Alembic owns changes."""

from __future__ import annotations

from infra.sql import (  # noqa: F401 - each declares its tables on the metadata
    alert_tables,
    anomaly_tables,
    api_key_tables,
    incoming_tables,
    integration_tables,
    privacy_tables,
    recommendation_tables,
    signals_tables,
    sync_tables,
    tenant_tables,
    webhook_tables,
)
from infra.sql.columns import metadata

__all__ = ["metadata"]
