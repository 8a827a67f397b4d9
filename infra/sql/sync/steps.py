"""The steps of synchronisation jobs with their checkpoints, and the errors of single records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, insert, select, update

from domain.core.paging import Page, PageRequest
from domain.sync.model import Phase, RecordError, Step, SyncDirection, SyncStatus, SyncType
from domain.sync.ports import BatchProgress, Superseded
from infra.sql.integrations.tables import integrations
from infra.sql.statements import page_of, unindexed
from infra.sql.sync.tables import data_sync_jobs, sync_record_errors, sync_steps

_j = data_sync_jobs.c
_s = sync_steps.c
_e = sync_record_errors.c


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


def _error_of(row: Any) -> RecordError:
    return RecordError(
        row.SyncRecordErrorId,
        row.DataSyncJobId,
        row.Stream,
        row.ExternalId,
        row.Pointer,
        row.Reason,
        row.CreatedAt,
    )


class SqlSyncSteps:
    """The part of `domain.sync.ports.SyncJobs` that a running job writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def errors(self, tenant_id: UUID, job_id: UUID, page: PageRequest) -> Page[RecordError]:
        statement = select(
            _e.SyncRecordErrorId,
            _e.DataSyncJobId,
            _e.Stream,
            _e.ExternalId,
            _e.Pointer,
            _e.Reason,
            _e.CreatedAt,
        ).where(_e.DataSyncJobId == job_id, _e.TenantId == tenant_id)
        # IX_SyncRecordError_Job
        ordered = statement.order_by(_e.CreatedAt, _e.SyncRecordErrorId)
        return page_of(self._connection, ordered, page, _error_of)

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
            )
        )
        return self._connection.execute(statement).rowcount == 1

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
