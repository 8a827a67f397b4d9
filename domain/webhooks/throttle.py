"""Throttle: how many posts a process has in flight (`InFlightPosts`), and an endpoint's rate over all (`Pacer`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock, EntityExists, EtagMismatch, TableEntity, TableStore
from domain.webhooks.fan_out import DeliveryMessage

_BYTES = 128 * 1024 * 1024
_SLOW_SECONDS = 60.0


class InFlightPosts:
    """Bounds posts in flight in all, per webhook, and in bytes, and knows which endpoints are slow.

    Lives on the event loop, without locks. `monotonic` returns seconds."""

    def __init__(self, *, most: int, most_per_webhook: int, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._most_per_webhook = most_per_webhook
        self._monotonic = monotonic
        self._count: Counter[UUID] = Counter()
        self._total = 0
        self._bytes = 0
        self._waiting_since: dict[UUID, float] = {}
        self._slow_until: dict[UUID, float] = {}

    def admit(self, message: DeliveryMessage) -> tuple[DeliveryMessage, DeliveryMessage]:
        """Take room for as many of the message's deliveries as there is; return those, and the others.

        The others missed their moment, so a rate-limited endpoint gives them a new one when they come back."""
        key = message.webhook_id
        free = min(self._most_per_webhook - self._count[key], self._most - self._total)
        if self._bytes and self._bytes + message.size > _BYTES:
            free = 0
        go, over = message.split(max(0, min(free, len(message.delivery_ids))))
        if go.delivery_ids:
            self.take(key, len(go.delivery_ids), go.size)
        return go, replace(over, paced=False)

    def take(self, webhook_id: UUID, count: int, size: int) -> None:
        """Occupy room, whether there is any or not."""
        if not self._count[webhook_id]:
            self._waiting_since[webhook_id] = self._monotonic()
        self._count[webhook_id] += count
        self._total += count
        self._bytes += size

    def release(self, webhook_id: UUID, count: int, size: int) -> None:
        self._count[webhook_id] -= count
        self._total -= count
        self._bytes -= size
        self._waiting_since[webhook_id] = self._monotonic()
        if self._count[webhook_id] <= 0:
            del self._count[webhook_id]
            del self._waiting_since[webhook_id]

    def release_all(self, messages: Sequence[DeliveryMessage]) -> None:
        for message in messages:
            self.release(message.webhook_id, len(message.delivery_ids), message.size)

    def again_in(self, webhook_id: UUID) -> float:
        """Return the seconds until it is worth looking for room: few for a quick endpoint, more for a slow one."""
        now = self._monotonic()
        return min(15.0, max(0.02, (now - self._waiting_since.get(webhook_id, now)) / 2))

    def mark_slow(self, webhook_ids: Iterable[UUID]) -> None:
        """Remember that these took longer than a batch may wait: for a minute no batch waits for them."""
        until = self._monotonic() + _SLOW_SECONDS
        for webhook_id in webhook_ids:
            self._slow_until[webhook_id] = until

    def is_slow(self, webhook_id: UUID) -> bool:
        until = self._slow_until.get(webhook_id)
        if until is not None and until <= self._monotonic():
            del self._slow_until[webhook_id]
            return False
        return until is not None


TABLE = "EndpointPace"
_ROW = "pace"
_BURST_SECONDS = 1.0
_GROUP_SECONDS = 0.5
_TRIES = 50


class Pacer:
    """Keeps a webhook's rate limit over all processes: books moments in the table store, none of them twice."""

    def __init__(self, tables: TableStore, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    def book(
        self, message: DeliveryMessage, rate_per_second: int
    ) -> tuple[DeliveryMessage, list[tuple[DeliveryMessage, datetime]]]:
        """Return the part that may go now, and the other parts with their moments. Raises Unavailable."""
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
        """Move the arrival time forward by `seconds`; return where it stood, never before `now`."""
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
