"""One activity: one batch of one step, whatever its direction. Running it again changes nothing twice."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from domain.core.ports import Cipher, Clock
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.providers.contract import ProviderFailure
from domain.providers.records import StreamProfile
from domain.sync.model import (
    BatchResult,
    Checkpoint,
    Phase,
    RecordCounts,
    Step,
    SyncDirection,
    SyncJob,
    SyncStatus,
    SyncType,
    checkpoint_context,
    state_context,
)
from domain.sync.notices import LiveProgress, job_span, smoothed, tell_outcome
from domain.sync.ports import BatchProgress, Superseded, SyncTransaction
from domain.sync.rules import TIMEOUT, batch_size, is_usable, since_of
from domain.sync.sources import NotSynchronisable, Source, Sources

logger = logging.getLogger("hub.sync")

#: Seconds to wait after a 429 that names no time.
_DEFAULT_WAIT = 30.0
_LONGEST_WAIT = 3_600.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch works on, as it was when it began. `size` is the most records of it."""

    job: SyncJob
    step: Step
    checkpoint: Checkpoint
    integration: Integration
    source: Source
    profile: StreamProfile
    size: int
    began: datetime
    others: int
    cipher: Cipher


@dataclass(frozen=True, slots=True)
class _Read:
    job: SyncJob
    step: Step
    integration: Integration
    others: int


class BatchHandler(Protocol):
    async def run(self, work: Batch) -> BatchResult: ...


class BatchRunner:
    """`size` is the most records of a batch (BR-DS-03)."""

    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        sources: Sources,
        lifecycle: Lifecycle,
        cipher: Cipher,
        clock: Clock,
        importer: BatchHandler,
        exporter: BatchHandler,
        *,
        size: int,
        live: LiveProgress,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._sources = sources
        self._lifecycle = lifecycle
        self._cipher = cipher
        self._clock = clock
        self._kinds = {SyncDirection.Import: importer, SyncDirection.Export: exporter}
        self._size = batch_size(size)
        self._live = live
        self._tracer = tracer

    @property
    def size(self) -> int:
        return self._size

    async def run(self, job_id: UUID, run_number: int, position: int, size: int) -> BatchResult:
        """Raises Unavailable (the activity is tried again)."""
        read = await asyncio.to_thread(self._read, job_id, run_number, position)
        if isinstance(read, BatchResult):
            return read
        with job_span(self._tracer, "sync_batch", read.job, read.step) as span:
            outcome = await self._batch(read, size)
            tell_outcome(span, outcome)
        return outcome

    async def _batch(self, read: _Read, size: int) -> BatchResult:
        job = read.job
        try:
            work = await asyncio.to_thread(self._work, read, size)
            outcome = await self._kinds[read.step.direction].run(work)
            await asyncio.to_thread(self._live.tell, job.tenant_id, job.data_sync_job_id)
            return outcome
        except Superseded:
            return await asyncio.to_thread(
                self._superseded, job.data_sync_job_id, job.run_number, read.step.position
            )
        except NotSynchronisable as reason:
            return BatchResult("failed", cause="not-synchronisable", detail=str(reason))
        except ProviderFailure as failure:
            return await asyncio.to_thread(self._failed, read, failure)

    # -- before -------------------------------------------------------------------------------------------

    def _read(self, job_id: UUID, run_number: int, position: int) -> _Read | BatchResult:
        now = self._clock.now()
        with self._transactions.read() as tx:
            job = tx.sync_jobs.find(job_id)
            if job is None or job.status != SyncStatus.Running or job.run_number != run_number:
                return BatchResult("stopped")
            steps = tx.sync_jobs.steps(job_id)
            integration = tx.integrations.find(job.integration_id)
        step = next(one for one in steps if one.position == position)
        if step.phase == Phase.Done:
            return BatchResult("done")
        if job.run_started_at is not None and now >= job.run_started_at + TIMEOUT:
            return BatchResult("failed", cause="timeout", detail="The job ran for 60 minutes.")
        if not is_usable(integration):
            return BatchResult(
                "failed", cause="integration-not-active", detail="The integration is not active any more."
            )
        others = sum(one.total or one.processed + one.failed for one in steps if one.position != position)
        return _Read(job, step, integration, others)

    def _work(self, read: _Read, size: int) -> Batch:
        source = self._sources.open(read.integration)
        step = read.step
        context = checkpoint_context(step.data_sync_job_id, step.position)
        text = self._cipher.open(step.checkpoint, context=context) if step.checkpoint else None
        return Batch(
            job=read.job,
            step=step,
            checkpoint=Checkpoint.of_text(text) if text else Checkpoint(),
            integration=read.integration,
            source=source,
            profile=source.profile(step.stream),
            size=max(1, min(size, self._size)),
            began=self._clock.now(),
            others=read.others,
            cipher=self._cipher,
        )

    # -- after --------------------------------------------------------------------------------------------

    def _superseded(self, job_id: UUID, run_number: int, position: int) -> BatchResult:
        """Another try stored this batch, or the job was stopped meanwhile."""
        read = self._read(job_id, run_number, position)
        return read if isinstance(read, BatchResult) else BatchResult("more")

    def _failed(self, read: _Read, failure: ProviderFailure) -> BatchResult:
        job, now = read.job, self._clock.now()
        match failure.kind:
            case "rate_limited":
                seconds = min(failure.retry_after_seconds or _DEFAULT_WAIT, _LONGEST_WAIT)
                with self._transactions.write() as tx:
                    tx.sync_jobs.touch(
                        job.data_sync_job_id, now, waiting_until=now + timedelta(seconds=seconds)
                    )
                    tx.commit()
                return BatchResult("wait", seconds=seconds, cause=failure.kind, detail=failure.detail)
            case "unauthorized":
                self._sources.forget(read.integration)
                self._lifecycle.authentication_failed(read.integration, failure.detail)
                return BatchResult("failed", cause="authentication", detail=failure.detail)
            case "forbidden":
                return BatchResult("failed", cause="forbidden", detail=failure.detail)
            case _:
                logger.warning(
                    "sync batch failed",
                    extra={
                        "job": str(job.data_sync_job_id),
                        "stream": read.step.stream,
                        "kind": failure.kind,
                    },
                )
                return BatchResult(
                    "retry",
                    seconds=failure.retry_after_seconds or 0.0,
                    cause=failure.kind,
                    detail=failure.detail,
                )


