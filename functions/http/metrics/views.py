"""Metrics in the formats of Prometheus; names and units follow https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from domain.journal.signals import Sketch, SubjectKind, Tally
from domain.monitoring.metrics import Measures, StoredMeasures

#: Ends of the sketch's own intervals (1.15 ** k milliseconds), so that the count of each bucket is exact.
_BOUNDS = tuple(1.15**power for power in (0, 17, 25, 33, 41, 49, 57, 66, 74, 82, 90, 99, 108, 117))
_NO_SYNC = (SubjectKind.Tenant, SubjectKind.Webhook, SubjectKind.Integration)
_SYNC_KINDS = tuple(kind for kind in SubjectKind if kind not in _NO_SYNC)


def exposition(measures: Measures, accept: str) -> tuple[bytes, str]:
    """Return the text and its content type, in the best format that `accept` names."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(measures))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Collected(Collector):
    def __init__(self, measures: Measures) -> None:
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        stored = self._measures.stored
        since = stored.since.timestamp()
        yield from _deliveries(stored.signals.get(SubjectKind.Tenant, Tally()), since)
        yield from _checks(stored.signals.get(SubjectKind.Integration, Tally()), since)
        yield from _syncs(stored.signals, since)
        yield from _keys(stored)
        yield from _present(stored)
        yield from _backlog(self._measures)
        yield from _queues(self._measures.queues)


def _deliveries(tally: Tally, since: float) -> Iterator[Metric]:
    yield _counter(
        "hub_webhook_attempts",
        "Attempts to deliver a webhook",
        ("outcome",),
        {("delivered",): tally.succeeded, ("failed",): tally.failed},
        since=since,
    )
    yield _counter(
        "hub_webhook_deliveries_lost",
        "Deliveries that failed or expired for good",
        (),
        {(): tally.failed_for_good},
        since=since,
    )
    yield _counter(
        "hub_webhook_errors",
        "Failed attempts by class",
        ("class",),
        {(name,): count for name, count in tally.errors.items()},
        since=since,
    )
    histogram = HistogramMetricFamily("hub_webhook_attempt_duration_seconds", "How long attempts took")
    _add(histogram, (), tally.latency)
    yield histogram


def _checks(tally: Tally, since: float) -> Iterator[Metric]:
    yield _counter(
        "hub_health_checks",
        "Health checks of integrations",
        ("outcome",),
        {("succeeded",): tally.succeeded, ("failed",): tally.failed},
        since=since,
    )
    yield _counter(
        "hub_health_check_errors",
        "Failed health checks by kind",
        ("kind",),
        {(name,): count for name, count in tally.errors.items()},
        since=since,
    )
    histogram = HistogramMetricFamily("hub_health_check_duration_seconds", "How long providers took")
    _add(histogram, (), tally.latency)
    yield histogram


class _SyncCounts(NamedTuple):
    jobs: dict[tuple[str, ...], int]
    records: dict[tuple[str, ...], int]
    errors: dict[tuple[str, ...], int]


def _syncs(signals: Mapping[SubjectKind, Tally], since: float) -> Iterator[Metric]:
    counts = _SyncCounts({}, {}, {})
    histogram = HistogramMetricFamily("hub_sync_duration_seconds", "How long sync jobs ran", labels=("type",))
    for kind in _SYNC_KINDS:
        tally, name = signals.get(kind, Tally()), kind.name.removeprefix("Sync").lower()
        counts.jobs[name, "completed"], counts.jobs[name, "failed"] = tally.succeeded, tally.failed
        counts.records[name,] = tally.volume
        counts.errors.update({(name, error): count for error, count in tally.errors.items()})
        _add(histogram, (name,), tally.latency)
    yield _counter("hub_sync_jobs", "Sync jobs that ended", ("type", "outcome"), counts.jobs, since=since)
    yield _counter(
        "hub_sync_records", "Records that ended jobs handled", ("type",), counts.records, since=since
    )
    yield _counter(
        "hub_sync_errors", "Failed sync jobs by cause", ("type", "cause"), counts.errors, since=since
    )
    yield histogram


def _keys(stored: StoredMeasures) -> Iterator[Metric]:
    keys = stored.keys
    yield _gauge("hub_api_keys", "API keys neither revoked nor expired", (), {(): keys.active})
    yield _counter(
        "hub_api_key_requests",
        "Requests with an API key: accepted, refused for want of quota (limited), or for another reason",
        ("outcome",),
        {("accepted",): keys.accepted, ("limited",): keys.limited, ("refused",): keys.refused},
        since=None,
    )


def _present(stored: StoredMeasures) -> Iterator[Metric]:
    yield _gauge(
        "hub_integrations",
        "Integrations by provider, status and health",
        ("provider", "status", "health"),
        {
            (group.provider, group.status.name, group.health.name): count
            for group, count in stored.integrations.items()
        },
    )
    yield _gauge(
        "hub_webhooks",
        "Webhooks by state",
        ("state",),
        {(state.name,): count for state, count in stored.webhooks.items()},
    )
    yield _gauge(
        "hub_sync_jobs_unended",
        "Sync jobs waiting or running",
        ("status",),
        {(status.name,): count for status, count in stored.syncs.items()},
    )
    yield _gauge(
        "hub_alerts_active",
        "Alerts that have not recovered",
        ("severity",),
        {(severity.name,): count for severity, count in stored.alerts.items()},
    )


def _backlog(measures: Measures) -> Iterator[Metric]:
    stored, backlog = measures.stored, measures.stored.backlog
    yield _gauge(
        "hub_webhook_deliveries_unended",
        "Deliveries that wait, are sent or will be retried",
        ("status",),
        {(status.name,): count for status, count in stored.deliveries.items()},
    )
    yield _gauge("hub_outbox_events", "Events stored and not fanned out", (), {(): backlog.events})
    waiting = (measures.taken_at - backlog.oldest).total_seconds() if backlog.oldest else 0.0
    yield _gauge(
        "hub_outbox_wait_seconds",
        "How long the oldest event not fanned out has waited since it was announced",
        (),
        {(): max(0.0, waiting)},
    )


def _queues(queues: Mapping[str, Mapping[str, int]] | None) -> Iterator[Metric]:
    yield _gauge("hub_queue_up", "Whether the queues answered", (), {(): int(queues is not None)})
    yield _gauge(
        "hub_queue_messages",
        "Messages by queue and state",
        ("queue", "state"),
        {
            (queue, state): count
            for queue, states in (queues or {}).items()
            for state, count in states.items()
        },
    )


def _gauge(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _counter(
    name: str,
    text: str,
    labels: tuple[str, ...],
    values: Mapping[tuple[str, ...], int],
    *,
    since: float | None,
) -> CounterMetricFamily:
    """Return a counter that was zero at `since`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value, created=since)
    return family


def _add(histogram: HistogramMetricFamily, labels: tuple[str, ...], sketch: Sketch) -> None:
    """Add a sketch to the histogram; its sum is made from the middles of the intervals, right to within 7 %."""
    intervals = sketch.intervals()
    # The factor absorbs rounding: equal powers were computed in different orders.
    buckets = [
        (str(float(f"{bound / 1000:.3g}")), sum(count for end, count in intervals if end <= bound * 1.0001))
        for bound in _BOUNDS
    ]
    total = sum(count for _, count in intervals)
    seconds = sum(2 * end / 2.15 * count for end, count in intervals) / 1000
    histogram.add_metric(labels, buckets=[*buckets, ("+Inf", total)], sum_value=seconds)
