"""The beginning and the end of a job's run: its steps are planned, and its final status is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Cipher, Clock, IdGenerator
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.journal.occurrences import OccurrenceSender
from domain.providers.contract import ProviderFailure
from domain.providers.records import StreamProfile
from domain.sync import notices
from domain.sync.chains import following_job, following_steps
from domain.sync.execution import ExecutionLog
from domain.sync.model import (
    EVERY_RECORD_FAILED,
    BatchResult,
    BatchState,
    Checkpoint,
    Phase,
    Step,
    SyncDirection,
    SyncJob,
    SyncStatus,
    SyncType,
    checkpoint_context,
    error_log,
    state_context,
)
from domain.sync.notices import job_span
from domain.sync.ports import SyncTransaction
from domain.sync.progress import LiveProgress
from domain.sync.rules import (
    NOT_ACTIVE,
    TIMED_OUT,
    TIMEOUT,
    exports_everything,
    final_status,
    is_usable,
    why_chain_ends,
)
from domain.sync.sources import NotSynchronisable, Sources


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The positions of the steps that a run has to do, and when its time is up.

    Without positions there is nothing to run; `result` is then what the run ends with, None for `Done`."""

    positions: Sequence[int]
    deadline: datetime
    result: BatchResult | None = None

    def to_wire(self) -> dict[str, Any]:
        return {
            "positions": list(self.positions),
            "deadline": self.deadline.isoformat(),
            "outcome": self.result.to_wire() if self.result else None,
        }


