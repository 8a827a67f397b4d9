"""One activity of a job: one batch of one step, in either direction. Running it again changes nothing twice."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from domain.core.errors import FieldError
from domain.core.ports import Cipher, Clock, IdGenerator
from domain.core.text_length import cut
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.providers.contract import ProviderFailure
from domain.providers.records import StreamProfile
from domain.sync.execution import ExecutionLog
from domain.sync.model import (
    BatchResult,
    BatchState,
    Checkpoint,
    Phase,
    RecordCounts,
    RecordError,
    Step,
    StreamState,
    SyncDirection,
    SyncJob,
    SyncStatus,
    SyncType,
    checkpoint_context,
    state_context,
)
from domain.sync.notices import job_span, trace_result
from domain.sync.ports import BatchProgress, RunMark, Superseded, SyncTransaction
from domain.sync.progress import LiveProgress, smoothed
from domain.sync.rules import NOT_ACTIVE, TIMED_OUT, TIMEOUT, batch_size, is_usable, since_of
from domain.sync.sources import NotSynchronisable, Source, Sources

logger = logging.getLogger("hub.sync")

#: Seconds to wait after a 429 that names no time.
_DEFAULT_WAIT = 30.0
_LONGEST_WAIT = 3_600.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What one batch works on, as it was when the batch started.

    `size` is the most records of the batch, `other_records` the records expected of the job's other steps."""

    job: SyncJob
    step: Step
    checkpoint: Checkpoint
    integration: Integration
    source: Source
    profile: StreamProfile
    size: int
    started_at: datetime
    other_records: int
    cipher: Cipher
    ids: IdGenerator

    def mark(self, now: datetime) -> RunMark:
        return RunMark(self.job.data_sync_job_id, now, self.step.generation)

    def error(self, error_id: UUID, external_id: str, error: FieldError, now: datetime) -> RecordError:
        """Return the log entry of a record that was not taken (BR-DS-04)."""
        pointer, reason = cut(error.pointer, 300), cut(error.detail, 400)
        job_id, stream = self.job.data_sync_job_id, self.step.stream
        return RecordError(error_id, job_id, stream, external_id, pointer, reason, now)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    job: SyncJob
    step: Step
    integration: Integration
    other_records: int


class BatchHandler(Protocol):
    """Processes the batches of one direction."""

    async def process(self, batch: Batch) -> BatchResult:
        """Store one batch and its checkpoint in one transaction.

        Raises ProviderFailure, Superseded or Unavailable; nothing of the batch is stored then."""