def store(
    tx: SyncTransaction, work: Batch, after: tuple[Step, Checkpoint], counts: RecordCounts, now: datetime
) -> BatchResult:
    """The checkpoint and counters, in the transaction of the data they describe. Raises Superseded."""
    step, checkpoint = after
    handled = counts.processed + counts.failed
    if step.phase == Phase.Done:
        _conclude(tx, work, step, checkpoint, handled, now)
    context = checkpoint_context(step.data_sync_job_id, step.position)
    sealed = work.cipher.seal(checkpoint.to_text(), context=context)
    step_total = max(step.total or 0, step.processed + step.failed + handled)
    tx.sync_jobs.advance(
        BatchProgress(
            job=work.job,
            step=replace(
                step, checkpoint=sealed, total=step.total if step.phase != Phase.Done else step_total
            ),
            counts=counts,
            now=now,
            stage=f"{step.direction.name}:{step.stream}:{step.phase.value}",
            rate=smoothed(work.job.rate, handled, (now - (work.job.live_at or work.began)).total_seconds()),
            total=work.others + step_total,
        )
    )
    return BatchResult("done" if step.phase == Phase.Done else "more", records=handled)


def _conclude(
    tx: SyncTransaction, work: Batch, step: Step, checkpoint: Checkpoint, handled: int, now: datetime
) -> None:
    """Only now, with the whole window drained, may the next incremental run begin where this one ended."""
    if step.direction != SyncDirection.Import:
        return
    job = work.job
    state = tx.sync_settings.stream(job.tenant_id, job.integration_id, step.stream)
    is_full = step.sync_type == SyncType.Full
    sealed = state.state
    if checkpoint.next_state is not None:
        context = state_context(job.integration_id, step.stream)
        sealed = work.cipher.seal(checkpoint.next_state, context=context)
    since = since_of(checkpoint.newest, checkpoint.began_at or now)
    tx.sync_settings.set_stream(
        job.tenant_id,
        replace(
            state,
            state=sealed,
            since=max(since, state.since) if state.since is not None and checkpoint.newest is None else since,
            last_total=step.processed + step.failed + handled if is_full else state.last_total,
            last_full_at=now if is_full else state.last_full_at,
            synced_at=now,
        ),
    )
