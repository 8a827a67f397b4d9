"""Quotas on the table store: exact under concurrency, across threads, processes and machines.

Each quota is one entity, replaced under its ETag, so that every decision is made on the current state or not at
all. The same entity carries the usage statistics, so a request costs one write. While one write of a quota is under
way, the other requests of the process wait and are charged together by the next."""

from __future__ import annotations

import json
import math
import random
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from itertools import islice
from operator import attrgetter
from threading import Lock
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from domain.core.errors import Unavailable
from domain.core.group_commit import GroupCommit
from domain.core.ports import (
    Clock,
    EntityExists,
    EtagMismatch,
    TableEntity,
    TableStore,
    TableValue,
    TableWrite,
)

SECONDS = 3600
#: A window keeps one count for each minute.
SLOT_MS = 60_000
_WINDOW_MS = SECONDS * 1000
_SLOT = struct.Struct("<qI")


class ChargeKind(Enum):
    """How a request counts.

    - `Use`: takes one request of the quota if one is left.
    - `Peek`: takes nothing and is not counted.
    - `Refused`: takes nothing and is counted as refused for another reason."""

    Use = 0
    Peek = 1
    Refused = 2


@dataclass(frozen=True, slots=True)
class Charge:
    """One request on `key` (hexadecimal id), whose limit is `limit` uses in 60 minutes."""

    key: str
    limit: int
    kind: ChargeKind = ChargeKind.Use