class BatchRunner:
    """Runs batches of at most `size` records."""

    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        sources: Sources,
        *,
        lifecycle: Lifecycle,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        importer: BatchHandler,
        exporter: BatchHandler,
        events: BatchHandler,
        size: int,
        live: LiveProgress,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._sources = sources
        self._lifecycle = lifecycle
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._handlers = {SyncDirection.Import: importer, SyncDirection.Export: exporter}
        self._events = events
        self.size = batch_size(size)
        self._live = live
        self._tracer = tracer

    async def run_batch(self, job_id: UUID, run_number: int, position: int, size: int) -> BatchResult:
        """Process the next batch, of at most `size` records; raises Unavailable to be tried again."""
        snapshot = await asyncio.to_thread(self._read, job_id, run_number, position)
        if isinstance(snapshot, BatchResult):
            return snapshot
        with job_span(self._tracer, "sync_batch", snapshot.job, snapshot.step) as span:
            result = await self._process(snapshot, size)
            if result.state in (BatchState.Wait, BatchState.Retry):
                await asyncio.to_thread(self._interrupted, snapshot, result, size)
            trace_result(span, result)
        return result

    async def _process(self, snapshot: _Snapshot, size: int) -> BatchResult:
        job = snapshot.job
        try:
            batch = await asyncio.to_thread(self._open, snapshot, size)
            is_of_events = not batch.profile.importable
            handler = self._events if is_of_events else self._handlers[snapshot.step.direction]
            result = await handler.process(batch)
            await asyncio.to_thread(self._live.publish, job.tenant_id, job.data_sync_job_id)
            return result
        except Superseded:
            # Another try stored this batch, or the job was stopped.
            position = snapshot.step.position
            current = await asyncio.to_thread(self._read, job.data_sync_job_id, job.run_number, position)
            return current if isinstance(current, BatchResult) else BatchResult(BatchState.More)
        except NotSynchronisable as reason:
            return BatchResult.failed("not-synchronisable", str(reason))
        except ProviderFailure as failure:
            return await asyncio.to_thread(self._provider_failed, snapshot, failure)

    def _read(self, job_id: UUID, run_number: int, position: int) -> _Snapshot | BatchResult:
        now = self._clock.now()
        with self._transactions.read() as tx:
            job = tx.sync_jobs.find(job_id)
            if job is None or not job.runs(run_number):
                return BatchResult(BatchState.Stopped)
            steps = tx.sync_jobs.steps(job_id)
            integration = tx.integrations.find(job.integration_id)
            is_suspended = tx.standings.of(job.tenant_id).is_suspended
        if is_suspended:
            self._park(job, now)
            return BatchResult(BatchState.Stopped)
        step = next(step for step in steps if step.position == position)
        if step.phase == Phase.Done:
            return BatchResult(BatchState.Done)
        if job.run_started_at is not None and now >= job.run_started_at + TIMEOUT:
            return TIMED_OUT
        if not is_usable(integration):
            return NOT_ACTIVE
        others = [other for other in steps if other.position != position]
        other_records = sum(other.total or other.processed + other.failed for other in others)
        return _Snapshot(job, step, integration, other_records)

    def _park(self, job: SyncJob, now: datetime) -> None:
        """Let the job of a suspended tenant wait, without a place, to go on from its checkpoint one day."""
        waits = replace(job, status=SyncStatus.Scheduled, scheduled_at=now, waiting_until=None, queued_at=now)
        with self._transactions.write() as tx:
            if tx.sync_jobs.move(waits, SyncStatus.Running):
                tx.commit()

    def _open(self, snapshot: _Snapshot, size: int) -> Batch:
        source = self._sources.open(snapshot.integration)
        step = snapshot.step
        context = checkpoint_context(step.data_sync_job_id, step.position)
        text = self._cipher.open(step.checkpoint, context=context) if step.checkpoint else None
        return Batch(
            job=snapshot.job,
            step=step,
            checkpoint=Checkpoint.from_text(text) if text else Checkpoint(),
            integration=snapshot.integration,
            source=source,
            profile=source.profile(step.stream),
            size=max(1, min(size, self.size)),
            started_at=self._clock.now(),
            other_records=snapshot.other_records,
            cipher=self._cipher,
            ids=self._ids,
        )

    def _provider_failed(self, snapshot: _Snapshot, failure: ProviderFailure) -> BatchResult:
        job = snapshot.job
        match failure.kind:
            case "rate_limited":
                seconds = min(failure.retry_after_seconds or _DEFAULT_WAIT, _LONGEST_WAIT)
                return BatchResult(BatchState.Wait, 0, seconds, failure.kind, failure.detail)
            case "unauthorized":
                self._sources.forget(snapshot.integration)
                self._lifecycle.heed(snapshot.integration, failure)
                return BatchResult.failed("authentication", failure.detail)
            case "forbidden":
                return BatchResult.failed("forbidden", failure.detail)
        if failure.is_lasting:
            return BatchResult.failed(failure.kind, failure.detail)
        fields = {"job": str(job.data_sync_job_id), "stream": snapshot.step.stream, "kind": failure.kind}
        logger.warning("sync batch failed", extra=fields)
        return BatchResult(
            BatchState.Retry, 0, failure.retry_after_seconds or 0.0, failure.kind, failure.detail
        )

    def _interrupted(self, snapshot: _Snapshot, result: BatchResult, size: int) -> None:
        """Store that the job waits or tries again, which is a sign of life."""
        now, is_wait = self._clock.now(), result.state == BatchState.Wait
        until = now + timedelta(seconds=result.seconds) if is_wait else None
        with self._transactions.write() as tx:
            tx.sync_jobs.interrupt(snapshot.job, now, until)
            ExecutionLog(tx, self._ids, snapshot.job, now).interrupted(snapshot.step, result, size)
            tx.commit()


