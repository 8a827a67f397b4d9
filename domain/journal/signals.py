"""Signals: what happened in an hour, counted by what it happened to."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, Literal, Protocol
from uuid import UUID

from domain.core.errors import FieldError, ValidationFailed
from domain.core.transaction import Transaction

_GROWTH = 1.15
_LOG = math.log(_GROWTH)


class Sketch:
    """Counts of durations by interval. The sum of two is the sketch of all their values together."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: Counter[int] = Counter(counts or {})

    @classmethod
    def of(cls, milliseconds: Iterable[int]) -> Sketch:
        """Count durations in milliseconds; what is below one counts as one."""
        return cls(Counter(math.ceil(math.log(max(value, 1)) / _LOG) for value in milliseconds))

    @classmethod
    def from_json(cls, text: str) -> Sketch:
        return cls({int(interval): int(count) for interval, count in json.loads(text).items()})

    def to_json(self) -> str:
        return json.dumps(
            {str(interval): count for interval, count in sorted(self._counts.items())}, separators=(",", ":")
        )

    @classmethod
    def sum_of(cls, sketches: Iterable[Sketch]) -> Sketch:
        counts: Counter[int] = Counter()
        for sketch in sketches:
            counts.update(sketch._counts)
        return cls(counts)

    def __add__(self, other: Sketch) -> Sketch:
        return Sketch(self._counts + other._counts)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def intervals(self) -> list[tuple[float, int]]:
        """Return (upper end in milliseconds, count) of each interval that has values, ascending."""
        return [(_GROWTH**interval, count) for interval, count in sorted(self._counts.items())]

    @property
    def count(self) -> int:
        return self._counts.total()

    def below(self, milliseconds: float) -> Sketch:
        """Return the values in intervals that end below so many milliseconds: up to 15 % under it may be missing."""
        return Sketch({end: count for end, count in self._counts.items() if _GROWTH**end < milliseconds})

    def percentile(self, share: float) -> int | None:
        """Return the duration in milliseconds that `share` (0 to 1) of the values do not exceed; None of nothing."""
        total = self.count
        if not total:
            return None
        wanted, seen = max(1, math.ceil(share * total)), 0
        for interval, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                # The middle of the interval, by ratio.
                return round(2 * _GROWTH**interval / (_GROWTH + 1))
        raise AssertionError("the counts add up to their total")


class SubjectKind(IntEnum):
    """What a signal is about: a tenant's deliveries together, a webhook, an integration (its syncs too), an API key."""

    Tenant = 0
    Webhook = 1
    Integration = 2
    SyncFull = 3
    SyncIncremental = 4
    SyncDifferential = 5
    ApiKey = 6


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of attempts of a delivery, of health checks, or of sync jobs.

    `failed_for_good` will not be tried again; `errors` counts failures by class, `volume` the records of sync jobs."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    failed_for_good: int = 0
    volume: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latency: Sketch = field(default_factory=Sketch)

    def __add__(self, other: Tally) -> Tally:
        return total_of((self, other))

    @property
    def success_rate(self) -> float | None:
        return self.succeeded / self.total if self.total else None


def total_of(tallies: Sequence[Tally]) -> Tally:
    """Add many up at once."""
    errors: Counter[str] = Counter()
    for tally in tallies:
        errors.update(tally.errors)
    return Tally(
        total=sum(tally.total for tally in tallies),
        succeeded=sum(tally.succeeded for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        failed_for_good=sum(tally.failed_for_good for tally in tallies),
        volume=sum(tally.volume for tally in tallies),
        errors=errors,
        latency=Sketch.sum_of(tally.latency for tally in tallies),
    )


@dataclass(frozen=True, slots=True)
class Signal:
    """What happened to one subject in the hour that begins at `hour`."""

    tenant_id: UUID
    kind: SubjectKind
    subject_id: UUID
    hour: datetime
    tally: Tally


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


class Signals(Protocol):
    """Signals, appended in the transaction of what they count and added up later; a read gets both parts."""

    def append(self, signals: Sequence[Signal]) -> None:
        """Store them as they are: no row that another transaction may hold is touched."""

    def compact(self, limit: int) -> int:
        """Add up to `limit` appended signals to their hours, each once; return how many.

        Raises Unavailable when another was faster; a repeat goes on."""

    def read(
        self,
        tenant_id: UUID,
        kind: SubjectKind,
        *,
        since: datetime,
        until: datetime,
        subject_id: UUID | None = None,
    ) -> list[Signal]:
        """Return signals by subject and hour, in no order; hours begin at or after `since` and before `until`."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` hours that began before `cutoff`; return how many."""


class KeyHours(Protocol):
    """Requests with API keys by the hour."""

    def hours(
        self, tenant_id: UUID, api_key_ids: Collection[UUID] | None, *, since: datetime, until: datetime
    ) -> list[Signal]:
        """Return the hours of these keys, or of all, that begin in the given time. Raises Unavailable."""


By = Literal["hour", "day"]

STEP: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_UNLESS_TOLD: Final = {"hour": timedelta(hours=23), "day": timedelta(days=29)}
_MOST: Final = timedelta(days=92)
#: Statistics know no moments outside, and near the ends of the calendar there is nothing to reckon with.
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


def range_of(
    by: By, since: datetime | None, until: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    """Return the range asked for, or the last 24 hours (30 days), from the first hour (day) it touches.

    Raises ValidationFailed for a range that is empty, too long or out of reach."""
    for pointer, moment in (("/from", since), ("/to", until)):
        if moment is not None and not _FIRST <= moment < _LAST:
            raise _refused(pointer, "Must be between the years 1970 and 9998.")
    until = until or now
    since = start_of(since or until - _UNLESS_TOLD[by], by)
    if until <= since:
        raise _refused("/from", "`from` must be before `to`.")
    if until - since > _MOST:
        raise _refused("/from", f"A range has at most {_MOST.days} days.")
    return since, until


def start_of(moment: datetime, by: By) -> datetime:
    """Return the beginning of the moment's hour, or of its day in UTC."""
    hour = hour_of(moment)
    return hour if by == "hour" else hour.replace(hour=0)


def _refused(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(detail, [FieldError(pointer, detail)])


class SignalTransaction(Transaction, Protocol):
    """A transaction that may count signals, and read them."""

    @property
    def signals(self) -> Signals: ...
