"""Synchronisation as it goes over the wire."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from domain.errors import FieldError, ValidationFailed
from domain.sync.events import message_of
from domain.sync.jobs import RecordError, Step, SyncedRecord, SyncJob
from domain.sync.mapping import FieldMapping, RecordTypeName
from domain.sync.model import RecordType, SyncDirection, SyncStatus, SyncType
from domain.sync.ports import JobFilter, RecordFilter, StoredMapping
from domain.sync.progress import progress_of
from domain.sync.recordkeeping import Preview
from domain.sync.schedules import DirectionName, SyncSchedule, TypeName
from domain.wire import UtcMoment, rfc3339
from functions.http.views import CommaSeparated, Moment, PageQuery, PageView, Query, View

StatusName = Literal["Scheduled", "Running", "Completed", "Failed", "Cancelled", "PartialSuccess"]


class ProgressView(View):
    stage: str = Field(description="Direction, stream and phase, such as `Import:contacts:List`")
    processed: int
    failed: int
    remaining: int | None = Field(description="null while the provider has not said how many there are")
    rate_per_second: float | None = Field(description="Records a second: lately, or over the whole run")
    eta_seconds: float | None
    estimated_completion_at: Moment | None
    waiting_until: Moment | None = Field(description="The provider asked to wait until then")


class StreamView(View):
    stream: str
    direction: DirectionName
    sync_type: TypeName
    phase: Literal["List", "Sweep", "Push", "Done"]
    total: int | None
    processed: int
    failed: int
    batches: int = Field(description="Batches stored: the checkpoint's version")


class SyncErrorView(View):
    code: str | None
    message: str
    resumable: bool = Field(description="POST to its /resume to go on from the checkpoint")


class SyncJobView(View):
    data_sync_job_id: UUID
    integration_id: UUID
    sync_type: TypeName
    direction: DirectionName
    status: StatusName
    origin: Literal["Manual", "Schedule", "Authorization"]
    records_total: int
    records_processed: int = Field(description="Written, unchanged, duplicate and deleted ones together")
    records_failed: int
    records_written: int
    records_unchanged: int
    records_duplicate: int
    records_deleted: int
    error_log: SyncErrorView | None
    run_number: int = Field(description="Counts starts and resumptions")
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


class RecordErrorView(View):
    stream: str
    record_id: str = Field(description="The provider's id of the record")
    pointer: str = Field(description="JSON pointer into the internal record; empty: the record as such")
    reason: str
    created_at: Moment


class RecordErrorPage(PageView[RecordErrorView]):
    pass


class SyncedRecordView(View):
    stream: str
    external_id: str
    local_id: str | None
    record_type: RecordTypeName
    data: Any = Field(description="The internal record; null once it is deleted")
    modified_at: Moment | None
    synced_at: Moment
    deleted_at: Moment | None
    is_local: bool = Field(description="The tenant changed it last")
    export_pending: bool = Field(description="It waits for the next export")


class SyncedRecordPage(PageView[SyncedRecordView]):
    pass


class RecordListView(View):
    items: list[SyncedRecordView]
    cursor: str | None = Field(description="For the next page; keep it to ask for later changes")
    has_more: bool


class ChangedView(View):
    stored: int
    left_out: int = Field(description="Older than what is stored (BR-DS-07)")


class ScheduleView(View):
    integration_id: UUID
    expression: str | None
    interval_minutes: int | None
    sync_type: TypeName
    direction: DirectionName
    is_enabled: bool
    next_run_at: Moment | None
    modified_at: Moment
    modified_by: UUID


class MappingView(View):
    streams: dict[str, Any] = Field(description="As PUT takes it")


class FieldErrorView(View):
    pointer: str
    detail: str


class PreviewRecordView(View):
    external_id: str
    source: Any
    record_type: RecordTypeName | None
    record: Any
    errors: list[FieldErrorView]


class PreviewView(View):
    records: list[PreviewRecordView]


class SyncJobQuery(PageQuery):
    integration_id: UUID | None = None
    status: CommaSeparated[StatusName] | None = Field(None, description="One or more, separated by commas")
    sync_type: CommaSeparated[TypeName] | None = Field(None, description="One or more, separated by commas")
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
    format: Literal["json", "csv"] = Field("json", description="`csv`: one line an error, up to 100,000")


class RecordQuery(Query):
    type: RecordTypeName | None = None
    stream: str | None = Field(None, max_length=60)
    updated_since: UtcMoment | None = Field(None, description="Changed here at or after")
    cursor: str | None = Field(None, max_length=1000, description="From the answer before")
    limit: int = Field(100, ge=1, le=1000)

    def to_filter(self) -> RecordFilter:
        return RecordFilter(
            record_type=RecordType(self.type) if self.type else None,
            stream=self.stream,
            since=self.updated_since,
            after=_position(self.cursor) if self.cursor else None,
            limit=self.limit,
        )


def job_view(job: SyncJob, now: datetime, *, is_total_known: bool = True) -> SyncJobView:
    return SyncJobView(**_job_fields(job, now, is_total_known))


def job_detail(job: SyncJob, steps: Sequence[Step], now: datetime) -> SyncJobDetailView:
    known = bool(steps) and all(one.total is not None for one in steps)
    streams = [
        StreamView(
            stream=one.stream,
            direction=one.direction.name,
            sync_type=one.sync_type.name,
            phase=one.phase.value,
            total=one.total,
            processed=one.processed,
            failed=one.failed,
            batches=one.version,
        )
        for one in steps
    ]
    return SyncJobDetailView(**_job_fields(job, now, known), streams=streams)


def _job_fields(job: SyncJob, now: datetime, is_total_known: bool) -> dict[str, Any]:
    progress = progress_of(job, now, is_total_known=is_total_known)
    error = None
    if job.error_log:
        error = SyncErrorView(
            code=job.error_code,
            message=message_of(job),
            resumable=job.status in (SyncStatus.Failed, SyncStatus.Cancelled),
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
        "run_number": job.run_number,
        "scheduled_at": job.scheduled_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "created_at": job.created_at,
        "created_by": job.created_by,
        "progress": ProgressView(
            stage=progress.stage,
            processed=progress.processed,
            failed=progress.failed,
            remaining=progress.remaining,
            rate_per_second=progress.rate_per_second,
            eta_seconds=progress.eta_seconds,
            estimated_completion_at=progress.estimated_completion_at,
            waiting_until=job.waiting_until,
        ),
    }


def error_view(error: RecordError) -> RecordErrorView:
    return RecordErrorView(
        stream=error.stream,
        record_id=error.external_id,
        pointer=error.pointer,
        reason=error.reason,
        created_at=error.created_at,
    )


def record_view(record: SyncedRecord) -> SyncedRecordView:
    return SyncedRecordView(
        stream=record.stream,
        external_id=record.external_id,
        local_id=record.local_id,
        record_type=record.record_type,
        data=json.loads(record.data) if record.data is not None else None,
        modified_at=record.modified_at,
        synced_at=record.synced_at,
        deleted_at=record.deleted_at,
        is_local=record.is_local,
        export_pending=record.export_pending,
    )


def record_list(records: Sequence[SyncedRecord], query: RecordQuery) -> RecordListView:
    cursor = _cursor(records[-1]) if records else query.cursor
    return RecordListView(
        items=[record_view(one) for one in records], cursor=cursor, has_more=len(records) == query.limit
    )


def schedule_view(schedule: SyncSchedule) -> ScheduleView:
    return ScheduleView(
        integration_id=schedule.integration_id,
        expression=schedule.expression,
        interval_minutes=schedule.interval_minutes,
        sync_type=schedule.sync_type.name,
        direction=schedule.direction.name,
        is_enabled=schedule.is_enabled,
        next_run_at=schedule.next_run_at,
        modified_at=schedule.modified_at,
        modified_by=schedule.modified_by,
    )


def mapping_view(stored: StoredMapping) -> MappingView:
    mapping = FieldMapping.model_validate_json(stored.mapping)
    return MappingView(streams=mapping.model_dump(by_alias=True)["streams"])


def preview_view(previews: Sequence[Preview]) -> PreviewView:
    return PreviewView(
        records=[
            PreviewRecordView(
                external_id=one.external_id,
                source=one.source,
                record_type=one.record_type,
                record=one.record,
                errors=[FieldErrorView(pointer=error.pointer, detail=error.detail) for error in one.errors],
            )
            for one in previews
        ]
    )


def _cursor(record: SyncedRecord) -> str:
    position = [rfc3339(record.synced_at), record.stream, record.external_id]
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[datetime, str, str]:
    try:
        at, stream, key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not isinstance(stream, str) or not isinstance(key, str):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        detail = "This is no cursor of an answer."
        raise ValidationFailed(detail, [FieldError("/cursor", detail)]) from None
    return moment, stream, key
