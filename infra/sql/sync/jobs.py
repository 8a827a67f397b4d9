"""Synchronisation jobs: their rows, their places, and what the timers look for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
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
from domain.sync.model import ENDED, JobOrigin, SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import AlreadyRuns, JobFilter, WaitingJob
from domain.sync.rules import COUNTED, OLDEST_SCHEDULE, runs_at
from infra.observability.trace import current_header
from infra.sql.firsts import delete_first
from infra.sql.statements import (
    chunks,
    guarded_by_unique_key,
    page_of,
    raising_when_taken,
    row_of,
    unindexed,
    within,
)
from infra.sql.sync.steps import SqlSyncSteps
from infra.sql.sync.tables import data_sync_jobs, sync_record_errors, sync_steps
from infra.sql.types import Utc

_j = data_sync_jobs.c
_s = sync_steps.c
_e = sync_record_errors.c
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
    }
    if job.status != SyncStatus.Running:
        values["RunSlot"] = None
    return values


class SqlSyncJobs(SqlSyncSteps):
    """Satisfies `domain.sync.ports.SyncJobs`."""

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

    def moments(self, integration_id: UUID, sync_type: SyncType, since: datetime) -> list[datetime]:
        # IX_DataSync_Limits
        statement = select(_j.Origin, _j.ScheduledAt, _j.CreatedAt).where(
            _j.IntegrationId == integration_id,
            _j.ScheduledAt >= since - OLDEST_SCHEDULE,
            unindexed(_j.SyncType) == int(sync_type),
            unindexed(_j.Status).in_([int(status) for status in COUNTED]),
        )
        found = [runs_at(JobOrigin(row[0]), row[1], row[2]) for row in self._connection.execute(statement)]
        return [moment for moment in found if moment >= since]

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
            select(_j.DataSyncJobId, _j.TenantId, _j.IntegrationId, _j.ScheduledAt)
            .where(_IS_WAITING, _j.ScheduledAt <= now, ~runs)
            .order_by(_j.ScheduledAt, _j.DataSyncJobId)
            .limit(limit)
        )
        oldest: dict[UUID, WaitingJob] = {}
        for row in self._connection.execute(statement):
            oldest.setdefault(row.IntegrationId, WaitingJob(*row))
        return list(oldest.values())

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
        for some in chunks(list(job_ids)):
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


def _filtered(statement: Select[Any], filter_: JobFilter) -> Select[Any]:
    if filter_.integration_id is not None:
        statement = statement.where(_j.IntegrationId == filter_.integration_id)
    if filter_.statuses:
        statement = statement.where(unindexed(_j.Status).in_([int(status) for status in filter_.statuses]))
    if filter_.types:
        statement = statement.where(_j.SyncType.in_([int(type_) for type_ in filter_.types]))
    if filter_.directions:
        statement = statement.where(_j.Direction.in_([int(direction) for direction in filter_.directions]))
    return within(statement, _j.CreatedAt, filter_.since, filter_.until)
