"""The delivery pipeline over SQL, which joins its parts; each stands in a file of its own, in the order of a delivery.

Each statement works on a batch."""

from __future__ import annotations

from infra.sql.webhooks.attempts import SqlAttempts
from infra.sql.webhooks.fan_out import SqlFanOut
from infra.sql.webhooks.health import SqlEndpointHealth
from infra.sql.webhooks.sweeps import SqlSweeps


class SqlDeliveryPipeline(SqlFanOut, SqlAttempts, SqlEndpointHealth, SqlSweeps):
    """Satisfies `domain.webhooks.ports.DeliveryPipeline`."""
