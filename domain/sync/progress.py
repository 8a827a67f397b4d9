"""The progress of a job: its rate, the estimate of its end, and what live clients are told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.realtime import SYNC_PROGRESS, Realtime
from domain.core.transaction import Transactions
from domain.core.wire import rfc3339
from domain.sync.model import SyncJob, SyncStatus
from domain.sync.ports import SyncTransaction

logger = logging.getLogger("hub.realtime")

_SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job's progress; `remaining` and `eta_seconds` are None while the total is unknown."""

    remaining: int | None
    rate_per_second: float | None
    eta_seconds: float | None
    estimated_completion_at: datetime | None


def smoothed(rate: float | None, records: int, seconds: float) -> float | None:
    """Return the rate in records per second after a batch, which counts for three tenths."""
    if records == 0 or seconds < _SHORTEST:
        return rate
    latest = records / seconds
    return latest if rate is None else rate + 0.3 * (latest - rate)


def known_total(job: SyncJob) -> int | None:
    """Return the total that the provider reported, or None: until then the total is what was done."""
    return job.records_total if job.records_total > job.records_processed + job.records_failed else None


def progress_of(job: SyncJob, now: datetime, *, is_total_known: bool) -> JobProgress:
    """Return the progress of a job; the estimate includes a wait that the provider asked for."""
    done = job.records_processed + job.records_failed
    remaining = max(0, job.records_total - done) if is_total_known or job.is_ended else None
    eta: float | None = None
    if job.status == SyncStatus.Running and remaining is not None and job.rate:
        eta = remaining / job.rate
        if job.waiting_until is not None and job.waiting_until > now:
            eta += (job.waiting_until - now).total_seconds()
    return JobProgress(
        remaining=remaining,
        rate_per_second=job.rate if job.status == SyncStatus.Running else _overall(job),
        eta_seconds=eta,
        estimated_completion_at=now + timedelta(seconds=eta) if eta is not None else None,
    )


def _overall(job: SyncJob) -> float | None:
    if job.run_started_at is None or job.completed_at is None:
        return None
    seconds = (job.completed_at - job.run_started_at).total_seconds()
    return (job.records_processed + job.records_failed) / seconds if seconds > _SHORTEST else None


class LiveProgress:
    """Sends the progress of jobs to connected clients, at next to no cost while nobody of the tenant listens."""

    def __init__(self, transactions: Transactions[SyncTransaction], realtime: Realtime, clock: Clock) -> None:
        self._transactions = transactions
        self._realtime = realtime
        self._clock = clock

    def publish(self, tenant_id: UUID, job_id: UUID) -> None:
        """Publish a job's progress. Never raises, because no batch may fail for a message."""
        if not self._realtime.listening(tenant_id, SYNC_PROGRESS):
            return
        try:
            with self._transactions.read() as tx:
                job = tx.sync_jobs.find(job_id)
        except Unavailable as error:
            logger.warning("sync progress not told", extra={"reason": error.detail})
            return
        if job is not None:
            self._realtime.publish(tenant_id, SYNC_PROGRESS, [progress_payload(job, self._clock.now())])


def progress_payload(job: SyncJob, now: datetime) -> dict[str, Any]:
    """Return the changing part of what `GET /api/datasyncs/{id}` shows."""
    progress = progress_of(job, now, is_total_known=known_total(job) is not None)
    completion = progress.estimated_completion_at
    return {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "status": job.status.name,
        "recordsTotal": job.records_total,
        "recordsProcessed": job.records_processed,
        "recordsFailed": job.records_failed,
        "stage": job.stage,
        "ratePerSecond": progress.rate_per_second,
        "etaSeconds": progress.eta_seconds,
        "estimatedCompletionAt": rfc3339(completion) if completion else None,
    }
