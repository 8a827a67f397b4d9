"""Synchronisation as it goes over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from domain.core.wire import UtcMoment
from domain.sync.execution import error_message
from domain.sync.model import LogEntry, LogKind, Step, SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import JobFilter
from domain.sync.progress import known_total, progress_of
from domain.sync.schedules import DirectionName, SyncTypeName
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View

LogKindName = Literal["Record", "Start", "Batch", "Retry", "Wait", "TimeOut", "Resumption", "End"]
StatusName = Literal["Scheduled", "Running", "Completed", "Failed", "Cancelled", "PartialSuccess"]


class ProgressView(View):
    stage: str = Field(description="Direction, stream and phase, such as `Import:contacts:List`")
    processed: int
    failed: int
    remaining: int | None = Field(description="Null while the provider has not reported the total")
    rate_per_second: float | None = Field(description="Records per second, recent or over the whole run")
    eta_seconds: float | None
    estimated_completion_at: Moment | None
    waiting_until: Moment | None = Field(description="The provider asked to wait until then")


class StreamView(View):
    stream: str
    direction: DirectionName
    sync_type: SyncTypeName
    phase: Literal["List", "Sweep", "Push", "Done"]
    total: int | None
    processed: int
    failed: int
    batches: int = Field(description="Stored batches; the version of the checkpoint")


class SyncErrorView(View):
    code: str | None
    message: str
    resumable: bool = Field(
        description="Whether it takes a POST to its `/resume` to continue it from the checkpoint"
    )


class SyncJobView(View):
    data_sync_job_id: UUID
    integration_id: UUID
    sync_type: SyncTypeName
    direction: DirectionName
    status: StatusName
    origin: Literal["Manual", "Schedule", "Authorization", "Push"]
    records_total: int
    records_processed: int = Field(description="Written, unchanged, duplicate and deleted records together")
    records_failed: int
    records_written: int
    records_unchanged: int
    records_duplicate: int
    records_deleted: int
    error_log: SyncErrorView | None
    resumed_from: UUID | None = Field(
        description="The job that ran for 60 minutes, and from whose checkpoint this one goes on"
    )
    resumed_by: UUID | None = Field(description="The job that goes on from the checkpoint of this one")
    run_number: int = Field(description="1 for the first run; each resumption adds 1")
    scheduled_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    created_at: Moment
    created_by: UUID
    progress: ProgressView


class SyncJobDetailView(SyncJobView):
    streams: list[StreamView]


class SyncJobPage(PageView[SyncJobView]):
    pass


class SyncLogView(View):
    kind: LogKindName
    stream: str = Field(description="Empty where the entry is about the whole job")
    record_id: str = Field(description="The provider's id of the record; empty unless the kind is `Record`")
    pointer: str = Field(description="JSON pointer into the internal record; empty: the whole record")
    reason: str
    details: dict[str, Any] | None = Field(
        description="Figures of the entry, such as `batch`, `size`, `nextSize`"
    )
    created_at: Moment


class SyncLogPage(PageView[SyncLogView]):
    pass


class SyncJobQuery(PageQuery):
    integration_id: UUID | None = None
    status: CommaSeparated[StatusName] | None = Field(None, description="One or more, separated by commas")
    sync_type: CommaSeparated[SyncTypeName] | None = Field(
        None, description="One or more, separated by commas"
    )
    direction: CommaSeparated[DirectionName] | None = Field(
        None, description="One or more, separated by commas"
    )
    since: UtcMoment | None = Field(None, description="Created at or after")
    until: UtcMoment | None = Field(None, description="Created before")

    def to_filter(self) -> JobFilter:
        return JobFilter(
            integration_id=self.integration_id,
            statuses=[SyncStatus[name] for name in self.status or ()],
            types=[SyncType[name] for name in self.sync_type or ()],
            directions=[SyncDirection[name] for name in self.direction or ()],
            since=self.since,
            until=self.until,
        )


class LogsQuery(PageQuery):
    format: Literal["json", "csv"] = Field(
        "json", description="`csv`: one line for each entry, at most 100,000"
    )
    kind: CommaSeparated[LogKindName] | None = Field(None, description="One or more, separated by commas")

    def kinds(self) -> list[LogKind]:
        return [LogKind(name) for name in self.kind or ()]


def job_view(job: SyncJob, now: datetime) -> SyncJobView:
    """Without its streams: more in total than done means that the provider said how many there are."""
    return SyncJobView(**_job_fields(job, now, known_total(job) is not None))


def job_detail(job: SyncJob, steps: Sequence[Step], now: datetime) -> SyncJobDetailView:
    known = bool(steps) and all(step.total is not None for step in steps)
    streams = [
        StreamView(
            stream=step.stream,
            direction=step.direction.name,
            sync_type=step.sync_type.name,
            phase=step.phase.value,
            total=step.total,
            processed=step.processed,
            failed=step.failed,
            batches=step.version,
        )
        for step in steps
    ]
    return SyncJobDetailView(**_job_fields(job, now, known), streams=streams)


def _job_fields(job: SyncJob, now: datetime, is_total_known: bool) -> dict[str, Any]:
    progress = progress_of(job, now, is_total_known=is_total_known)
    error = None
    if job.error_log:
        error = SyncErrorView(
            code=job.error_code,
            message=error_message(job),
            resumable=job.is_resumable and job.resumed_by is None,
        )
    return {
        "data_sync_job_id": job.data_sync_job_id,
        "integration_id": job.integration_id,
        "sync_type": job.sync_type.name,
        "direction": job.direction.name,
        "status": job.status.name,
        "origin": job.origin.value,
        "records_total": job.records_total,
        "records_processed": job.records_processed,
        "records_failed": job.records_failed,
        "records_written": job.records_written,
        "records_unchanged": job.records_unchanged,
        "records_duplicate": job.records_duplicate,
        "records_deleted": job.records_deleted,
        "error_log": error,
        "resumed_from": job.resumed_from,
        "resumed_by": job.resumed_by,
        "run_number": job.run_number,
        "scheduled_at": job.scheduled_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "created_at": job.created_at,
        "created_by": job.created_by,
        "progress": ProgressView(
            stage=job.stage,
            processed=job.records_processed,
            failed=job.records_failed,
            remaining=progress.remaining,
            rate_per_second=progress.rate_per_second,
            eta_seconds=progress.eta_seconds,
            estimated_completion_at=progress.estimated_completion_at,
            waiting_until=job.waiting_until,
        ),
    }


def log_view(entry: LogEntry) -> SyncLogView:
    return SyncLogView(
        kind=entry.kind.value,
        stream=entry.stream,
        record_id=entry.external_id,
        pointer=entry.pointer,
        reason=entry.reason,
        details=dict(entry.details) if entry.details is not None else None,
        created_at=entry.created_at,
    )
