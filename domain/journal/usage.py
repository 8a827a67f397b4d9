"""What a tenant uses, counted by the hour and the month."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from domain.core.errors import DomainError, FieldError, OutcomeUnknown, ValidationFailed
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INSIGHTS_READ
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transaction, Transactions, in_steps, repeated
from domain.journal.signals import hour_of

logger = logging.getLogger("hub.usage")

#: Tenants whose counts one transaction adds.
TENANTS = 50
#: Rows that one transaction deletes.
ROWS = 1_000
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


class UsagePeriod(IntEnum):
    """How long the time is that a count is of."""

    Hour = 1
    Month = 2


@dataclass(frozen=True, slots=True)
class UsageCounts:
    """What was used.

    - `calls`: requests to the API that were let in, whatever became of them; not those refused with 401, 403 or 429.
    - `events`: events stored, the hub's own included.
    - `deliveries`: events that were to go to a webhook, each once, however often it was tried.
    - `records`: records that a sync job handled, in either direction: stored, found unchanged, deleted or refused."""

    calls: int = 0
    events: int = 0
    deliveries: int = 0
    records: int = 0

    def __add__(self, other: UsageCounts) -> UsageCounts:
        return UsageCounts(
            self.calls + other.calls,
            self.events + other.events,
            self.deliveries + other.deliveries,
            self.records + other.records,
        )


class UsageHour(NamedTuple):
    """An hour of a tenant."""

    tenant_id: UUID
    hour: datetime


@dataclass(frozen=True, slots=True)
class UsageSpan:
    """What a tenant used in the hour or month (UTC) that begins at `start`."""

    start: datetime
    counts: UsageCounts


class TenantUsages(Protocol):
    """Counts by tenant and period. An hour that is added counts in its month as well."""

    def add(self, counted: Mapping[UsageHour, UsageCounts]) -> None: ...

    def page(
        self, tenant_id: UUID, period: UsagePeriod, page: PageRequest, *, since: datetime, until: datetime
    ) -> Page[UsageSpan]:
        """Return the periods with a count that begin at or after `since` and before `until`, oldest first."""

    def totals(
        self, tenant_ids: Collection[UUID], period: UsagePeriod, *, since: datetime, until: datetime
    ) -> dict[UUID, UsageCounts]:
        """Return the sums over such periods, of those tenants that have any."""

    def delete_before(self, period: UsagePeriod, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` periods that began before `cutoff`; return how many."""


class UsageTransaction(Transaction, Protocol):
    """A transaction that may add to and read what tenants use."""

    @property
    def usage(self) -> TenantUsages: ...


