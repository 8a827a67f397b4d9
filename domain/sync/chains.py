"""Chains: a job whose time is up is followed by one that goes on from its checkpoint, until the work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.core.ports import Cipher
from domain.sync.model import Step, SyncJob, SyncStatus, checkpoint_context
from domain.sync.ports import SyncTransaction
from domain.sync.rules import runs_at


def following_job(job: SyncJob, job_id: UUID, now: datetime) -> SyncJob:
    """Return the job that goes on where one that timed out stopped; the counts go on with it."""
    return replace(
        job,
        data_sync_job_id=job_id,
        status=SyncStatus.Scheduled,
        scheduled_at=now,
        created_at=now,
        error_code=None,
        error_log=None,
        started_at=None,
        completed_at=None,
        run_number=0,
        restarts=0,
        run_started_at=None,
        live_at=None,
        waiting_until=None,
        queued_at=now,
        rate=None,
        resumed_from=job.data_sync_job_id,
        resumed_by=None,
        chain_run=job.chain_run + 1,
        chain_began_at=counts_at(job),
        run_batches=0,
    )


def following_steps(steps: Sequence[Step], job_id: UUID, cipher: Cipher) -> list[Step]:
    """Return the steps as those of another job: a checkpoint is sealed for the job that it belongs to."""
    moved = []
    for step in steps:
        checkpoint = step.checkpoint
        if checkpoint is not None:
            text = cipher.open(checkpoint, context=checkpoint_context(step.data_sync_job_id, step.position))
            checkpoint = cipher.seal(text, context=checkpoint_context(job_id, step.position))
        moved.append(replace(step, data_sync_job_id=job_id, checkpoint=checkpoint))
    return moved


def counts_at(job: SyncJob) -> datetime:
    """Return the moment by which the chain of a job counts for the distance between jobs: that of its first job."""
    return job.chain_began_at or runs_at(job.origin, job.scheduled_at, job.created_at)


def last_of_chain(tx: SyncTransaction, job: SyncJob) -> SyncJob:
    """Return the job at the end of the chain; the job itself when none follows it."""
    last = job
    while last.resumed_by is not None:
        following = tx.sync_jobs.find(last.resumed_by)
        if following is None:
            return last
        last = following
    return last
