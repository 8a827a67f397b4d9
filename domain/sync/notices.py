"""Section 3.3's events, payloads in camelCase."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock, IdGenerator
from domain.core.realtime import SYNC_PROGRESS, Payload, Realtime
from domain.core.tracing import Attributes, AttributeValue, Span, SpanKind, Tracer
from domain.core.transaction import Transactions
from domain.core.wire import rfc3339
from domain.journal.events import DomainEvent, build_event
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.sync.model import BatchResult, Step, SyncJob, SyncStatus
from domain.sync.ports import SyncTransaction

#: Weight of the latest batch in the smoothed rate.
_WEIGHT = 0.3
_SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class JobProgress:
    """`remaining` and `eta_seconds` are None while the provider has not said how many there are."""

    processed: int
    failed: int
    remaining: int | None
    rate_per_second: float | None
    eta_seconds: float | None
    estimated_completion_at: datetime | None
    stage: str


def smoothed(rate: float | None, records: int, seconds: float) -> float | None:
    """The rate after a batch of so many records that took so long."""
    if records == 0 or seconds < _SHORTEST:
        return rate
    latest = records / seconds
    return latest if rate is None else rate + _WEIGHT * (latest - rate)


def progress_of(job: SyncJob, now: datetime, *, is_total_known: bool) -> JobProgress:
    """As a client sees it. A wait that the provider asked for is part of the estimate."""
    done = job.records_processed + job.records_failed
    remaining = max(0, job.records_total - done) if is_total_known or job.is_ended else None
    eta: float | None = None
    if job.status == SyncStatus.Running and remaining is not None and job.rate:
        eta = remaining / job.rate
        if job.waiting_until is not None and job.waiting_until > now:
            eta += (job.waiting_until - now).total_seconds()
    return JobProgress(
        processed=job.records_processed,
        failed=job.records_failed,
        remaining=remaining,
        rate_per_second=job.rate if job.status == SyncStatus.Running else _overall(job),
        eta_seconds=eta,
        estimated_completion_at=now + timedelta(seconds=eta) if eta is not None else None,
        stage=job.stage,
    )


def _overall(job: SyncJob) -> float | None:
    if job.run_started_at is None or job.completed_at is None:
        return None
    seconds = (job.completed_at - job.run_started_at).total_seconds()
    return (job.records_processed + job.records_failed) / seconds if seconds > _SHORTEST else None


def initiated(ids: IdGenerator, job: SyncJob, now: datetime) -> DomainEvent:
    data = {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "syncType": job.sync_type.name,
        "direction": job.direction.name,
        "recordsTotal": job.records_total,
    }
    return build_event(
        "DataSyncInitiated",
        data,
        event_id=ids.new(),
        tenant_id=job.tenant_id,
        subject=job.data_sync_job_id,
        at=now,
    )


def ended(ids: IdGenerator, job: SyncJob, now: datetime) -> list[DomainEvent]:
    """What a job that ended raises. One that went through with failed records both completed and encountered
    errors."""
    raised: list[tuple[str, dict[str, Any]]] = []
    if job.status in (SyncStatus.Completed, SyncStatus.PartialSuccess):
        begun = job.started_at or job.created_at
        data = {
            **_about(job),
            "recordsProcessed": job.records_processed,
            "duration": round((now - begun).total_seconds(), 3),
        }
        raised.append(("DataSyncCompleted", data))
    if job.status in (SyncStatus.Failed, SyncStatus.PartialSuccess):
        data = {**_about(job), "recordsFailed": job.records_failed, "errorMessage": message_of(job)}
        raised.append(("DataSyncFailed", data))
    if job.status == SyncStatus.Cancelled:
        data = {**_about(job), "recordsProcessed": job.records_processed}
        raised.append(("DataSyncCancelled", data))
    return [
        build_event(
            type_, data, event_id=ids.new(), tenant_id=job.tenant_id, subject=job.data_sync_job_id, at=now
        )
        for type_, data in raised
    ]


def message_of(job: SyncJob) -> str:
    """What the error log says, in words."""
    if job.error_log:
        return str(json.loads(job.error_log)["message"])
    return f"{job.records_failed} records failed." if job.records_failed else ""


def _about(job: SyncJob) -> dict[str, Any]:
    return {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "status": job.status.name,
    }


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


logger = logging.getLogger("hub.realtime")


class LiveProgress:
    """`tell` after every batch; costs nothing but a question while nobody of the tenant listens."""

    def __init__(self, transactions: Transactions[SyncTransaction], realtime: Realtime, clock: Clock) -> None:
        self._transactions = transactions
        self._realtime = realtime
        self._clock = clock

    def tell(self, tenant_id: UUID, job_id: UUID) -> None:
        """Publish the job as it stands. Never raises: no batch fails for a message."""
        if not self._realtime.listening(tenant_id, SYNC_PROGRESS):
            return
        try:
            with self._transactions.read() as tx:
                job = tx.sync_jobs.find(job_id)
        except Unavailable as error:
            logger.warning("sync progress not told", extra={"reason": error.detail})
            return
        if job is not None:
            publish_sync_progress(self._realtime, tenant_id, progress_payload(job, self._clock.now()))


def publish_sync_progress(realtime: Realtime, tenant_id: UUID, payload: Payload) -> None:
    """One `syncProgress`."""
    realtime.publish(tenant_id, SYNC_PROGRESS, [payload])


def progress_payload(job: SyncJob, now: datetime) -> dict[str, Any]:
    """What `GET /api/datasyncs/{id}` shows of a job's progress, cut to what moves."""
    is_total_known = job.records_total > job.records_processed + job.records_failed
    progress = progress_of(job, now, is_total_known=is_total_known)
    completion = progress.estimated_completion_at
    return {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "status": job.status.name,
        "recordsTotal": job.records_total,
        "recordsProcessed": job.records_processed,
        "recordsFailed": job.records_failed,
        "stage": progress.stage,
        "ratePerSecond": progress.rate_per_second,
        "etaSeconds": progress.eta_seconds,
        "estimatedCompletionAt": rfc3339(completion) if completion else None,
    }


def job_span(
    tracer: Tracer, name: str, job: SyncJob, step: Step | None = None
) -> AbstractContextManager[Span]:
    """Of one activity, and of the step that it works on."""

    def attributes() -> Attributes:
        said: dict[str, AttributeValue] = {
            "hub.sync.job.id": str(job.data_sync_job_id),
            "hub.sync.run": job.run_number,
            "hub.integration.id": str(job.integration_id),
        }
        if step is not None:
            said |= {"hub.sync.stream": step.stream, "hub.sync.direction": step.direction.name}
        return said

    return tracer.span(name, SpanKind.Internal, parent=job.traceparent, attributes=attributes)


def tell_outcome(span: Span, outcome: BatchResult) -> None:
    """What became of a batch. One that waits as the provider asked did not fail."""
    span.set("hub.sync.state", outcome.state)
    span.set("hub.sync.records", outcome.records)
    if outcome.state in ("retry", "failed"):
        span.fail(outcome.cause)


def tell_end(span: Span, job: SyncJob) -> None:
    """What the job came to."""
    span.set("hub.sync.status", job.status.name)
    span.set("hub.sync.records", job.records_processed)
    if job.status == SyncStatus.Failed:
        span.fail(job.error_code or "failed")
