"""From results to signals."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from domain.alerts.model import ALERT_EVENTS
from domain.insights.model import Signal, SubjectKind, Tally, hour_of
from domain.insights.sketch import Sketch
from domain.sync.jobs import SyncJob
from domain.sync.model import SyncStatus
from domain.webhooks.model import Attempt, DeliveryStatus
from domain.webhooks.ports import AttemptResult

_ENDED_BADLY = (DeliveryStatus.Failed, DeliveryStatus.Expired)


def error_class(attempt: Attempt) -> str:
    """`timeout`, `connect`, `tls`, `blocked` or `protocol` where no answer came; else a class of status codes."""
    status = attempt.http_status_code
    if status is None:
        return (attempt.error_message or "unknown").partition(":")[0]
    if status == 429:
        return "throttled"
    if status in (401, 403):
        return "unauthorized"
    return f"{status // 100}xx"


def delivery_signals(results: Sequence[AttemptResult], now: datetime) -> list[Signal]:
    """One for each webhook among the results of a batch of attempts; those of alerts do not count."""
    by_webhook: dict[tuple[UUID, UUID], list[AttemptResult]] = {}
    for one in results:
        # An alert about failing deliveries must not live on the failing deliveries of itself.
        if one.claimed.event.type in ALERT_EVENTS:
            continue
        endpoint = one.claimed.endpoint
        by_webhook.setdefault((endpoint.tenant_id, endpoint.webhook_id), []).append(one)
    hour = hour_of(now)
    return [
        Signal(tenant_id, SubjectKind.Webhook, webhook_id, hour, _tally(some))
        for (tenant_id, webhook_id), some in by_webhook.items()
    ]


def _tally(results: Sequence[AttemptResult]) -> Tally:
    errors: dict[str, int] = {}
    succeeded = ended_badly = 0
    for one in results:
        if one.delivery_status == DeliveryStatus.Delivered:
            succeeded += 1
        else:
            name = error_class(one.attempt)
            errors[name] = errors.get(name, 0) + 1
            ended_badly += one.delivery_status in _ENDED_BADLY
    return Tally(
        total=len(results),
        succeeded=succeeded,
        failed=len(results) - succeeded,
        failed_for_good=ended_badly,
        errors=errors,
        latency=Sketch.of(one.attempt.duration_ms for one in results),
    )


def check_tally(milliseconds: int, failure: str | None) -> Tally:
    """One health check; `failure` is its kind, None when it succeeded."""
    failed = failure is not None
    return Tally(
        total=1,
        succeeded=int(not failed),
        failed=int(failed),
        errors={failure: 1} if failure is not None else {},
        latency=Sketch.of([milliseconds]),
    )


def sync_signal(job: SyncJob, now: datetime) -> Signal:
    """One for a job that ended; its volume is its records, its latency how long it ran."""
    succeeded = job.status in (SyncStatus.Completed, SyncStatus.PartialSuccess)
    seconds = (now - job.run_started_at).total_seconds() if job.run_started_at else 0.0
    tally = Tally(
        total=1,
        succeeded=int(succeeded),
        failed=int(not succeeded),
        failed_for_good=int(not succeeded),
        volume=job.records_processed,
        errors={} if succeeded else {job.error_code or job.status.name.lower(): 1},
        latency=Sketch.of([int(seconds * 1000)]),
    )
    kind = SubjectKind[f"Sync{job.sync_type.name}"]
    return Signal(job.tenant_id, kind, job.integration_id, hour_of(now), tally)
