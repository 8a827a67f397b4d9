"""How many requests an hour a person may make in a tenant.

A key's quota is a contract and exact. A person's keeps a script that runs wild from taking the hub from others, and
must not slow a request: it is decided in memory, by what the process knows. These are its own uses to the last, and
those of others as of when it last told the table store of its own, at most a few seconds ago while the person goes on.
So the processes together let no more than those seconds' requests through above the limit; one process alone, none."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Final
from uuid import UUID

from domain.apikeys.rate_limit import SECONDS, SLOT_MS, Charge, ChargeKind, QuotaWindow, RateStatus
from domain.core.errors import Unavailable
from domain.core.ports import Clock, EntityExists, EtagMismatch, TableEntity, TableStore

logger = logging.getLogger("hub.auth")

TABLE: Final = "UserQuotas"
#: How often a process tells of the uses of a person who goes on.
TOLD_EVERY: Final = timedelta(seconds=5)
#: And each time that they come to this part of the limit.
_TOLD_PART: Final = 100
_REMEMBERED: Final = 10_000
_TRIES: Final = 5
#: Rows that one step of the cleaning reads.
SCAN = 500


#: By minute: the last use in ms since 1970, and how many there were.
_Slots = dict[int, list[int]]


@dataclass(slots=True)
class _Person:
    """What a process knows of a person: the window, and which of its own uses it has told nobody of."""

    window: QuotaWindow = field(default_factory=QuotaWindow)
    untold: _Slots = field(default_factory=dict)
    count: int = 0
    told_at: datetime | None = None
    is_telling: bool = False
    has_failed: bool = False
    known: TableEntity | None = None


class UserLimits:
    """Limits people to `per_hour` requests in any 60 minutes, each in each tenant. Thread-safe.

    `teller` runs what speaks to the table store; a thread of its own unless given."""

    def __init__(
        self, tables: TableStore, clock: Clock, *, per_hour: int, teller: Executor | None = None
    ) -> None:
        self._tables = tables
        self._clock = clock
        self._per_hour = per_hour
        # Made once: a window asks which key a request came with, and a person has none.
        self._charges = {kind: (Charge("", per_hour, kind),) for kind in ChargeKind}
        self._lock = Lock()
        self._people: OrderedDict[tuple[UUID, UUID], _Person] = OrderedDict()
        self._teller = teller

    def charge(self, tenant_id: UUID, user_id: UUID, kind: ChargeKind) -> RateStatus:
        """Decide and count a request. Neither waits nor fails."""
        now, who = self._clock.now(), (tenant_id, user_id)
        with self._lock:
            person = self._people.get(who)
            if person is None:
                person = self._people[who] = _Person()
                if len(self._people) > _REMEMBERED:
                    self._people.popitem(last=False)
            self._people.move_to_end(who)
            [status] = person.window.charge(self._charges[kind], now)
            if kind is ChargeKind.Use and status.allowed:
                person.count += 1
                _add(person.untold, person.window.slots[-1][0], 1)
            tells = not person.is_telling and self._is_due(person, now)
            if tells:
                person.is_telling = True
                self._teller = self._teller or ThreadPoolExecutor(1, thread_name_prefix="user-limits")
        if tells and self._teller is not None:
            self._teller.submit(self._tell, who, person)
        return status

    def forget_old(self, tenants: Iterable[UUID]) -> int:
        """Delete the windows in which nothing is left; return how many. Raises Unavailable."""
        deleted, now = 0, self._clock.now()
        for tenant in tenants:
            after = ""
            while rows := self._tables.query(TABLE, tenant.hex, row_key_from=after, limit=SCAN):
                deleted += sum(self._forget(row) for row in rows if not _read(row, now))
                after = rows[-1].row_key + "0"
        return deleted

    def _is_due(self, person: _Person, now: datetime) -> bool:
        if not person.count:
            return False
        is_many = person.count * _TOLD_PART >= self._per_hour and not person.has_failed
        return person.told_at is None or is_many or abs(now - person.told_at) >= TOLD_EVERY

    def _tell(self, who: tuple[UUID, UUID], person: _Person) -> None:
        """Add what this process counted to the stored window, and learn what others did."""
        with self._lock:
            untold, person.untold = person.untold, {}
            count, person.count = person.count, 0
        slots: _Slots | None = None
        now = self._clock.now()
        try:
            slots = self._stored(who, person, untold, now)
        except Unavailable as error:
            logger.warning("requests of people not counted together", extra={"reason": error.detail})
        except Exception as error:
            logger.error("requests of people not counted together", exc_info=error)
        with self._lock:
            person.is_telling, person.told_at, person.has_failed = False, now, slots is None
            if slots is None:
                person.untold = _sum(untold, person.untold)
                person.count += count
            else:
                person.window = QuotaWindow(_listed(_sum(slots, person.untold)))

    def _stored(
        self, who: tuple[UUID, UUID], person: _Person, untold: _Slots, now: datetime
    ) -> _Slots | None:
        """Return the window as it is stored now; None where others were faster each time. Raises Unavailable."""
        tenant, user = who
        known = person.known
        for _ in range(_TRIES):
            if known is None:
                known = self._tables.get(TABLE, tenant.hex, user.hex)
            slots = _sum(_read(known, now), untold)
            fresh = TableEntity(tenant.hex, user.hex, QuotaWindow(_listed(slots)).properties())
            try:
                if known is None:
                    etag = self._tables.insert(TABLE, fresh)
                else:
                    etag = self._tables.replace(TABLE, fresh, etag=known.etag)
            except (EntityExists, EtagMismatch):
                known = None
                continue
            person.known = replace(fresh, etag=etag)
            return slots
        person.known = None
        return None

    def _forget(self, row: TableEntity) -> bool:
        try:
            return self._tables.delete(TABLE, row.partition_key, row.row_key, etag=row.etag)
        except EtagMismatch:
            return False  # used since it was read


def _read(known: TableEntity | None, now: datetime) -> _Slots:
    """Return the slots of a stored window that still count; those far ahead are of a clock that was set back."""
    slots: _Slots = {}
    if known is not None:
        now_ms, window_ms = now.timestamp() * 1000, SECONDS * 1000
        for last, count in QuotaWindow.of(known.properties).slots:
            if now_ms - window_ms < last <= now_ms + window_ms:
                _add(slots, last, count)
    return slots


def _add(slots: _Slots, last: int, count: int) -> None:
    slot = slots.setdefault(last // SLOT_MS, [0, 0])
    slot[0] = max(slot[0], last)
    slot[1] += count


def _sum(one: _Slots, other: _Slots) -> _Slots:
    both: _Slots = {}
    for last, count in (*one.values(), *other.values()):
        _add(both, last, count)
    return both


def _listed(slots: _Slots) -> list[list[int]]:
    return [slots[minute] for minute in sorted(slots)]