def store_progress(
    tx: SyncTransaction,
    batch: Batch,
    step: Step,
    checkpoint: Checkpoint,
    *,
    counts: RecordCounts,
    now: datetime,
) -> BatchResult:
    """Store step and checkpoint in the transaction of the batch's data. Raises Superseded."""
    handled = counts.processed + counts.failed
    is_done = step.phase == Phase.Done
    if is_done and step.direction == SyncDirection.Import:
        _store_stream_state(tx, batch, step, checkpoint, counts=counts, now=now)
    context = checkpoint_context(step.data_sync_job_id, step.position)
    sealed = batch.cipher.seal(checkpoint.to_text(), context=context)
    ExecutionLog(tx, batch.ids, batch.job, now).stored(batch.step, counts, size=batch.size, is_last=is_done)
    step_total = max(step.total or 0, step.processed + step.failed + handled)
    seconds = (now - (batch.job.live_at or batch.started_at)).total_seconds()
    tx.sync_jobs.advance(
        BatchProgress(
            job=batch.job,
            step=replace(step, checkpoint=sealed, total=step_total if is_done else step.total),
            counts=counts,
            now=now,
            stage=f"{step.direction.name}:{step.stream}:{step.phase.value}",
            rate=smoothed(batch.job.rate, handled, seconds),
            total=batch.other_records + step_total,
        )
    )
    return BatchResult(BatchState.Done if is_done else BatchState.More, records=handled)


def _store_stream_state(
    tx: SyncTransaction,
    batch: Batch,
    step: Step,
    checkpoint: Checkpoint,
    *,
    counts: RecordCounts,
    now: datetime,
) -> None:
    """Store where the next incremental run begins; only a step that listed everything may move that forward.

    What the provider failed to give is asked for again, and so are the deletions that this listing did not show, and
    a list of which no record could be taken."""
    job, failed = batch.job, step.failed + counts.failed
    listed = step.processed + counts.processed + failed
    if failed and failed == listed:
        return
    state = tx.sync_settings.stream(job.tenant_id, job.integration_id, step.stream)
    is_full = step.sync_type == SyncType.Full
    stays = checkpoint.has_unread or _hides_deletions(batch, step, checkpoint, state)
    sealed = state.state
    if checkpoint.next_state is not None and not stays:
        context = state_context(job.integration_id, step.stream)
        sealed = batch.cipher.seal(checkpoint.next_state, context=context)
    since: datetime | None = since_of(checkpoint.newest, checkpoint.began_at or now)
    if since is not None and state.since is not None and checkpoint.newest is None:
        since = max(since, state.since)
    # An answer that may lack something and showed no change proves nothing about the changes until now.
    is_kept = checkpoint.is_partial and checkpoint.newest is None
    tx.sync_settings.set_stream(
        job.tenant_id,
        replace(
            state,
            state=sealed,
            since=state.since if stays or is_kept else since,
            last_total=listed if is_full else state.last_total,
            last_full_at=now if is_full else state.last_full_at,
            synced_at=now,
        ),
    )


def _hides_deletions(batch: Batch, step: Step, checkpoint: Checkpoint, state: StreamState) -> bool:
    """Return whether a record may be gone without this listing showing it, while the next incremental one does."""
    if step.sync_type == SyncType.Incremental or not batch.profile.lists_deletions:
        return False
    is_swept = (
        step.sync_type == SyncType.Full and batch.profile.complete_history and not checkpoint.is_partial
    )
    return not is_swept and (state.state is not None or state.since is not None)
