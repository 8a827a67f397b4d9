"""Per-endpoint rate limit, shared by every worker: each delivery is given its moment.

The generic cell rate algorithm (ITU-T I.371): one stored number, the theoretical arrival time, moves forward by
1/rate for each delivery; up to one second's worth may go at once.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.errors import Unavailable
from domain.ports import Clock, EntityExists, EtagMismatch, TableEntity, TableStore
from domain.webhooks.messages import DeliveryMessage

TABLE = "EndpointPace"
_ROW = "pace"
_BURST_SECONDS = 1.0
_GROUP_SECONDS = 0.5
_TRIES = 50


class Pacer:
    """Books moments in the table store; two workers can never book the same one."""

    def __init__(self, tables: TableStore, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    def book(
        self, message: DeliveryMessage, rate_per_second: int
    ) -> tuple[DeliveryMessage, list[tuple[DeliveryMessage, datetime]]]:
        """The part that may go now, and the rest with the moments it may go. Raises Unavailable."""
        interval = 1.0 / rate_per_second
        now = self._clock.now().timestamp()
        start = self._advance(message.webhook_id, now, len(message.delivery_ids) * interval)
        at_once = math.floor((now + _BURST_SECONDS - start) / interval + 1e-6)
        go, rest = message.split(max(0, min(len(message.delivery_ids), at_once)))
        group = max(1, int(rate_per_second * _GROUP_SECONDS))
        later: list[tuple[DeliveryMessage, datetime]] = []
        moment = start + len(go.delivery_ids) * interval - _BURST_SECONDS
        while rest.delivery_ids:
            part, rest = rest.split(min(group, len(rest.delivery_ids)))
            moment += len(part.delivery_ids) * interval
            paced = DeliveryMessage(part.webhook_id, part.delivery_ids, part.size, paced=True)
            later.append((paced, datetime.fromtimestamp(moment, UTC) + timedelta(milliseconds=1)))
        return go, later

    def _advance(self, webhook_id: UUID, now: float, seconds: float) -> float:
        """Move the arrival time forward; returns where it stood, never before `now`."""
        for _ in range(_TRIES):
            entity = self._tables.get(TABLE, str(webhook_id), _ROW)
            start = max(now, float(entity.properties["at"])) if entity else now  # type: ignore[arg-type]
            fresh = TableEntity(str(webhook_id), _ROW, {"at": start + seconds})
            try:
                if entity is None:
                    self._tables.insert(TABLE, fresh)
                else:
                    self._tables.replace(TABLE, fresh, etag=entity.etag)
            except (EntityExists, EtagMismatch):
                continue
            return start
        raise Unavailable("The endpoint's pace is contended.")
