"""What a job tells others: events, log rows, audit, signals and alerts when it ends, log lines, and spans."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from domain.core.ports import IdGenerator
from domain.core.tracing import Attributes, AttributeValue, Span, SpanKind, Tracer, trace_fields
from domain.integrations.model import IntegrationLog, LogLevel
from domain.journal.audit import AuditEntry
from domain.journal.event_types import HubEvent
from domain.journal.events import DomainEvent, build_event
from domain.journal.occurrences import occurrence
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.sync.execution import ExecutionLog, error_message
from domain.sync.model import BatchResult, BatchState, Step, SyncJob, SyncStatus
from domain.sync.ports import SyncTransaction
from domain.sync.progress import known_total

logger = logging.getLogger("hub.sync")
_LINES = {SyncStatus.Failed: logging.ERROR, SyncStatus.PartialSuccess: logging.WARNING}
_LEVELS = {SyncStatus.Failed: LogLevel.Error, SyncStatus.PartialSuccess: LogLevel.Warning}


def initiated_event(ids: IdGenerator, job: SyncJob, now: datetime) -> DomainEvent:
    data = {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "syncType": job.sync_type.name,
        "direction": job.direction.name,
        "recordsTotal": known_total(job),
        "resumedFrom": str(job.resumed_from) if job.resumed_from else None,
    }
    return build_event(
        HubEvent.DataSyncInitiated,
        data,
        event_id=ids.new(),
        tenant_id=job.tenant_id,
        subject=job.data_sync_job_id,
        at=now,
    )


def record_resumption(tx: SyncTransaction, ids: IdGenerator, job: SyncJob, now: datetime) -> None:
    """Store the event and audit entry of a job that follows one whose time was up."""
    tx.outbox.append([initiated_event(ids, job, now)])
    before = {"resumedFrom": str(job.resumed_from), "chainRun": job.chain_run - 1}
    after = {"status": job.status.name, "chainRun": job.chain_run}
    entry = AuditEntry("datasync.resumed", "datasync", job.data_sync_job_id, before=before, after=after)
    tx.audit.append(job.tenant_id, entry)


def record_end(tx: SyncTransaction, ids: IdGenerator, job: SyncJob, now: datetime) -> None:
    """Store the events, log row, audit entry, signal and alert of a job that ended, in the caller's transaction.

    One that another job resumes has not failed: it is no alert, and its chain is one signal."""
    tx.outbox.append(_ended_events(ids, job, now))
    ExecutionLog(tx, ids, job, now).ended()
    message = f"{job.sync_type.name} sync {job.status.name}. {error_message(job)}".strip()
    details = {
        "dataSyncJobId": str(job.data_sync_job_id),
        "status": job.status.name,
        "recordsProcessed": job.records_processed,
        "recordsFailed": job.records_failed,
    }
    level = LogLevel.Warning if job.resumed_by else _LEVELS.get(job.status, LogLevel.Information)
    log = IntegrationLog(ids.new(), job.integration_id, level, message, now, json.dumps(details), None, None)
    tx.integration_logs.append([log])
    action = f"datasync.{job.status.name.lower()}"
    tx.audit.append(job.tenant_id, AuditEntry(action, "datasync", job.data_sync_job_id, after=details))
    if job.resumed_by is not None:
        return
    tx.signals.append([_signal(job, now)])
    if job.status == SyncStatus.Failed:
        integration = tx.integrations.find(job.integration_id)
        data = {
            **details,
            "integrationId": str(job.integration_id),
            "name": integration.name if integration else None,
            "detail": error_message(job),
        }
        tx.occurrences.append(occurrence("sync-failed", data, now, tenant_id=job.tenant_id))


def _ended_events(ids: IdGenerator, job: SyncJob, now: datetime) -> list[DomainEvent]:
    """Return the events; a job with failed records both completes and fails."""
    about = {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "status": job.status.name,
    }
    done = {**about, "recordsProcessed": job.records_processed}
    raised: dict[HubEvent, dict[str, Any]] = {}
    if job.status in (SyncStatus.Completed, SyncStatus.PartialSuccess):
        seconds = (now - (job.chain_began_at or job.started_at or job.created_at)).total_seconds()
        raised[HubEvent.DataSyncCompleted] = {**done, "duration": round(seconds, 3)}
    if job.status in (SyncStatus.Failed, SyncStatus.PartialSuccess):
        failed = {"recordsFailed": job.records_failed, "errorMessage": error_message(job)}
        resumed_by = str(job.resumed_by) if job.resumed_by else None
        raised[HubEvent.DataSyncFailed] = {**about, **failed, "resumedBy": resumed_by}
    if job.status == SyncStatus.Cancelled:
        raised[HubEvent.DataSyncCancelled] = done
    return [
        build_event(
            type_, data, event_id=ids.new(), tenant_id=job.tenant_id, subject=job.data_sync_job_id, at=now
        )
        for type_, data in raised.items()
    ]


def _signal(job: SyncJob, now: datetime) -> Signal:
    """Return the signal of a job that ended: its volume is the number of records, its latency the time it took."""
    succeeded = job.status in (SyncStatus.Completed, SyncStatus.PartialSuccess)
    begun = job.chain_began_at or job.run_started_at
    seconds = (now - begun).total_seconds() if begun else 0.0
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


def _log_fields(job: SyncJob) -> dict[str, Any]:
    return {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "tenantId": str(job.tenant_id),
        "syncType": job.sync_type.name,
        "direction": job.direction.name,
        **trace_fields(job.traceparent),
    }


def log_start(job: SyncJob, run_number: int) -> None:
    logger.info("sync job started", extra={**_log_fields(job), "run": run_number})


def log_end(job: SyncJob) -> None:
    begun, ended = job.started_at or job.created_at, job.completed_at or job.created_at
    logger.log(
        logging.WARNING if job.resumed_by else _LINES.get(job.status, logging.INFO),
        "sync job ended",
        extra={
            **_log_fields(job),
            "status": job.status.name,
            "recordsProcessed": job.records_processed,
            "recordsFailed": job.records_failed,
            "durationMs": int((ended - begun).total_seconds() * 1000),
            "error": job.error_code,
            "resumedBy": str(job.resumed_by) if job.resumed_by else None,
        },
    )


def job_span(
    tracer: Tracer, name: str, job: SyncJob, step: Step | None = None
) -> AbstractContextManager[Span]:

    def attributes() -> Attributes:
        values: dict[str, AttributeValue] = {
            "hub.sync.job.id": str(job.data_sync_job_id),
            "hub.sync.run": job.run_number,
            "hub.integration.id": str(job.integration_id),
        }
        if step is not None:
            values |= {"hub.sync.stream": step.stream, "hub.sync.direction": step.direction.name}
        return values

    return tracer.span(name, SpanKind.Internal, parent=job.traceparent, attributes=attributes)


def trace_result(span: Span, result: BatchResult) -> None:
    """Set the result of a batch on its span; to wait as the provider asked is no failure."""
    span.set("hub.sync.state", result.state.value)
    span.set("hub.sync.records", result.records)
    if result.state in (BatchState.Retry, BatchState.Failed):
        span.fail(result.cause)


def trace_end(span: Span, job: SyncJob) -> None:
    span.set("hub.sync.status", job.status.name)
    span.set("hub.sync.records", job.records_processed)
    if job.status == SyncStatus.Failed:
        span.fail(job.error_code or "failed")
