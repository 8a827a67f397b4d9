"""Signals over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.permissions import INSIGHTS_READ
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, in_steps
from domain.journal.signals import (
    STEP,
    By,
    KeyHours,
    Signal,
    SignalTransaction,
    SubjectKind,
    Tally,
    range_of,
    start_of,
)

#: Rows that one transaction adds up, and hours that one forgets.
ADDED_UP, FORGOTTEN = 2_000, 500


@dataclass(frozen=True, slots=True)
class Point:
    start: datetime
    tally: Tally


@dataclass(frozen=True, slots=True)
class Series:
    since: datetime
    until: datetime
    by: By
    points: Sequence[Point]

    @property
    def total(self) -> Tally:
        return sum((point.tally for point in self.points), Tally())


class SignalReader:
    def __init__(self, transactions: Transactions[SignalTransaction], key_hours: KeyHours) -> None:
        self._transactions = transactions
        self._key_hours = key_hours

    def read(
        self,
        tenant_id: UUID,
        kind: SubjectKind,
        *,
        since: datetime,
        until: datetime,
        subject_id: UUID | None = None,
    ) -> list[Signal]:
        """Return signals from `since` to before `until`, in no order. Raises Unavailable."""
        if kind == SubjectKind.ApiKey:
            ids = None if subject_id is None else [subject_id]
            return self._key_hours.hours(tenant_id, ids, since=since, until=until)
        with self._transactions.read() as tx:
            return tx.signals.read(tenant_id, kind, since=since, until=until, subject_id=subject_id)


class SignalService:
    def __init__(
        self,
        transactions: Transactions[SignalTransaction],
        clock: Clock,
        reader: SignalReader,
        *,
        retention: timedelta,
    ) -> None:
        self._reader = reader
        self._transactions = transactions
        self._clock = clock
        self._retention = retention

    def series(
        self,
        principal: Principal,
        kind: SubjectKind,
        subject_id: UUID | None,
        *,
        by: By,
        since: datetime | None,
        until: datetime | None,
    ) -> Series:
        """Return a subject's series in whole hours or days (UTC); by default the last 24 hours or 30 days.

        Another tenant's subject has no signals. Raises Forbidden, ValidationFailed, Unavailable."""
        principal.require(INSIGHTS_READ)
        since, until = range_of(by, since, until, self._clock.now())
        if kind == SubjectKind.Tenant:
            subject_id = principal.tenant_id
        signals = self._reader.read(
            principal.tenant_id, kind, since=since, until=until, subject_id=subject_id
        )
        return Series(since, until, by, points_of(signals, since, until, by))

    def compact(self, *, transactions: int = 50) -> int:
        """Add up what was appended, a bounded number of transactions a run, and return how many. Raises Unavailable."""
        return in_steps(
            self._transactions, lambda tx: tx.signals.compact(ADDED_UP), ADDED_UP, most=transactions
        )

    def forget_old(self, *, transactions: int = 500) -> int:
        """Remove hours past their retention, a bounded number of transactions a run, and return how many."""
        cutoff = self._clock.now() - self._retention
        return in_steps(
            self._transactions,
            lambda tx: tx.signals.delete_before(cutoff, FORGOTTEN),
            FORGOTTEN,
            most=transactions,
        )


def points_of(signals: Sequence[Signal], since: datetime, until: datetime, by: By) -> list[Point]:
    sums: dict[datetime, Tally] = {}
    start = since
    while start < until:
        sums[start] = Tally()
        start += STEP[by]
    for signal in signals:
        at = start_of(signal.hour, by)
        if at in sums:
            sums[at] += signal.tally
    return [Point(at, tally) for at, tally in sums.items()]
