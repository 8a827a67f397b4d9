"""What the anomaly detector reports of labelled series.

Precision is the share of reported runs that touch a label, recall the share of labels that a run touches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

from domain.monitoring.anomalies.detection import HOUR, HourValue, unusual_hours
from domain.monitoring.anomalies.model import Metric
from domain.monitoring.anomalies.watch import WINDOW

_WINDOW_HOURS = WINDOW // HOUR


@dataclass(frozen=True, slots=True)
class Labelled:
    metric: Metric
    samples: list[HourValue | None]
    labels: list[range]


@dataclass(frozen=True, slots=True)
class Score:
    """`seconds` are of processor time."""

    reported: int
    right: int
    labels: int
    found: int
    seconds: float

    def __add__(self, other: Score) -> Score:
        return Score(
            self.reported + other.reported,
            self.right + other.right,
            self.labels + other.labels,
            self.found + other.found,
            self.seconds + other.seconds,
        )

    @property
    def precision(self) -> float:
        return self.right / self.reported if self.reported else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.labels if self.labels else 1.0


Judge = Callable[[Metric, Sequence[HourValue | None]], list[int]]
"""The indexes of the hours that it holds to be unusual."""


def in_hindsight(metric: Metric, samples: Sequence[HourValue | None]) -> list[int]:
    """All at once, so that an early hour is compared with later ones too."""
    return [unusual_hour.index for unusual_hour in unusual_hours(metric, samples)]


def as_watched(metric: Metric, samples: Sequence[HourValue | None]) -> list[int]:
    """Each hour when it has ended, beside what came before, as `domain.monitoring.anomalies.watch` does."""
    found = []
    for end in range(1, len(samples) + 1):
        known = samples[max(0, end - _WINDOW_HOURS) : end]
        if unusual_hours(metric, known, since=len(known) - 1):
            found.append(end - 1)
    return found


def runs(hours: Sequence[int]) -> list[range]:
    """Unusual hours in a row, one missing forgiven, are one report."""
    found: list[range] = []
    for hour in hours:
        if found and hour - found[-1].stop <= 1:
            found[-1] = range(found[-1].start, hour + 1)
        else:
            found.append(range(hour, hour + 1))
    return found


def evaluate(series: Sequence[Labelled], judge: Judge) -> Score:
    started = process_time()
    reports = [runs(judge(series_.metric, series_.samples)) for series_ in series]
    seconds = process_time() - started
    counts: Counter[str] = Counter()
    for labelled, reported in zip(series, reports, strict=True):
        labels = [label for label in labelled.labels if any(labelled.samples[hour] for hour in label)]
        counts["reported"] += len(reported)
        counts["right"] += sum(any(_touch(run, label) for label in labels) for run in reported)
        counts["labels"] += len(labels)
        counts["found"] += sum(any(_touch(run, label) for run in reported) for label in labels)
    return Score(counts["reported"], counts["right"], counts["labels"], counts["found"], seconds)


def _touch(first: range, other: range) -> bool:
    return first.start < other.stop and other.start < first.stop
