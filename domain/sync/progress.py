"""How far a job is, how fast it goes, and when it will end (UC-DS-03)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.sync.jobs import SyncJob
from domain.sync.model import SyncStatus

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