class UsageMeter:
    """Counts in memory and stores what was counted every `every`: a request or a delivery costs no write of its own.

    Thread-safe. An orderly end stores the rest (`flush`); a crash loses what was counted since the last time."""

    def __init__(
        self, transactions: Transactions[UsageTransaction], clock: Clock, *, every: timedelta
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._every = every
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._counted: dict[UsageHour, UsageCounts] = {}
        self._timer: threading.Timer | None = None

    def count(self, tenant_id: UUID, counts: UsageCounts) -> None:
        """Count. Never waits for the database and never fails."""
        key = UsageHour(tenant_id, hour_of(self._clock.now()))
        with self._lock:
            self._add({key: counts})

    def flush(self) -> bool:
        """Store what was counted so far; return whether all of it is. Raises nothing."""
        with self._turn:
            with self._lock:
                counted, self._counted = self._counted, {}
                timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            keys = sorted(counted)
            for start in range(0, len(keys), TENANTS):
                some = {key: counted[key] for key in keys[start : start + TENANTS]}
                try:
                    # Storing is no part of the request that happens to be at hand.
                    Context().run(self._store, some)
                except OutcomeUnknown as error:
                    # Perhaps stored: rather too little than twice.
                    logger.warning("usage may be lost", extra={"rows": len(some), "reason": error.detail})
                except Exception as error:
                    self._keep({key: counted[key] for key in keys[start:]}, error)
                    return False
            return True

    @repeated
    def _store(self, counted: Mapping[UsageHour, UsageCounts]) -> None:
        with self._transactions.write() as tx:
            tx.usage.add(counted)
            tx.commit()

    def _keep(self, counted: Mapping[UsageHour, UsageCounts], error: Exception) -> None:
        reason = error.detail if isinstance(error, DomainError) else type(error).__name__
        logger.warning("usage not stored yet", extra={"rows": len(counted), "reason": reason})
        with self._lock:
            self._add(counted)

    def _add(self, counted: Mapping[UsageHour, UsageCounts]) -> None:
        for key, counts in counted.items():
            known = self._counted.get(key)
            self._counted[key] = counts if known is None else known + counts
        if self._timer is None and self._every:
            # It ends when it has stored: a process without work has no thread that waits.
            self._timer = threading.Timer(self._every.total_seconds(), self.flush)
            self._timer.daemon = True
            self._timer.name = "usage"
            self._timer.start()


#: What transactions and the authentication tell of what they let through.
CountUsage = Callable[[UUID, UsageCounts], None]


@dataclass(frozen=True, slots=True)
class UsageList:
    """A page of the periods that a range touches, and the sum of the whole range."""

    page: Page[UsageSpan]
    since: datetime
    until: datetime
    total: UsageCounts


class TenantUsageService:
    """Tells what tenants use. Hours are kept for `hours`, months for `months`."""

    def __init__(
        self,
        transactions: Transactions[UsageTransaction],
        meter: UsageMeter,
        clock: Clock,
        *,
        hours: timedelta,
        months: timedelta,
    ) -> None:
        self._transactions = transactions
        self._meter = meter
        self._clock = clock
        self._kept = {UsagePeriod.Hour: hours, UsagePeriod.Month: months}

    def page(
        self,
        principal: Principal,
        period: UsagePeriod,
        page: PageRequest,
        *,
        since: datetime | None,
        until: datetime | None,
    ) -> UsageList:
        """Return what the caller's tenant used, up to this moment in this process, in others up to seconds ago.

        Without a range: the last 24 hours or 12 months. Raises Forbidden, ValidationFailed, Unavailable."""
        principal.require(INSIGHTS_READ)
        since, until = usage_range(period, since, until, self._clock.now())
        self._meter.flush()
        tenant_id = principal.tenant_id
        with self._transactions.read() as tx:
            found = tx.usage.page(tenant_id, period, page, since=since, until=until)
            totals = tx.usage.totals([tenant_id], period, since=since, until=until)
        return UsageList(found, since, until, totals.get(tenant_id, UsageCounts()))

    def of_tenants(
        self, tenant_ids: Sequence[UUID], period: UsagePeriod, *, since: datetime, until: datetime
    ) -> dict[UUID, UsageCounts]:
        """Return the sums of tenants over the hours or months that begin in a range, for the platform itself.

        Tenants that used nothing are not in it. The caller answers for who may see it. Raises Unavailable."""
        self._meter.flush()
        with self._transactions.read() as tx:
            return tx.usage.totals(tenant_ids, period, since=since, until=until)

    def forget_old(self) -> int:
        """Delete the periods past their retention; return how many."""
        now = self._clock.now()
        return sum(self._forget(period, now - kept) for period, kept in self._kept.items())

    def _forget(self, period: UsagePeriod, cutoff: datetime) -> int:
        return in_steps(self._transactions, lambda tx: tx.usage.delete_before(period, cutoff, ROWS), ROWS)


def start_of_period(moment: datetime, period: UsagePeriod) -> datetime:
    """Return the beginning of the moment's hour, or of its month in UTC."""
    hour = hour_of(moment)
    return hour if period == UsagePeriod.Hour else hour.replace(day=1, hour=0)


def usage_range(
    period: UsagePeriod, since: datetime | None, until: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    """Return the range asked for, or the last 24 hours (12 months), from the first hour (month) that it touches.

    Without an end it goes to that of the present hour (month). Raises ValidationFailed for a range that is empty, or
    out of reach."""
    for pointer, moment in (("/from", since), ("/to", until)):
        if moment is not None and not _FIRST <= moment < _LAST:
            raise ValidationFailed(_REACH, [FieldError(pointer, _REACH)])
    until = until or _next(start_of_period(now, period), period)
    since = start_of_period(since or _unless_told(period, until), period)
    if until <= since:
        detail = "`from` must be before `to`."
        raise ValidationFailed(detail, [FieldError("/from", detail)])
    return since, until


_REACH = "Must be between the years 1970 and 9998."


def _unless_told(period: UsagePeriod, until: datetime) -> datetime:
    last = start_of_period(max(until - timedelta(microseconds=1), _FIRST), period)
    if period == UsagePeriod.Hour:
        return max(last - timedelta(hours=23), _FIRST)
    # December's eleven months earlier are of its own year, those of others begin in the year before.
    years, month = (0, 1) if last.month == 12 else (1, last.month + 1)
    return max(last.replace(year=last.year - years, month=month), _FIRST)


def _next(start: datetime, period: UsagePeriod) -> datetime:
    if period == UsagePeriod.Hour:
        return start + timedelta(hours=1)
    return (start + timedelta(days=31)).replace(day=1)
