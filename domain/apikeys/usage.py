"""Usage statistics: read from the quotas' windows, rolled up into the keys' rows, deleted when old."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import TypeVar
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyFilter
from domain.apikeys.ports import ApiKeyTransaction, KeyRef, UsageTotal
from domain.apikeys.rate_limit import (
    TABLE,
    Charge,
    ChargeKind,
    QuotaWindow,
    RateLimiter,
    RateStatus,
    Use,
    hour_name,
    hour_of,
    usage_row,
)
from domain.core.errors import NotFound
from domain.core.paging import every
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock, TableEntity, TableStore, TableWrite
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.journal.signals import By, Signal, SubjectKind, Tally, range_of, start_of

A = TypeVar("A")
B = TypeVar("B")

PAGE = 500
#: Rows of the table store that one transaction deletes.
ROWS = 100


@dataclass(frozen=True, slots=True)
class Bucket:
    start: datetime
    accepted: int
    limited: int
    refused: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a key. `rate` is how its quota stands now; `buckets` are those with a request, oldest first."""

    key: ApiKey
    since: datetime
    until: datetime
    rate: RateStatus
    buckets: Sequence[Bucket]


class UsageService:
    """Reads and maintains usage. A roll-up sends `parallel` reads to the table store at once."""

    def __init__(
        self,
        transactions: Transactions[ApiKeyTransaction],
        tables: TableStore,
        limiter: RateLimiter,
        clock: Clock,
        *,
        retention: timedelta,
        parallel: int = 1,
    ) -> None:
        self._transactions = transactions
        self._tables = tables
        self._limiter = limiter
        self._clock = clock
        self._retention = retention
        self._parallel = parallel

    def usage(
        self,
        principal: Principal,
        api_key_id: UUID,
        *,
        by: By,
        since: datetime | None,
        until: datetime | None,
    ) -> Usage:
        """Return the usage of a key in whole hours or days (UTC) that the range touches.

        Without a range: the last 24 hours or 30 days. Raises Forbidden, NotFound, ValidationFailed, Unavailable."""
        principal.require(INTEGRATION_MANAGE)
        now = self._clock.now()
        since, until = range_of(by, since, until, now)
        with self._transactions.read() as tx:
            key = tx.api_keys.get(principal.tenant_id, api_key_id)
        window, hours = self._hours(key, hour_of(since), hour_of(until) + 1)
        [rate] = window.charge([Charge(key.api_key_id.hex, key.rate_limit_per_hour, ChargeKind.Peek)], now)
        buckets = [_bucket(hour, use) for hour, use in sorted(hours.items()) if use.has_requests]
        return Usage(key, since, until, rate, buckets if by == "hour" else _days(buckets))

    def hours(
        self, tenant_id: UUID, api_key_ids: Collection[UUID] | None, *, since: datetime, until: datetime
    ) -> list[Signal]:
        """Return the usage of keys by hour, as `domain.journal.signals.KeyHours` says.

        Requests refused or over the limit count as failed; a key revoked before `since` has no signals."""
        keys = self._keys(tenant_id, api_key_ids, since)
        first, end = hour_of(since), hour_of(until - timedelta(microseconds=1)) + 1

        def signals_of(key: ApiKey) -> list[Signal]:
            _, hours = self._hours(key, first, end)
            of_key = partial(Signal, tenant_id, SubjectKind.ApiKey, key.api_key_id)
            return [of_key(_moment(hour), _tally(use)) for hour, use in hours.items() if use.has_requests]

        return [signal for of_key in self._in_parallel(signals_of, keys) for signal in of_key]

    def roll_up(self) -> int:
        """Store the totals and LastUsedAt of recently used keys; return their number. Idempotent."""
        since = self._clock.now() - timedelta(hours=2)
        return sum(self._roll_up(refs) for refs in self._pages(since))

    def forget_old(self) -> int:
        end = hour_name(hour_of(self._clock.now() - self._retention))
        return sum(self._forget(ref, end) for refs in self._pages(None) for ref in refs)

    def _keys(
        self, tenant_id: UUID, api_key_ids: Collection[UUID] | None, since: datetime
    ) -> Sequence[ApiKey]:
        now = self._clock.now()
        with self._transactions.read() as tx:
            keys = (
                list(every(lambda page: tx.api_keys.page(tenant_id, KeyFilter(), page, now)))
                if api_key_ids is None
                else [key for api_key_id in api_key_ids if (key := _found(tx, tenant_id, api_key_id))]
            )
        return [key for key in keys if key.revoked_at is None or key.revoked_at >= since]

    def _hours(self, key: ApiKey, first: int, end: int) -> tuple[QuotaWindow, dict[int, Use]]:
        # The window is read before the hours: an hour that ends in between is in one of the two, never in neither.
        window = self._limiter.window(key.quota_id)
        start, stop = (usage_row(key.api_key_id.hex, hour) for hour in (first, end))
        ended = self._tables.query(
            TABLE, key.quota_id.hex, row_key_from=start, row_key_to=stop, limit=end - first + 1
        )
        hours = {_hour_of_row(entity.row_key): _use_of(entity) for entity in ended}
        present = window.uses.get(key.api_key_id.hex)
        if present is not None and first <= window.hour < end:
            hours.setdefault(window.hour, present)
        return window, hours

    def _roll_up(self, refs: Sequence[KeyRef]) -> int:
        quotas = list({ref.quota_id for ref in refs})
        windows = dict(zip(quotas, self._in_parallel(self._limiter.window, quotas), strict=True))
        totals = []
        for ref in refs:
            use = windows[ref.quota_id].uses.get(ref.api_key_id.hex)
            if use is not None and (use.total or use.total_limited or use.total_refused):
                last = datetime.fromtimestamp(use.last_ms / 1000, UTC) if use.last_ms else None
                total = UsageTotal(ref.api_key_id, use.total, last, use.total_limited, use.total_refused)
                totals.append(total)
        if totals:
            with self._transactions.write() as tx:
                tx.api_keys.set_usage(totals)
                tx.commit()
        return len(refs)

    def _in_parallel(self, read: Callable[[A], B], items: Sequence[A]) -> list[B]:
        if self._parallel == 1:
            return [read(item) for item in items]
        with ThreadPoolExecutor(self._parallel) as pool:
            return list(pool.map(read, items))

    def _pages(self, used_since: datetime | None) -> Iterator[Sequence[KeyRef]]:
        after: UUID | None = None
        while True:
            with self._transactions.read() as tx:
                refs = tx.api_keys.refs(after, used_since=used_since, limit=PAGE)
            if refs:
                yield refs
            if len(refs) < PAGE:
                return
            after = refs[-1].api_key_id

    def _forget(self, ref: KeyRef, end: str) -> int:
        prefix = f"use-{ref.api_key_id.hex}-"
        deleted = 0
        rows = partial(self._tables.query, TABLE, row_key_from=prefix, row_key_to=prefix + end, limit=ROWS)
        while old := rows(ref.quota_id.hex):
            self._tables.transact(TABLE, [TableWrite("delete", entity) for entity in old])
            deleted += len(old)
        return deleted


