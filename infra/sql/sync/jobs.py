"""Synchronisation jobs: their rows, their places, their steps, and the errors of single records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Connection,
    Select,
    case,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from domain.core.paging import Page, PageRequest
from domain.sync.model import (
    ENDED,
    JobOrigin,
    LogEntry,
    LogKind,
    Phase,
    RecordError,
    Step,
    SyncDirection,
    SyncJob,
    SyncStatus,
    SyncType,
)
from domain.sync.ports import AlreadyRuns, BatchProgress, JobFilter, Superseded, WaitingJob
from domain.sync.rules import COUNTED, OLDEST_SCHEDULE, runs_at
from infra.observability.trace import current_header
from infra.sql.firsts import delete_first
from infra.sql.integrations.repository import is_calendar_of
from infra.sql.integrations.tables import integrations
from infra.sql.statements import (
    guarded_by_unique_key,
    key_lists,
    page_of,
    raising_when_taken,
    row_of,
    unindexed,
    within,
)
from infra.sql.sync.tables import data_sync_jobs, sync_record_errors, sync_steps
from infra.sql.tenants.standings import is_suspended
from infra.sql.types import Utc

_j = data_sync_jobs.c
_s = sync_steps.c
_e = sync_record_errors.c
#: Entries of one transaction have the same moment: the records of a batch come before it, and an end comes last.
_IN_A_MOMENT = case(
    (_e.Kind.in_(["Start", "Resumption"]), 0),
    (_e.Kind == "Record", 1),
    (_e.Kind.in_(["TimeOut", "End"]), 3),
    else_=2,
)
#: As text: a parameter would not match the condition of IX_DataSync_Waiting.
_IS_WAITING = _j.Status == literal_column(str(int(SyncStatus.Scheduled)))


def _job_of(row: Any) -> SyncJob:
    return SyncJob(
        data_sync_job_id=row.DataSyncJobId,
        tenant_id=row.TenantId,
        integration_id=row.IntegrationId,
        sync_type=SyncType(row.SyncType),
        direction=SyncDirection(row.Direction),
        status=SyncStatus(row.Status),
        scheduled_at=row.ScheduledAt,
        created_at=row.CreatedAt,
        created_by=row.CreatedBy,
        origin=JobOrigin(row.Origin),
        records_total=row.RecordsTotal,
        records_processed=row.RecordsProcessed,
        records_failed=row.RecordsFailed,
        records_written=row.RecordsWritten,
        records_unchanged=row.RecordsUnchanged,
        records_duplicate=row.RecordsDuplicate,
        records_deleted=row.RecordsDeleted,
        error_log=row.ErrorLog,
        error_code=row.ErrorCode,
        stage=row.Stage,
        started_at=row.StartedAt,
        completed_at=row.CompletedAt,
        run_number=row.RunNumber,
        restarts=row.Restarts,
        run_started_at=row.RunStartedAt,
        live_at=row.LiveAt,
        waiting_until=row.WaitingUntil,
        queued_at=row.QueuedAt,
        rate=row.Rate,
        traceparent=row.TraceParent,
        resumed_from=row.ResumedFrom,
        resumed_by=row.ResumedBy,
        chain_run=row.ChainRun,
        chain_began_at=row.ChainBeganAt,
        run_batches=row.RunBatches,
        interruptions=row.Interruptions,
    )


def _state(job: SyncJob) -> dict[str, Any]:
    values: dict[str, Any] = {
        "Status": int(job.status),
        "RecordsTotal": job.records_total,
        "ErrorLog": job.error_log,
        "ErrorCode": job.error_code,
        "Stage": job.stage,
        "ScheduledAt": job.scheduled_at,
        "StartedAt": job.started_at,
        "CompletedAt": job.completed_at,
        "LiveAt": job.live_at,
        "WaitingUntil": job.waiting_until,
        "QueuedAt": job.queued_at,
        "Restarts": job.restarts,
        "Rate": job.rate,
        "ResumedBy": job.resumed_by,
        "ChainRun": job.chain_run,
        "ChainBeganAt": job.chain_began_at,
    }
    if job.status != SyncStatus.Running:
        values["RunSlot"] = None
    return values


def _step_of(row: Any) -> Step:
    return Step(
        data_sync_job_id=row.DataSyncJobId,
        position=row.Position,
        stream=row.Stream,
        direction=SyncDirection(row.Direction),
        sync_type=SyncType(row.SyncType),
        phase=Phase(row.Phase),
        checkpoint=row.Checkpoint,
        version=row.CheckpointVersion,
        generation=row.Generation,
        total=row.Total,
        processed=row.Processed,
        failed=row.Failed,
    )


def _entry_of(row: Any) -> LogEntry:
    return LogEntry(
        row.SyncRecordErrorId,
        row.DataSyncJobId,
        LogKind(row.Kind),
        row.Reason,
        row.CreatedAt,
        row.Stream,
        row.ExternalId,
        row.Pointer,
        json.loads(row.Details) if row.Details else None,
    )


#: Looks at waiting jobs, each of which finds those of further tenants.
_LOOKS = 20


class SqlSyncJobs:
    """Satisfies `domain.sync.ports.SyncJobs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: Records that the batches of this transaction handled, by tenant.
        self.handled: Counter[UUID] = Counter()

    def add(self, tenant_id: UUID, job: SyncJob) -> bool:
        if self.find(job.data_sync_job_id) is not None:
            return False
        added = insert(data_sync_jobs).values(
            DataSyncJobId=job.data_sync_job_id,
            TenantId=tenant_id,
            IntegrationId=job.integration_id,
            SyncType=int(job.sync_type),
            Direction=int(job.direction),
            CreatedAt=job.created_at,
            CreatedBy=job.created_by,
            Origin=job.origin.value,
            RunNumber=job.run_number,
            TraceParent=job.traceparent or current_header(),
            RecordsProcessed=job.records_processed,
            RecordsFailed=job.records_failed,
            RecordsWritten=job.records_written,
            RecordsUnchanged=job.records_unchanged,
            RecordsDuplicate=job.records_duplicate,
            RecordsDeleted=job.records_deleted,
            ResumedFrom=job.resumed_from,
            **_state(job),
        )
        with guarded_by_unique_key():
            self._connection.execute(added)
        return True

    def get(self, tenant_id: UUID, job_id: UUID) -> SyncJob:
        statement = select(data_sync_jobs).where(_j.DataSyncJobId == job_id, _j.TenantId == tenant_id)
        return _job_of(row_of(self._connection, statement, "synchronisation job"))

    def page(self, tenant_id: UUID, filter_: JobFilter, page: PageRequest) -> Page[SyncJob]:
        statement = _filtered(select(data_sync_jobs).where(_j.TenantId == tenant_id), filter_)
        # IX_DataSync_Created
        ordered = statement.order_by(_j.CreatedAt.desc(), _j.DataSyncJobId.desc())
        return page_of(self._connection, ordered, page, _job_of)

    def find(self, job_id: UUID) -> SyncJob | None:
        row = self._connection.execute(select(data_sync_jobs).where(_j.DataSyncJobId == job_id)).first()
        return None if row is None else _job_of(row)

    def moments(
        self,
        integration_id: UUID,
        sync_type: SyncType,
        since: datetime,
        *,
        without: Sequence[JobOrigin],
    ) -> list[datetime]:
        # IX_DataSync_Limits
        statement = select(_j.Origin, _j.ScheduledAt, _j.CreatedAt, _j.ChainBeganAt).where(
            _j.IntegrationId == integration_id,
            _j.ScheduledAt >= since - OLDEST_SCHEDULE,
            unindexed(_j.SyncType) == int(sync_type),
            unindexed(_j.Status).in_([int(status) for status in COUNTED]),
            _j.Origin.not_in([origin.value for origin in without]),
        )
        found = [
            began_at or runs_at(JobOrigin(origin), scheduled_at, created_at)
            for origin, scheduled_at, created_at, began_at in self._connection.execute(statement)
        ]
        return [moment for moment in found if moment >= since]

    def is_resumed(self, tenant_id: UUID, integration_id: UUID, sync_type: SyncType) -> bool:
        # IX_DataSync_Limits
        statement = select(func.count()).where(
            _j.IntegrationId == integration_id,
            _j.TenantId == tenant_id,
            unindexed(_j.Status).in_([int(SyncStatus.Scheduled), int(SyncStatus.Running)]),
            _j.ResumedFrom.is_not(None),
            unindexed(_j.SyncType) == int(sync_type),
        )
        return self._connection.execute(statement).scalar_one() > 0

    def latest(self, integration_id: UUID, origin: JobOrigin, since: datetime) -> SyncJob | None:
        # IX_DataSync_Limits
        statement = (
            select(data_sync_jobs)
            .where(_j.IntegrationId == integration_id, _j.ScheduledAt >= since, _j.Origin == origin.value)
            .order_by(_j.ScheduledAt.desc())
            .limit(1)
        )
        row = self._connection.execute(statement).first()
        return None if row is None else _job_of(row)

    def move(self, job: SyncJob, from_: SyncStatus) -> bool:
        statement = (
            update(data_sync_jobs)
            .where(
                _j.DataSyncJobId == job.data_sync_job_id,
                unindexed(_j.Status) == int(from_),
                _j.RunNumber == job.run_number,
            )
            .values(**_state(job))
        )
        return self._connection.execute(statement).rowcount == 1

    def claim(self, job_id: UUID, slot: int, now: datetime) -> bool:
        statement = (
            update(data_sync_jobs)
            .where(_j.DataSyncJobId == job_id, unindexed(_j.Status) == int(SyncStatus.Scheduled))
            .values(
                Status=int(SyncStatus.Running),
                RunSlot=slot,
                RunNumber=_j.RunNumber + 1,
                RunStartedAt=now,
                StartedAt=func.coalesce(_j.StartedAt, literal(now, Utc())),
                LiveAt=now,
                CompletedAt=None,
                WaitingUntil=None,
                Restarts=0,
                RunBatches=0,
            )
        )
        with raising_when_taken(AlreadyRuns):
            return self._connection.execute(statement).rowcount == 1

    def taken(self) -> list[tuple[int, UUID]]:
        # UX_DataSync_Slot
        statement = select(_j.RunSlot, _j.TenantId).where(_j.RunSlot.is_not(None)).order_by(_j.RunSlot)
        return [(slot, tenant) for slot, tenant in self._connection.execute(statement)]

    def waiting(self, now: datetime, limit: int) -> list[WaitingJob]:
        other = data_sync_jobs.alias()
        runs = exists().where(other.c.IntegrationId == _j.IntegrationId, other.c.RunSlot.is_not(None))
        # IX_DataSync_Waiting, then UX_DataSync_Running
        statement = (
            select(
                _j.DataSyncJobId, _j.TenantId, _j.IntegrationId, _j.ScheduledAt, _j.SyncType, _j.ResumedFrom
            )
            .where(_IS_WAITING, _j.ScheduledAt <= now, ~runs, ~is_suspended(_j.TenantId))
            .order_by(_j.ScheduledAt, _j.DataSyncJobId)
            .limit(limit)
        )
        rows: list[Any] = []
        known: set[UUID] = set()
        # No tenant's thousands hide another's: after a full look, those of all other tenants.
        for _ in range(_LOOKS):
            others = statement.where(_j.TenantId.not_in(sorted(known))) if known else statement
            found = self._connection.execute(others).all()
            rows += found
            known |= {row.TenantId for row in found}
            if len(found) < limit:
                break
        oldest: dict[UUID, Any] = {}
        for row in rows:
            first = oldest.setdefault(row.IntegrationId, row)
            if row.ResumedFrom and not first.ResumedFrom and row.SyncType == first.SyncType:
                oldest[row.IntegrationId] = row
        return [WaitingJob(*row[:4]) for row in oldest.values()]

    def to_queue(self, until: datetime, limit: int) -> list[SyncJob]:
        # IX_DataSync_Waiting
        statement = (
            select(data_sync_jobs)
            .where(_IS_WAITING, _j.ScheduledAt < until, _j.QueuedAt.is_(None))
            .order_by(_j.ScheduledAt)
            .limit(limit)
        )
        return [_job_of(row) for row in self._connection.execute(statement)]

    def mark_queued(self, job_ids: Sequence[UUID], at: datetime) -> None:
        for some in key_lists(job_ids):
            self._connection.execute(
                update(data_sync_jobs)
                .where(
                    _j.DataSyncJobId.in_(some),
                    unindexed(_j.Status) == int(SyncStatus.Scheduled),
                    _j.QueuedAt.is_(None),
                )
                .values(QueuedAt=at)
            )

    def silent(self, before: datetime, limit: int) -> list[SyncJob]:
        # UX_DataSync_Slot: few rows
        statement = (
            select(data_sync_jobs)
            .where(
                _j.RunSlot.is_not(None),
                _j.LiveAt < before,
                or_(_j.WaitingUntil.is_(None), _j.WaitingUntil < before),
            )
            .order_by(_j.RunSlot)
            .limit(limit)
        )
        return [_job_of(row) for row in self._connection.execute(statement)]

    def touch(self, job_id: UUID, now: datetime, *, waiting_until: datetime | None = None) -> None:
        self._connection.execute(
            update(data_sync_jobs)
            .where(_j.DataSyncJobId == job_id)
            .values(LiveAt=now, WaitingUntil=waiting_until)
        )

    def interrupt(self, job: SyncJob, now: datetime, waiting_until: datetime | None) -> None:
        self._connection.execute(
            update(data_sync_jobs)
            .where(_j.DataSyncJobId == job.data_sync_job_id)
            .values(LiveAt=now, WaitingUntil=waiting_until, Interruptions=_j.Interruptions + 1)
        )

    def restart(self, job: SyncJob, now: datetime) -> bool:
        statement = (
            update(data_sync_jobs)
            .where(
                _j.DataSyncJobId == job.data_sync_job_id,
                unindexed(_j.Status) == int(SyncStatus.Running),
                _j.RunNumber == job.run_number,
            )
            .values(RunNumber=_j.RunNumber + 1, Restarts=_j.Restarts + 1, LiveAt=now, WaitingUntil=None)
        )
        return self._connection.execute(statement).rowcount == 1

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # Their steps and errors go with them.
        old = (_j.ScheduledAt < cutoff, unindexed(_j.Status).in_([int(status) for status in ENDED]))
        oldest = delete_first(data_sync_jobs, *old, order_by=_j.ScheduledAt, limit=limit)
        return self._connection.execute(oldest).rowcount

    def entries(
        self, tenant_id: UUID, job_id: UUID, kinds: Sequence[LogKind], page: PageRequest
    ) -> Page[LogEntry]:
        statement = select(sync_record_errors).where(_e.DataSyncJobId == job_id, _e.TenantId == tenant_id)
        if kinds:
            statement = statement.where(_e.Kind.in_([kind.value for kind in kinds]))
        # IX_SyncRecordError_Job
        ordered = statement.order_by(_e.CreatedAt, _IN_A_MOMENT, _e.SyncRecordErrorId)
        return page_of(self._connection, ordered, page, _entry_of)

    def steps(self, job_id: UUID) -> list[Step]:
        statement = select(sync_steps).where(_s.DataSyncJobId == job_id).order_by(_s.Position)
        return [_step_of(row) for row in self._connection.execute(statement)]

    def add_steps(self, steps: Sequence[Step]) -> None:
        rows = [
            {
                "DataSyncJobId": step.data_sync_job_id,
                "Position": step.position,
                "Stream": step.stream,
                "Direction": int(step.direction),
                "SyncType": int(step.sync_type),
                "Phase": step.phase.value,
                "Checkpoint": step.checkpoint,
                "CheckpointVersion": step.version,
                "Generation": step.generation,
                "Total": step.total,
                "Processed": step.processed,
                "Failed": step.failed,
            }
            for step in steps
        ]
        if rows:
            self._connection.execute(insert(sync_steps), rows)

    def advance(self, progress: BatchProgress) -> None:
        step, counts = progress.step, progress.counts
        stored = self._connection.execute(
            update(sync_steps)
            .where(
                _s.DataSyncJobId == step.data_sync_job_id,
                _s.Position == step.position,
                _s.CheckpointVersion == step.version,
            )
            .values(
                Phase=step.phase.value,
                Checkpoint=step.checkpoint,
                CheckpointVersion=step.version + 1,
                SyncType=int(step.sync_type),
                Generation=step.generation,
                Total=step.total,
                Processed=_s.Processed + counts.processed,
                Failed=_s.Failed + counts.failed,
            )
        )
        if stored.rowcount != 1 or not self._count(progress):
            raise Superseded
        self.handled[progress.job.tenant_id] += counts.processed + counts.failed

    def _count(self, progress: BatchProgress) -> bool:
        job, counts = progress.job, progress.counts
        done = counts.processed + counts.failed
        now_done = _j.RecordsProcessed + _j.RecordsFailed + done
        statement = (
            update(data_sync_jobs)
            .where(
                _j.DataSyncJobId == job.data_sync_job_id,
                unindexed(_j.Status) == int(SyncStatus.Running),
                _j.RunNumber == job.run_number,
            )
            .values(
                RecordsTotal=case((now_done > progress.total, now_done), else_=progress.total),
                RecordsProcessed=_j.RecordsProcessed + counts.processed,
                RecordsFailed=_j.RecordsFailed + counts.failed,
                RecordsWritten=_j.RecordsWritten + counts.written,
                RecordsUnchanged=_j.RecordsUnchanged + counts.unchanged,
                RecordsDuplicate=_j.RecordsDuplicate + counts.duplicate,
                RecordsDeleted=_j.RecordsDeleted + counts.deleted,
                Stage=progress.stage,
                LiveAt=progress.now,
                WaitingUntil=None,
                Rate=progress.rate,
                RunBatches=_j.RunBatches + 1,
            )
        )
        return self._connection.execute(statement).rowcount == 1

    def log(self, tenant_id: UUID, entries: Sequence[LogEntry]) -> None:
        rows = [
            {
                "SyncRecordErrorId": entry.entry_id,
                "DataSyncJobId": entry.data_sync_job_id,
                "TenantId": tenant_id,
                "Stream": entry.stream,
                "ExternalId": entry.external_id,
                "Pointer": entry.pointer,
                "Reason": entry.reason,
                "CreatedAt": entry.created_at,
                "Kind": entry.kind.value,
                "Details": json.dumps(entry.details) if entry.details else None,
            }
            for entry in entries
        ]
        self._connection.execute(insert(sync_record_errors), rows)

    def log_errors(self, tenant_id: UUID, errors: Sequence[RecordError]) -> None:
        rows = [
            {
                "SyncRecordErrorId": error.error_id,
                "DataSyncJobId": error.data_sync_job_id,
                "TenantId": tenant_id,
                "Stream": error.stream,
                "ExternalId": error.external_id,
                "Pointer": error.pointer,
                "Reason": error.reason,
                "CreatedAt": error.created_at,
            }
            for error in errors
        ]
        if rows:
            self._connection.execute(insert(sync_record_errors), rows)

    def synced(self, integration_id: UUID, at: datetime) -> None:
        self._connection.execute(
            update(integrations).where(integrations.c.IntegrationId == integration_id).values(LastSyncTime=at)
        )


def _filtered(statement: Select[Any], filter_: JobFilter) -> Select[Any]:
    if filter_.integration_id is not None:
        statement = statement.where(_j.IntegrationId == filter_.integration_id)
    if filter_.calendars_of is not None:
        own = select(integrations.c.IntegrationId).where(
            integrations.c.TenantId == _j.TenantId, is_calendar_of(filter_.calendars_of)
        )
        statement = statement.where(_j.IntegrationId.in_(own))
    if filter_.statuses:
        statement = statement.where(unindexed(_j.Status).in_([int(status) for status in filter_.statuses]))
    if filter_.types:
        statement = statement.where(_j.SyncType.in_([int(type_) for type_ in filter_.types]))
    if filter_.directions:
        statement = statement.where(_j.Direction.in_([int(direction) for direction in filter_.directions]))
    return within(statement, _j.CreatedAt, filter_.since, filter_.until)
