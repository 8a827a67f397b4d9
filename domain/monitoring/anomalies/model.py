"""Anomalies (section 10.2): hours that differ from the same hour of other weeks, and unusual uses of a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final
from uuid import UUID

from domain.journal.event_types import HubEvent
from domain.journal.signals import SubjectKind

DETECTED: Final = HubEvent.AnomalyDetected


class Metric(StrEnum):
    """What is unusual.

    The first five are measured by the hour against a baseline; the others, and bursts of refusals, are seen at once."""

    Traffic = "traffic"
    ErrorRate = "error-rate"
    Latency = "latency"
    SyncVolume = "sync-volume"
    Refusals = "refusals"
    NewNetwork = "new-network"
    NewCountry = "new-country"
    NewClient = "new-client"
    ScopeProbing = "scope-probing"


class Direction(IntEnum):
    Above = 0
    Below = 1


class AnomalyStatus(IntEnum):
    Active = 0
    Ended = 1


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was to be expected, in attempts, records or requests an hour, a share of 1, or ms.

    All but a few hours in a thousand lie between `low` and `high`."""

    typical: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Deviation:
    """One unusual hour; `score` is its positive distance from the typical one in robust deviations."""

    hour: datetime
    direction: Direction
    observed: float
    expected: Expectation
    score: float


@dataclass(frozen=True, slots=True)
class AnomalySubject:
    kind: SubjectKind
    subject_id: UUID


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An unbroken run of unusual hours, described by the worst of them, or one moment of a key's use.

    - Of a key's use there is neither `expected` nor `score`.
    - At most one anomaly of a (subject, metric, direction) is active.
    - `detail`: the sentence people read.
    - `snoozed_until`: until then, anomalies of the same subject and metric are stored and not announced."""

    anomaly_id: UUID
    tenant_id: UUID
    subject: AnomalySubject
    metric: Metric
    direction: Direction
    started_at: datetime
    last_seen_at: datetime
    detail: str
    observed: float | None = None
    expected: Expectation | None = None
    score: float | None = None
    hours: int = 1
    ended_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: UUID | None = None
    note: str | None = None
    snoozed_until: datetime | None = None

    @property
    def status(self) -> AnomalyStatus:
        return AnomalyStatus.Active if self.ended_at is None else AnomalyStatus.Ended


@dataclass(frozen=True, slots=True)
class AnomalyFilter:
    status: AnomalyStatus | None = None
    metrics: tuple[Metric, ...] = ()
    subject_id: UUID | None = None
    is_acknowledged: bool | None = None