def _found(tx: ApiKeyTransaction, tenant_id: UUID, api_key_id: UUID) -> ApiKey | None:
    try:
        return tx.api_keys.get(tenant_id, api_key_id)
    except NotFound:
        return None


def _moment(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)


def _bucket(hour: int, use: Use) -> Bucket:
    return Bucket(_moment(hour), use.accepted, use.limited, use.refused)


def _days(hours: Sequence[Bucket]) -> list[Bucket]:
    days = []
    for start, group in groupby(hours, key=lambda bucket: start_of(bucket.start, "day")):
        counts = [(hour.accepted, hour.limited, hour.refused) for hour in group]
        days.append(Bucket(start, *map(sum, zip(*counts, strict=True))))
    return days


def _hour_of_row(row_key: str) -> int:
    moment = datetime.strptime(row_key[-10:], "%Y%m%d%H").replace(tzinfo=UTC)
    return hour_of(moment)


def _use_of(entity: TableEntity) -> Use:
    counts = entity.properties
    return Use(*(int(str(counts[name])) for name in ("accepted", "limited", "refused")))


def _tally(use: Use) -> Tally:
    total = use.accepted + use.limited + use.refused
    errors = {name: count for name, count in (("limited", use.limited), ("refused", use.refused)) if count}
    return Tally(total=total, succeeded=use.accepted, failed=total - use.accepted, errors=errors)
