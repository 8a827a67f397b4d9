"""Quotas on the table store: exact under concurrency, across threads, processes and machines.

Each quota is one entity, replaced under its ETag, so that every decision is made on the present state or not at
all. The same entity carries the usage statistics: one write per request is all there is, and while one write of
a quota is under way the other requests of the process gather and go together in the next."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol
from uuid import UUID
from weakref import WeakValueDictionary

from domain.apikeys.window import Kind, RateStatus, Take, Use, Window, hour_name
from domain.errors import Unavailable
from domain.ports import Clock, EntityExists, EtagMismatch, TableEntity, TableStore, TableValue, TableWrite

TABLE = "ApiKeyUsage"
WINDOW_ROW = "window"
_TRIES = 60
_EAGER_TRIES = 8
_REMEMBERED = 2_000


@dataclass(slots=True)
class _Turn:
    """Takes waiting to be settled, and what became of them."""

    takes: Sequence[Take]
    statuses: Sequence[RateStatus] | None = None
    error: Exception | None = None


@dataclass(slots=True, weakref_slot=True)
class _Line:
    """The requests of this process on one quota: one at a time writes, for all that wait."""

    busy: Lock = field(default_factory=Lock)
    waiting: list[_Turn] = field(default_factory=list)


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

    def settle(self, quota_id: UUID, takes: Sequence[Take]) -> Sequence[RateStatus]:
        """Decide and count `takes` in their order.

        Raises Unavailable when the table store is down (StoreDown), or so contended that no write came through
        (Contended: then nothing was decided, and the request may be repeated)."""
        turn = _Turn(takes)
        with self._lock:
            line = self._lines.get(quota_id)
            if line is None:
                line = self._lines[quota_id] = _Line()
            line.waiting.append(turn)
        with line.busy:
            if turn.statuses is None and turn.error is None:
                with self._lock:
                    turns, line.waiting = line.waiting, []
                self._settle_all(quota_id, turns)
        if turn.error is not None:
            raise turn.error
        assert turn.statuses is not None
        return turn.statuses

    def settle_each(self, batch: Mapping[UUID, Sequence[Take]]) -> list[Sequence[RateStatus]] | None:
        """`settle` for many quotas in one transaction, where the store can; else None, and nothing is done."""
        if self._serial is None:
            return None
        return self._change(list(batch.items()))

    def _change(self, batch: Sequence[tuple[UUID, Sequence[Take]]]) -> list[Sequence[RateStatus]]:
        assert self._serial is not None
        settled: list[Sequence[RateStatus]] = []

        def change(position: int, known: TableEntity | None) -> Sequence[TableEntity]:
            quota_id, takes = batch[position]
            now = self._clock.now()
            window = Window() if known is None else Window.of(known.properties)
            ended = window.closed_hour(now)
            settled.append(window.settle(takes, now))
            fresh = TableEntity(quota_id.hex, WINDOW_ROW, window.properties())
            return [fresh] if ended is None else [fresh, *(one.entity for one in _hours(quota_id, *ended))]

        keys = [(quota_id.hex, WINDOW_ROW) for quota_id, _ in batch]
        self._serial.change_each(TABLE, keys, change)
        return settled

    def window(self, quota_id: UUID) -> Window:
        """The present state, as stored. Raises Unavailable."""
        found = self._tables.get(TABLE, quota_id.hex, WINDOW_ROW)
        return Window() if found is None else Window.of(found.properties)

    def _settle_all(self, quota_id: UUID, turns: Sequence[_Turn]) -> None:
        takes = [take for turn in turns for take in turn.takes]
        try:
            statuses = self._commit(quota_id, takes)
        except Exception as error:
            for turn in turns:
                turn.error = error
            return
        start = 0
        for turn in turns:
            turn.statuses = statuses[start : start + len(turn.takes)]
            start += len(turn.takes)

    def _commit(self, quota_id: UUID, takes: Sequence[Take]) -> Sequence[RateStatus]:
        if all(take.kind is Kind.Peek for take in takes):
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
        self, quota_id: UUID, known: TableEntity | None, takes: Sequence[Take]
    ) -> tuple[list[RateStatus], TableEntity | None]:
        now = self._clock.now()
        window = Window() if known is None else Window.of(known.properties)
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
