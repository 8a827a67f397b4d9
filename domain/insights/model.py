"""Signals: what happened in an hour, counted for whom it happened to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from domain.insights.sketch import Sketch

PERMISSION = "insights:read"


class SubjectKind(IntEnum):
    """What a signal is about. The subject of `Tenant` is the tenant: all its deliveries together. Those of the sync
    kinds are integrations. Requests with an API key are counted by its quota, and read from there."""

    Tenant = 0
    Webhook = 1
    Integration = 2
    SyncFull = 3
    SyncIncremental = 4
    SyncDifferential = 5
    ApiKey = 6


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts of a delivery, health checks, or sync jobs. `failed` did not succeed, `failed_for_good` will not be
    tried again; `errors` counts the failures by class; `volume` is records, of sync jobs alone."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    failed_for_good: int = 0
    volume: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    latency: Sketch = field(default_factory=Sketch)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            total=self.total + other.total,
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            failed_for_good=self.failed_for_good + other.failed_for_good,
            volume=self.volume + other.volume,
            errors=Counter(self.errors) + Counter(other.errors),
            latency=self.latency + other.latency,
        )

    @property
    def success_rate(self) -> float | None:
        """Share of 1; None of nothing."""
        return self.succeeded / self.total if self.total else None


def total_of(tallies: Sequence[Tally]) -> Tally:
    """Many added up at once."""
    errors: Counter[str] = Counter()
    for one in tallies:
        errors.update(one.errors)
    return Tally(
        total=sum(one.total for one in tallies),
        succeeded=sum(one.succeeded for one in tallies),
        failed=sum(one.failed for one in tallies),
        failed_for_good=sum(one.failed_for_good for one in tallies),
        volume=sum(one.volume for one in tallies),
        errors=errors,
        latency=Sketch.sum_of(one.latency for one in tallies),
    )


@dataclass(frozen=True, slots=True)
class Signal:
    """What one hour, which begins at `hour`, holds of one subject."""

    tenant_id: UUID
    kind: SubjectKind
    subject_id: UUID
    hour: datetime
    tally: Tally


def hour_of(moment: datetime) -> datetime:
    """The beginning of its hour."""
    return moment.replace(minute=0, second=0, microsecond=0)
