"""Quotas on the table store: exact under concurrency, across threads, processes and machines.

Each quota is one entity, replaced under its ETag, so that every decision is made on the present state or not at
all. The same entity carries the usage statistics: one write per request is all there is, and while one write of
a quota is under way the other requests of the process gather and go together in the next."""

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
_SLOT_MS = 60_000
_WINDOW_MS = SECONDS * 1000
_SLOT = struct.Struct("<qI")
#: Keys remembered of one line of rotations; at most two of a line are alive at once.
_LINE = 8


class ChargeKind(Enum):
    """`Use` takes one request of the quota if there is one, `Peek` only looks, `Refused` is counted as a
    request that was refused for another reason and takes nothing."""

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
    """How the quota stands after a take. Seconds: `reset_seconds` until the oldest uses leave the window,
    `retry_after_seconds` until one more is allowed (0: now)."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    retry_after_seconds: int


@dataclass(slots=True)
class Use:
    """What one key did: in the present hour, and (from `total` on) since it was made."""

    accepted: int = 0
    limited: int = 0
    refused: int = 0
    total: int = 0
    last_ms: int = 0
    total_limited: int = 0
    total_refused: int = 0


_USE = tuple(field_.name for field_ in fields(Use))


@dataclass(slots=True)
class QuotaWindow:
    """`slots` are [last use in ms since 1970, uses], oldest first. `hour` counts from 1970."""

    slots: list[list[int]] = field(default_factory=list)
    hour: int = 0
    uses: dict[str, Use] = field(default_factory=dict)

    def settle(self, takes: Sequence[Charge], now: datetime) -> list[RateStatus]:
        """Decide the takes in their order, and count them. Time never runs backwards here, whatever the clock
        of the asking process says."""
        now_ms = _millis(now)
        if self.slots:
            if self.slots[-1][0] > now_ms + _WINDOW_MS:
                self.slots.clear()  # no clock is an hour ahead of another: it was set back
            else:
                now_ms = max(now_ms, self.slots[-1][0])
        self._slide(now_ms)
        used = sum(count for _, count in self.slots)
        statuses: list[RateStatus] = []
        for take in takes:
            allowed = used < take.limit
            if take.kind is ChargeKind.Use and allowed:
                used += 1
                self._add(now_ms)
            self._count(take, allowed, now_ms)
            statuses.append(self._status(take, allowed, used, now_ms))
        return statuses

    def closed_hour(self, now: datetime) -> tuple[int, dict[str, Use]] | None:
        """The hour that ended, with what its keys did, if one has; the counters then begin anew."""
        hour = _millis(now) // _WINDOW_MS
        if hour == self.hour or hour + 1 == self.hour:
            return None
        ended = self.hour, {key: use for key, use in self.uses.items() if _seen(use)}
        kept = sorted(self.uses.items(), key=lambda one: one[1].last_ms)[-_LINE:]
        self.uses = {key: replace(use, accepted=0, limited=0, refused=0) for key, use in kept}
        self.hour = hour
        return ended if ended[1] else None

    def properties(self) -> dict[str, TableValue]:
        """As stored."""
        counts = {key: [*(getattr(use, name) for name in _USE)] for key, use in self.uses.items()}
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

    def _slide(self, now_ms: int) -> None:
        gone = 0
        while gone < len(self.slots) and self.slots[gone][0] + _WINDOW_MS <= now_ms:
            gone += 1
        del self.slots[:gone]

    def _add(self, now_ms: int) -> None:
        if self.slots and self.slots[-1][0] // _SLOT_MS == now_ms // _SLOT_MS:
            self.slots[-1][0] = now_ms
            self.slots[-1][1] += 1
        else:
            self.slots.append([now_ms, 1])

    def _count(self, take: Charge, allowed: bool, now_ms: int) -> None:
        if take.kind is ChargeKind.Peek:
            return
        use = self.uses.setdefault(take.key, Use())
        if take.kind is ChargeKind.Refused:
            use.refused += 1
            use.total_refused += 1
        elif allowed:
            use.accepted += 1
            use.total += 1
            use.last_ms = max(use.last_ms, now_ms)
        else:
            use.limited += 1
            use.total_limited += 1

    def _status(self, take: Charge, allowed: bool, used: int, now_ms: int) -> RateStatus:
        reset = _seconds(self.slots[0][0], now_ms) if self.slots else 0
        retry = 0
        if used >= take.limit:
            left = used
            for last, count in self.slots:
                left -= count
                retry = _seconds(last, now_ms)
                if left < take.limit:
                    break
        return RateStatus(allowed, take.limit, max(0, take.limit - used), reset, retry)


def hour_name(hour: int) -> str:
    """`2026112315`: sorts as time does."""
    return datetime.fromtimestamp(hour * SECONDS, UTC).strftime("%Y%m%d%H")


def hour_of(moment: datetime) -> int:
    """Hours since 1970-01-01T00:00:00Z."""
    return int(moment.timestamp()) // SECONDS


def _millis(moment: datetime) -> int:
    # Rounded up: a use counts for whole 60 minutes.
    return math.ceil(moment.timestamp() * 1000)


def _seconds(last_ms: int, now_ms: int) -> int:
    return max(1, -(-(last_ms + _WINDOW_MS - now_ms) // 1000))


def _seen(use: Use) -> bool:
    return bool(use.accepted or use.limited or use.refused)


TABLE = "ApiKeyUsage"
WINDOW_ROW = "window"
_TRIES = 60
_EAGER_TRIES = 8
_REMEMBERED = 2_000


#: The requests of this process on one quota: one at a time writes, for all that wait.
_Line = GroupCommit[Sequence[Charge], Sequence[RateStatus]]


class SerialTables(Protocol):
    """A table store on this machine, which can lock instead of trying again."""

    def change_each(
        self,
        table: str,
        keys: Sequence[tuple[str, str]],
        change: Callable[[int, TableEntity | None], Sequence[TableEntity]],
    ) -> None:
        """In one transaction that nobody else writes during: hand each entity, with its position in `keys`, to
        `change`, and store what it returns. Raises Unavailable."""


class RateLimiter:
    """With `serial` (the embedded store) quotas are changed under its lock, many at once; without (Azure Tables)
    each by optimistic concurrency."""

    def __init__(self, tables: TableStore, clock: Clock, *, serial: SerialTables | None = None) -> None:
        self._tables = tables
        self._clock = clock
        self._serial = serial
        self._lock = Lock()
        self._lines: WeakValueDictionary[UUID, _Line] = WeakValueDictionary()
        self._known: OrderedDict[UUID, TableEntity] = OrderedDict()

    def settle(self, quota_id: UUID, takes: Sequence[Charge]) -> Sequence[RateStatus]:
        """Decide and count `takes` in their order.

        Raises Unavailable when the table store is down (StoreDown), or so contended that no write came through
        (Contended: then nothing was decided, and the request may be repeated)."""
        with self._lock:
            line = self._lines.get(quota_id)
            if line is None:
                # Where one is refused, all are: trying each alone would only add to what overloads the store.
                line = GroupCommit(partial(self._settle_all, quota_id), most=None, retries_alone=False)
                self._lines[quota_id] = line
        return line.submit(takes)

    def settle_each(self, batch: Mapping[UUID, Sequence[Charge]]) -> list[Sequence[RateStatus]] | None:
        """`settle` for many quotas in one transaction, where the store can; else None, and nothing is done."""
        if self._serial is None:
            return None
        return self._change(list(batch.items()))

    def _change(self, batch: Sequence[tuple[UUID, Sequence[Charge]]]) -> list[Sequence[RateStatus]]:
        assert self._serial is not None
        settled: list[Sequence[RateStatus]] = []

        def change(position: int, known: TableEntity | None) -> Sequence[TableEntity]:
            quota_id, takes = batch[position]
            now = self._clock.now()
            window = QuotaWindow() if known is None else QuotaWindow.of(known.properties)
            ended = window.closed_hour(now)
            settled.append(window.settle(takes, now))
            fresh = TableEntity(quota_id.hex, WINDOW_ROW, window.properties())
            return [fresh] if ended is None else [fresh, *(hour.entity for hour in _hours(quota_id, *ended))]

        keys = [(quota_id.hex, WINDOW_ROW) for quota_id, _ in batch]
        self._serial.change_each(TABLE, keys, change)
        return settled

    def window(self, quota_id: UUID) -> QuotaWindow:
        """The present state, as stored. Raises Unavailable."""
        found = self._tables.get(TABLE, quota_id.hex, WINDOW_ROW)
        return QuotaWindow() if found is None else QuotaWindow.of(found.properties)

    def _settle_all(
        self, quota_id: UUID, turns: Sequence[Sequence[Charge]]
    ) -> Sequence[Sequence[RateStatus]]:
        if len(turns) == 1:
            return [self._commit(quota_id, turns[0])]
        statuses = iter(self._commit(quota_id, [take for takes in turns for take in takes]))
        return [list(islice(statuses, len(takes))) for takes in turns]

    def _commit(self, quota_id: UUID, takes: Sequence[Charge]) -> Sequence[RateStatus]:
        if all(take.kind is ChargeKind.Peek for take in takes):
            return self.window(quota_id).settle(takes, self._clock.now())
        if self._serial is not None:
            return self._change([(quota_id, takes)])[0]
        # The entity this process wrote last is most likely still current; if not, the ETag says so.
        known = self._known.pop(quota_id, None)
        for attempt in range(_TRIES):
            if known is None:
                known = self._tables.get(TABLE, quota_id.hex, WINDOW_ROW)
            try:
                statuses, written = self._try(quota_id, known, takes)
            except (EntityExists, EtagMismatch):
                known = None
                if attempt >= _EAGER_TRIES:
                    time.sleep(random.uniform(0, 0.005 * (attempt - _EAGER_TRIES + 1)))  # noqa: S311
                continue
            self._remember(quota_id, written)
            return statuses
        raise Contended("The key's quota is being used from too many places at once; try again.")

    def _try(
        self, quota_id: UUID, known: TableEntity | None, takes: Sequence[Charge]
    ) -> tuple[list[RateStatus], TableEntity | None]:
        now = self._clock.now()
        window = QuotaWindow() if known is None else QuotaWindow.of(known.properties)
        ended = window.closed_hour(now)
        statuses = window.settle(takes, now)
        fresh = TableEntity(quota_id.hex, WINDOW_ROW, window.properties())
        if known is None:
            etag = self._tables.insert(TABLE, fresh)
        elif ended is None:
            etag = self._tables.replace(TABLE, fresh, etag=known.etag)
        else:
            self._tables.transact(
                TABLE, [TableWrite("replace", fresh, known.etag), *_hours(quota_id, *ended)]
            )
            return statuses, None
        return statuses, TableEntity(fresh.partition_key, fresh.row_key, fresh.properties, etag)

    def _remember(self, quota_id: UUID, entity: TableEntity | None) -> None:
        if entity is None:
            return
        with self._lock:
            self._known[quota_id] = entity
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


class Contended(Unavailable):
    """No write came through in a bounded number of tries. Never a reason to let a request pass unlimited."""


def usage_row(key: str, hour: int) -> str:
    """Row key of what a key did in an ended hour."""
    return f"use-{key}-{hour_name(hour)}"


def usage_properties(use: Use) -> dict[str, TableValue]:
    return {"accepted": use.accepted, "limited": use.limited, "refused": use.refused}


def _hours(quota_id: UUID, hour: int, uses: dict[str, Use]) -> list[TableWrite]:
    return [
        TableWrite("upsert", TableEntity(quota_id.hex, usage_row(key, hour), usage_properties(use)))
        for key, use in uses.items()
    ]
