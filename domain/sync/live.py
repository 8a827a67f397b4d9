"""Telling connected clients how far a sync job is (UC-DS-03)."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import Unavailable
from domain.ports import Clock
from domain.realtime.model import SYNC_PROGRESS
from domain.realtime.ports import Payload, Realtime
from domain.sync.jobs import SyncJob
from domain.sync.progress import progress_of
from domain.unit_of_work import UnitsOfWork
from domain.wire import rfc3339

logger = logging.getLogger("hub.realtime")


class LiveProgress:
    """`tell` after every batch; costs nothing but a question while nobody of the tenant listens."""

    def __init__(self, units: UnitsOfWork, realtime: Realtime, clock: Clock) -> None:
        self._units = units
        self._realtime = realtime
        self._clock = clock

    def tell(self, tenant_id: UUID, job_id: UUID) -> None:
        """Publish the job as it stands. Never raises: no batch fails for a message."""
        if not self._realtime.listening(tenant_id, SYNC_PROGRESS):
            return
        try:
            with self._units.read() as unit:
                job = unit.sync_jobs.find(job_id)
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
