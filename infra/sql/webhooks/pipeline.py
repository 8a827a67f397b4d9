"""The delivery pipeline over SQL. Each statement works on a batch, and says which index serves it."""

from __future__ import annotations

from infra.sql.webhooks.claims import SqlClaims
from infra.sql.webhooks.fan_out import SqlFanOut
from infra.sql.webhooks.results import SqlResults
from infra.sql.webhooks.sweeps import SqlSweeps


class SqlDeliveryPipeline(SqlFanOut, SqlClaims, SqlResults, SqlSweeps):
    """Satisfies `domain.webhooks.ports.DeliveryPipeline`; one part per stage, over one connection."""
