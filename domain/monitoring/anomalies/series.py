"""From signals to the series that anomalies are looked for in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from domain.journal.signals import Signal, SubjectKind, Tally
from domain.monitoring.anomalies.detection import HourValue
from domain.monitoring.anomalies.model import AnomalySubject, Metric

HOUR: Final = timedelta(hours=1)

#: What is watched of whom. Failures of health checks and jobs have alerts of their own.
WATCHED: Final[Mapping[SubjectKind, tuple[Metric, ...]]] = {
    SubjectKind.Webhook: (Metric.Traffic, Metric.ErrorRate, Metric.Latency),
    SubjectKind.Integration: (Metric.Latency,),
    SubjectKind.SyncFull: (Metric.SyncVolume,),
    SubjectKind.SyncIncremental: (Metric.SyncVolume,),
    SubjectKind.SyncDifferential: (Metric.SyncVolume,),
    SubjectKind.ApiKey: (Metric.Traffic, Metric.Refusals),
}


def series_of(
    signals: Iterable[Signal], since: datetime, until: datetime
) -> Iterator[tuple[AnomalySubject, Metric, list[HourValue | None]]]:
    """One for each subject and metric watched, with a sample for every hour from `since` to `until`. A subject's
    hours before its first signal say nothing; later ones without a signal are hours without traffic."""
    known: dict[tuple[AnomalySubject, Metric], dict[int, HourValue | None]] = {}
    for signal in signals:  # may be hundreds of thousands: a sample is all that is kept of each
        subject = AnomalySubject(signal.kind, signal.subject_id)
        for metric in WATCHED.get(signal.kind, ()):
            known.setdefault((subject, metric), {})[(signal.hour - since) // HOUR] = sample(
                metric, signal.tally
            )
    length = (until - since) // HOUR
    for (subject, metric), samples in known.items():
        first, empty = min(samples), sample(metric, None)
        yield (
            subject,
            metric,
            [samples.get(index, empty) if index >= first else None for index in range(length)],
        )


def sample(metric: Metric, tally: Tally | None) -> HourValue | None:
    """What an hour says of a metric; None when it says nothing."""
    if metric is Metric.Traffic:
        return HourValue(tally.total, tally.total) if tally else HourValue(0, 0)
    if tally is None or tally.total == 0:
        return None
    if metric is Metric.Latency:
        p95 = tally.latency.percentile(0.95)
        return None if p95 is None else HourValue(p95, tally.total)
    if metric is Metric.SyncVolume:
        return HourValue(tally.volume / tally.total, tally.total)
    return HourValue(tally.failed / tally.total, tally.total)
