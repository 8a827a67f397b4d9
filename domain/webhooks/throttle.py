"""Throttle: how many posts a process has in flight (`InFlightPosts`), and an endpoint's rate over all (`Pacer`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock, EntityExists, EtagMismatch, TableEntity, TableStore
from domain.webhooks.fan_out import DeliveryMessage
from domain.webhooks.window import SILENCE_SECONDS, EndpointWindow

#: Payloads in flight. A process that holds more has no memory left for anything else.
BYTES_IN_FLIGHT: Final = 128 * 1024 * 1024
_SLOW_SECONDS = 60.0
_KNOWN_SECONDS = 900.0
_KNOWN_AT_MOST = 10_000


@dataclass(slots=True)
class _Learned:
    """What is known of an endpoint that has posts in flight, or that something was learned of."""

    window: EndpointWindow
    in_flight: int = 0
    most_in_flight: int = 0  # since there were none
    waiting_since: float = 0.0
    slow_until: float = 0.0
    used_at: float = 0.0


class InFlightPosts:
    """Bounds posts in flight, and knows which endpoints are slow and which hang.

    - In all: `most`, and 128 MiB of payloads.
    - A tenant: as many as are free, of posts and of bytes. One alone may have half of all, two a third each; those who
      come later always find as much room as anybody has.
    - An endpoint: as many as are free to its tenant, `most_per_webhook`, and what its window allows (window.py).

    Lives on the event loop, without locks. `monotonic` returns seconds."""

    def __init__(self, *, most: int, most_per_webhook: int, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._most_per_webhook = most_per_webhook
        self._monotonic = monotonic
        self._endpoints: dict[UUID, _Learned] = {}
        self._total = 0
        self._bytes = 0
        self._posts_of: Counter[UUID] = Counter()
        self._bytes_of: Counter[UUID] = Counter()

    @property
    def free(self) -> int:
        return max(0, self._most - self._total)

    def room_of(self, tenant_id: UUID) -> int:
        """Return how many more posts the tenant may have in flight: once it has them, as many must be free."""
        return max(0, self.free - self._posts_of[tenant_id] + 1) // 2

    def room(self, tenant_id: UUID, webhook_id: UUID, count: int, size: int) -> int:
        """Return for how many of so many deliveries there is room; `size`: bytes of all their payloads."""
        known = self._endpoints.get(webhook_id)
        in_flight = known.in_flight if known is not None else 0
        # As a tenant leaves others as much as it has, an endpoint does to those of its tenant.
        free = min(count, self._limit(known) - in_flight, (self.room_of(tenant_id) - in_flight + 1) // 2)
        if self._total and size:  # one alone goes however large it is, rather than never
            free_bytes = (BYTES_IN_FLIGHT - self._bytes - self._bytes_of[tenant_id]) // 2
            free = min(free, free_bytes * count // size)
        return max(0, free)

    def take(self, tenant_id: UUID, webhook_id: UUID, count: int, size: int) -> None:
        """Occupy room, whether there is any or not."""
        known = self._known(webhook_id)
        known.used_at = self._monotonic()
        if not known.in_flight:
            known.waiting_since, known.most_in_flight = known.used_at, 0
        known.in_flight += count
        known.most_in_flight = max(known.most_in_flight, known.in_flight)
        self._total += count
        self._bytes += size
        self._posts_of[tenant_id] += count
        self._bytes_of[tenant_id] += size

    def release(self, tenant_id: UUID, webhook_id: UUID, count: int, size: int) -> None:
        """Give room back of which nothing was learned."""
        known = self._known(webhook_id)
        known.in_flight -= count
        self._total -= count
        self._bytes -= size
        for counter, many in ((self._posts_of, count), (self._bytes_of, size)):
            counter[tenant_id] -= many
            if counter[tenant_id] <= 0:
                del counter[tenant_id]
        if known.in_flight <= 0 and known.window.is_untouched and known.slow_until <= self._monotonic():
            del self._endpoints[webhook_id]

    def answered(self, webhook_id: UUID, *, is_welcome: bool) -> None:
        """Learn that a post was answered, before it is released; `is_welcome`: it may be given more of them."""
        known = self._known(webhook_id)
        known.waiting_since = self._monotonic()
        if is_welcome:
            known.window.answered(known.most_in_flight)
        else:
            known.window.is_answering = True

    def timed_out(self, webhook_id: UUID, began: float) -> None:
        """Learn that a post had no answer when its time was up, before it is released."""
        self._known(webhook_id).window.timed_out(began, self._monotonic())

    def hangs(self, webhook_id: UUID) -> bool:
        """Return whether more posts are pointless for now: it does not answer those that it has, or had last."""
        known = self._endpoints.get(webhook_id)
        if known is None or known.in_flight < self._limit(known):
            return False
        return not known.window.is_answering or self._silence(known) >= SILENCE_SECONDS

    def mark_slow(self, webhook_ids: Iterable[UUID]) -> None:
        """Remember that these took longer than a batch may wait: for a minute no batch waits for them."""
        until = self._monotonic() + _SLOW_SECONDS
        for webhook_id in webhook_ids:
            self._known(webhook_id).slow_until = until

    def is_slow(self, webhook_id: UUID) -> bool:
        known = self._endpoints.get(webhook_id)
        return known is not None and known.slow_until > self._monotonic()

    def _limit(self, known: _Learned | None) -> int:
        if known is None:
            return EndpointWindow(self._most_per_webhook).limit(0.0)
        return known.window.limit(self._silence(known))

    def _silence(self, known: _Learned) -> float:
        return self._monotonic() - known.waiting_since if known.in_flight else 0.0

    def _known(self, webhook_id: UUID) -> _Learned:
        known = self._endpoints.get(webhook_id)
        if known is None:
            if len(self._endpoints) >= _KNOWN_AT_MOST:
                self._forget()
            known = _Learned(EndpointWindow(self._most_per_webhook), used_at=self._monotonic())
            self._endpoints[webhook_id] = known
        return known

    def _forget(self) -> None:
        """Forget idle endpoints: those unused for a quarter of an hour, or else those unused the longest."""
        idle = sorted(
            (known.used_at, webhook_id)
            for webhook_id, known in self._endpoints.items()
            if not known.in_flight
        )
        old = self._monotonic() - _KNOWN_SECONDS
        many = max(sum(used_at < old for used_at, _ in idle), len(idle) // 10)
        for _, webhook_id in idle[:many]:
            del self._endpoints[webhook_id]


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
            paced = replace(part, paced=True)
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