class JobRuns:
    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        sources: Sources,
        *,
        lifecycle: Lifecycle,
        occurrences: OccurrenceSender,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        live: LiveProgress,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._sources = sources
        self._lifecycle = lifecycle
        self._occurrences = occurrences
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._live = live
        self._tracer = tracer

    def plan(self, job_id: UUID, run_number: int) -> RunPlan:
        """Return the steps that are left; a new job gets its steps first. Raises Unavailable."""
        with self._transactions.read() as tx:
            job = tx.sync_jobs.find(job_id)
            steps = tx.sync_jobs.steps(job_id)
            integration = tx.integrations.find(job.integration_id) if job else None
        now = self._clock.now()
        if job is None or not job.runs(run_number):
            return RunPlan((), now, BatchResult(BatchState.Stopped))
        deadline = (job.run_started_at or now) + TIMEOUT
        if not steps:
            with job_span(self._tracer, "plan_sync", job) as span:
                planned = self._plan_steps(job, integration, now)
                if isinstance(planned, BatchResult):
                    notices.trace_result(span, planned)
                    return RunPlan((), deadline, planned)
            steps = planned
        notices.log_start(job, run_number)
        return RunPlan([step.position for step in steps if step.phase != Phase.Done], deadline)

    def conclude(
        self, job_id: UUID, run_number: int, result: BatchResult, *, was_lost: bool = False
    ) -> SyncJob | None:
        """End the job as Completed, PartialSuccess or Failed, and tell everyone who has to know.

        In the same transaction a job whose time is up gets the one that follows it; `was_lost`: its orchestration
        was gone. None when the job ended already or a later run began. Raises Unavailable."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            job = tx.sync_jobs.find(job_id)
            if job is None or not job.runs(run_number):
                return None
            ended = _ended(job, result, now)
            with job_span(self._tracer, "conclude_sync", job) as span:
                if not tx.sync_jobs.move(ended, SyncStatus.Running):
                    return None
                if result.cause == TIMED_OUT.cause:
                    ended = self._follow(tx, job_id, was_lost=was_lost, now=now)
                notices.record_end(tx, self._ids, ended, now)
                if result.state == BatchState.Done and ended.status != SyncStatus.Failed:
                    tx.sync_jobs.synced(job.integration_id, now)
                tx.commit()
                notices.trace_end(span, ended)
        self._occurrences.flush()
        self.announce_end(ended)
        return ended

    def _follow(self, tx: SyncTransaction, job_id: UUID, *, was_lost: bool, now: datetime) -> SyncJob:
        """Add the job that follows one whose time is up, and return that one, which says why if none does.

        It is read again: no batch of it is stored any more."""
        ended = tx.sync_jobs.find(job_id)
        assert ended is not None
        detail = why_chain_ends(ended, was_lost=was_lost)
        if detail is None:
            following = following_job(ended, self._ids.new(), now)
            tx.sync_jobs.add(following.tenant_id, following)
            steps = tx.sync_jobs.steps(job_id)
            tx.sync_jobs.add_steps(following_steps(steps, following.data_sync_job_id, self._cipher))
            notices.record_resumption(tx, self._ids, following, now)
            reason = f"The job {ended.data_sync_job_id} ran for 60 minutes."
            ExecutionLog(tx, self._ids, following, now).resumed(reason)
            detail = f"{TIMED_OUT.detail} The job {following.data_sync_job_id} goes on from its checkpoint."
            ended = replace(ended, resumed_by=following.data_sync_job_id)
        ended = replace(ended, error_log=error_log(TIMED_OUT.cause, detail, now))
        tx.sync_jobs.move(ended, SyncStatus.Failed)
        return ended

    def announce_end(self, job: SyncJob) -> None:
        """Tell clients and the log, after the commit, that a job ended (12.2)."""
        self._live.publish(job.tenant_id, job.data_sync_job_id)
        notices.log_end(job)

    def _plan_steps(
        self, job: SyncJob, integration: Integration | None, now: datetime
    ) -> list[Step] | BatchResult:
        if not is_usable(integration):
            return NOT_ACTIVE
        try:
            streams = self._sources.open(integration).streams
        except NotSynchronisable as reason:
            return BatchResult.failed("not-synchronisable", str(reason))
        except ProviderFailure as failure:
            if failure.kind == "unauthorized":
                self._lifecycle.heed(integration, failure)
                return BatchResult.failed("authentication", failure.detail)
            if failure.kind == "unavailable":
                raise Unavailable(failure.detail) from failure
            return BatchResult.failed(failure.kind, failure.detail)
        directed = _directed(job.direction, streams)
        if not directed:
            return BatchResult.failed(
                "not-synchronisable", f"The provider has nothing for {job.direction.name}."
            )
        with self._transactions.write() as tx:
            steps = [
                self._plan_step(tx, job, position, profile, direction=direction, now=now)
                for position, (profile, direction) in enumerate(directed)
            ]
            tx.sync_jobs.add_steps(steps)
            total = sum(step.total or 0 for step in steps)
            planned = replace(job, stage="planned", records_total=total, live_at=now)
            tx.sync_jobs.move(planned, SyncStatus.Running)
            tx.commit()
        return steps

    def _plan_step(
        self,
        tx: SyncTransaction,
        job: SyncJob,
        position: int,
        profile: StreamProfile,
        *,
        direction: SyncDirection,
        now: datetime,
    ) -> Step:
        is_full = job.sync_type == SyncType.Full
        state = tx.sync_settings.stream(job.tenant_id, job.integration_id, profile.name)
        checkpoint = Checkpoint(began_at=now)
        generation, phase, total = state.generation, Phase.List, state.last_total if is_full else None
        if direction == SyncDirection.Export and not profile.importable:
            phase, total = Phase.Push, None
            if state.state:
                context = state_context(job.integration_id, profile.name)
                checkpoint = replace(checkpoint, cursor=self._cipher.open(state.state, context=context))
        elif direction == SyncDirection.Export:
            phase, of = Phase.Push, (job.tenant_id, job.integration_id, profile.name)
            total = tx.sync_records.count_export(*of, everything=exports_everything(job))
        elif is_full:
            generation += 1
            tx.sync_settings.set_stream(job.tenant_id, replace(state, generation=generation))
        elif job.sync_type == SyncType.Incremental and profile.incremental == "since":
            checkpoint = replace(checkpoint, since=state.since)
        elif job.sync_type == SyncType.Incremental and profile.incremental == "token" and state.state:
            context = state_context(job.integration_id, profile.name)
            checkpoint = replace(checkpoint, state=self._cipher.open(state.state, context=context))
        context = checkpoint_context(job.data_sync_job_id, position)
        sealed = self._cipher.seal(checkpoint.to_text(), context=context)
        return Step(
            data_sync_job_id=job.data_sync_job_id,
            position=position,
            stream=profile.name,
            direction=direction,
            sync_type=job.sync_type,
            phase=phase,
            checkpoint=sealed,
            generation=generation,
            total=total,
        )


def _ended(job: SyncJob, result: BatchResult, now: datetime) -> SyncJob:
    ended = replace(job, completed_at=now, waiting_until=None)
    if result.state == BatchState.Done:
        handled = job.records_processed + job.records_failed
        status = final_status(job.records_processed, job.records_failed)
        ended = replace(ended, status=status, records_total=handled, stage="done")
        if status != SyncStatus.Failed:
            return ended
        result = BatchResult.failed(
            EVERY_RECORD_FAILED, f"Every record failed, {handled:,} in all; see its logs."
        )
    detail = result.detail or "The job could not go on."
    cause = result.cause or "internal"
    log = error_log(cause, detail, now)
    return replace(ended, status=SyncStatus.Failed, error_code=cause, error_log=log)


def _directed(
    direction: SyncDirection, streams: Sequence[StreamProfile]
) -> list[tuple[StreamProfile, SyncDirection]]:
    """Return every stream with its directions, imports first: a later change imported is not exported over."""
    steps: list[tuple[StreamProfile, SyncDirection]] = []
    if direction != SyncDirection.Export:
        steps += [(stream, SyncDirection.Import) for stream in streams if stream.importable]
    if direction != SyncDirection.Import:
        steps += [(stream, SyncDirection.Export) for stream in streams if stream.exportable]
    return steps
