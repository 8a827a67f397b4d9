"""The delivery pipeline over SQL. Each statement works on a batch, and says which index serves it."""

from __future__ import annotations

from infra.sql.claims import SqlClaims
from infra.sql.fanout import SqlFanOut
from infra.sql.results import SqlResults
from infra.sql.sweeps import SqlSweeps


class SqlDeliveryPipeline(SqlFanOut, SqlClaims, SqlResults, SqlSweeps):
    """Satisfies `domain.webhooks.ports.DeliveryPipeline`; one part per stage, over one connection."""