@dataclass(frozen=True, slots=True)
class RateStatus:
    """How the quota stands after a charge.

    - `reset_seconds`: seconds until the oldest uses leave the window.
    - `retry_after_seconds`: seconds until one more request is allowed; 0 means now."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int


@dataclass(slots=True)
class Use:
    """What one key did in the current hour and, from `total` on, since it was created."""

    accepted: int = 0
    limited: int = 0
    refused: int = 0
    total: int = 0
    last_ms: int = 0
    total_limited: int = 0
    total_refused: int = 0

    @property
    def has_requests(self) -> bool:
        return bool(self.accepted or self.limited or self.refused)


_COUNTS = attrgetter(*(field_.name for field_ in fields(Use)))


@dataclass(slots=True)
class QuotaWindow:
    """The stored state of a quota.

    `slots` are [last use in ms since 1970, uses], oldest first; `hour` is counted from 1970."""

    slots: list[list[int]] = field(default_factory=list)
    hour: int = 0
    uses: dict[str, Use] = field(default_factory=dict)

    def charge(self, charges: Sequence[Charge], now: datetime) -> list[RateStatus]:
        """Decide and count the charges in order. Time never runs backwards, whatever the clock says."""
        now_ms = _millis(now)
        if self.slots:
            if self.slots[-1][0] > now_ms + _WINDOW_MS:
                self.slots.clear()  # no clock is an hour ahead of another: it was set back
            else:
                now_ms = max(now_ms, self.slots[-1][0])
        gone = 0
        while gone < len(self.slots) and self.slots[gone][0] + _WINDOW_MS <= now_ms:
            gone += 1
        del self.slots[:gone]
        used = sum(count for _, count in self.slots)
        statuses: list[RateStatus] = []
        for charge in charges:
            allowed = used < charge.limit
            if charge.kind is ChargeKind.Use and allowed:
                used += 1
                self._add(now_ms)
            self._count(charge, allowed, now_ms)
            statuses.append(self._status(charge, allowed, used, now_ms))
        return statuses

    def closed_hour(self, now: datetime) -> tuple[int, dict[str, Use]] | None:
        """Return the hour that ended and what its keys did in it, and reset the counters; None when none ended."""
        hour = _millis(now) // _WINDOW_MS
        if hour == self.hour or hour + 1 == self.hour:
            return None
        ended = self.hour, {key: use for key, use in self.uses.items() if use.has_requests}
        # Of a line of rotations, at most two keys are alive at once.
        kept = sorted(self.uses.items(), key=lambda item: item[1].last_ms)[-8:]
        self.uses = {key: replace(use, accepted=0, limited=0, refused=0) for key, use in kept}
        self.hour = hour
        return ended if ended[1] else None

    def properties(self) -> dict[str, TableValue]:
        counts = {key: _COUNTS(use) for key, use in self.uses.items()}
        return {
            "slots": b"".join(_SLOT.pack(*slot) for slot in self.slots),
            "hour": self.hour,
            "uses": json.dumps(counts, separators=(",", ":")),
        }

    @classmethod
    def of(cls, properties: Mapping[str, TableValue]) -> QuotaWindow:
        slots, hour, uses = properties["slots"], properties["hour"], properties["uses"]
        assert isinstance(slots, bytes) and isinstance(hour, int) and isinstance(uses, str)
        return cls(
            [[last, count] for last, count in _SLOT.iter_unpack(slots)],
            hour,
            {key: Use(*counts) for key, counts in json.loads(uses).items()},
        )

    def _add(self, now_ms: int) -> None:
        if self.slots and self.slots[-1][0] // SLOT_MS == now_ms // SLOT_MS:
            self.slots[-1][0] = now_ms
            self.slots[-1][1] += 1
        else:
            self.slots.append([now_ms, 1])

    def _count(self, charge: Charge, allowed: bool, now_ms: int) -> None:
        if charge.kind is ChargeKind.Peek:
            return
        use = self.uses.get(charge.key)
        if use is None:
            use = self.uses[charge.key] = Use()
        if charge.kind is ChargeKind.Refused:
            use.refused += 1
            use.total_refused += 1
        elif allowed:
            use.accepted += 1
            use.total += 1
            use.last_ms = max(use.last_ms, now_ms)
        else:
            use.limited += 1
            use.total_limited += 1

    def _status(self, charge: Charge, allowed: bool, used: int, now_ms: int) -> RateStatus:
        reset = _seconds(self.slots[0][0], now_ms) if self.slots else 0
        retry = 0
        if used >= charge.limit:
            left = used
            for last, count in self.slots:
                left -= count
                retry = _seconds(last, now_ms)
                if left < charge.limit:
                    break
        return RateStatus(allowed, charge.limit, max(0, charge.limit - used), reset, retry)


def hour_name(hour: int) -> str:
    """Return the hour as `2026112315`, which sorts as time does."""
    return datetime.fromtimestamp(hour * SECONDS, UTC).strftime("%Y%m%d%H")


def hour_of(moment: datetime) -> int:
    return int(moment.timestamp()) // SECONDS


def _millis(moment: datetime) -> int:
    # Rounded up: a use counts for whole 60 minutes.
    return math.ceil(moment.timestamp() * 1000)


def _seconds(last_ms: int, now_ms: int) -> int:
    return max(1, -(-(last_ms + _WINDOW_MS - now_ms) // 1000))


TABLE = "ApiKeyUsage"
WINDOW_ROW = "window"
_TRIES = 60
_EAGER_TRIES = 8
_REMEMBERED = 2_000


#: The requests of this process on one quota: one of them writes for all that wait.
_Line = GroupCommit[Sequence[Charge], Sequence[RateStatus]]


class SerialTables(Protocol):
    """A table store on this machine, which can lock instead of trying again."""

    def change_each(
        self,
        table: str,
        keys: Sequence[tuple[str, str]],
        change: Callable[[int, TableEntity | None], Sequence[TableEntity]],
    ) -> None:
        """Store what `change` makes of each entity, in one transaction. Raises Unavailable."""


class RateLimiter:
    """Charges quotas by optimistic concurrency, or many at once under the lock of the store `serial`."""

    def __init__(self, tables: TableStore, clock: Clock, *, serial: SerialTables | None = None) -> None:
        self._tables = tables
        self._clock = clock
        self._serial = serial
        self._lock = Lock()
        self._lines: WeakValueDictionary[UUID, _Line] = WeakValueDictionary()
        self._known: OrderedDict[UUID, TableEntity] = OrderedDict()

    def charge(self, quota_id: UUID, charges: Sequence[Charge]) -> Sequence[RateStatus]:
        """Decide the charges in their order, and count them.

        Raises Unavailable, and Contended when no write came through: nothing was counted then."""
        with self._lock:
            line = self._lines.get(quota_id)
            if line is None:
                # Where one is refused, all are: trying each alone would only add to what overloads the store.
                line = GroupCommit(partial(self._charge_waiting, quota_id), most=None, retries_alone=False)
                self._lines[quota_id] = line
        return line.submit(charges)

    def charge_each(self, charges: Mapping[UUID, Sequence[Charge]]) -> list[Sequence[RateStatus]] | None:
        """Charge many quotas in one transaction, or return None if the store cannot. Raises Unavailable."""
        if self._serial is None:
            return None
        quotas = list(charges)
        statuses: list[Sequence[RateStatus]] = []

        def change(position: int, known: TableEntity | None) -> Sequence[TableEntity]:
            quota_id = quotas[position]
            of_quota, fresh, hours = self._charged(quota_id, known, charges[quota_id])
            statuses.append(of_quota)
            return [fresh, *hours]

        self._serial.change_each(TABLE, [(quota_id.hex, WINDOW_ROW) for quota_id in quotas], change)
        return statuses

    def window(self, quota_id: UUID) -> QuotaWindow:
        """Return the stored state of a quota. Raises Unavailable."""
        found = self._tables.get(TABLE, quota_id.hex, WINDOW_ROW)
        return QuotaWindow() if found is None else QuotaWindow.of(found.properties)

    def _charge_waiting(
        self, quota_id: UUID, requests: Sequence[Sequence[Charge]]
    ) -> Sequence[Sequence[RateStatus]]:
        if len(requests) == 1:
            return [self._commit(quota_id, requests[0])]
        statuses = iter(self._commit(quota_id, [charge for charges in requests for charge in charges]))
        return [list(islice(statuses, len(charges))) for charges in requests]

    def _commit(self, quota_id: UUID, charges: Sequence[Charge]) -> Sequence[RateStatus]:
        if all(charge.kind is ChargeKind.Peek for charge in charges):
            return self.window(quota_id).charge(charges, self._clock.now())
        together = self.charge_each({quota_id: charges})
        if together is not None:
            return together[0]
        # The entity this process wrote last is most likely still current; if not, the ETag says so.
        known = self._known.pop(quota_id, None)
        for attempt in range(_TRIES):
            if known is None:
                known = self._tables.get(TABLE, quota_id.hex, WINDOW_ROW)
            try:
                statuses, written = self._try(quota_id, known, charges)
            except (EntityExists, EtagMismatch):
                known = None
                if attempt >= _EAGER_TRIES:
                    time.sleep(random.uniform(0, 0.005 * (attempt - _EAGER_TRIES + 1)))  # noqa: S311
                continue
            if written is not None:
                with self._lock:
                    self._known[quota_id] = written
                    if len(self._known) > _REMEMBERED:
                        self._known.popitem(last=False)
            return statuses
        raise Contended("The key's quota is being used from too many places at once; try again.")

    def _try(
        self, quota_id: UUID, known: TableEntity | None, charges: Sequence[Charge]
    ) -> tuple[Sequence[RateStatus], TableEntity | None]:
        statuses, fresh, hours = self._charged(quota_id, known, charges)
        if known is None:
            etag = self._tables.insert(TABLE, fresh)
        elif not hours:
            etag = self._tables.replace(TABLE, fresh, etag=known.etag)
        else:
            upserts = [TableWrite("upsert", hour) for hour in hours]
            self._tables.transact(TABLE, [TableWrite("replace", fresh, known.etag), *upserts])
            return statuses, None
        return statuses, replace(fresh, etag=etag)

    def _charged(
        self, quota_id: UUID, known: TableEntity | None, charges: Sequence[Charge]
    ) -> tuple[Sequence[RateStatus], TableEntity, Sequence[TableEntity]]:
        now = self._clock.now()
        window = QuotaWindow() if known is None else QuotaWindow.of(known.properties)
        hour, uses = window.closed_hour(now) or (0, {})
        statuses = window.charge(charges, now)
        ended = [
            TableEntity(quota_id.hex, usage_row(key, hour), usage_properties(use))
            for key, use in uses.items()
        ]
        return statuses, TableEntity(quota_id.hex, WINDOW_ROW, window.properties()), ended


class Contended(Unavailable):
    """No write came through in a bounded number of tries. Never a reason to let a request pass unlimited."""


def usage_row(key: str, hour: int) -> str:
    return f"use-{key}-{hour_name(hour)}"


def usage_properties(use: Use) -> dict[str, TableValue]:
    return {"accepted": use.accepted, "limited": use.limited, "refused": use.refused}
