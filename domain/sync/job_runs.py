"""A job's beginning and end: its steps, and what its run comes to."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Cipher, Clock, IdGenerator
from domain.core.tracing import UNTRACED, Tracer, trace_fields
from domain.core.transaction import Transactions
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration, IntegrationLog, LogLevel
from domain.journal.audit import AuditEntry
from domain.journal.occurrences import OccurrenceSender, occurrence
from domain.providers.contract import ProviderFailure
from domain.providers.records import StreamProfile
from domain.sync import notices
from domain.sync.model import (
    BatchResult,
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
from domain.sync.notices import LiveProgress, job_span, sync_signal, tell_end, tell_outcome
from domain.sync.ports import SyncTransaction
from domain.sync.rules import TIMEOUT, final_status, is_usable
from domain.sync.sources import NotSynchronisable, Sources

logger = logging.getLogger("hub.sync")
_LINES = {SyncStatus.Failed: logging.ERROR, SyncStatus.PartialSuccess: logging.WARNING}


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run is to do: the positions of its unfinished steps. Without any it cannot, or need not, run."""

    positions: Sequence[int]
    deadline: datetime
    outcome: BatchResult | None = None

    def to_wire(self) -> dict[str, Any]:
        return {
            "positions": list(self.positions),
            "deadline": self.deadline.isoformat(),
            "outcome": self.outcome.to_wire() if self.outcome else None,
        }


class JobRuns:
    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        sources: Sources,
        lifecycle: Lifecycle,
        occurrences: OccurrenceSender,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        live: LiveProgress,
        *,
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
        """The steps of a new job, or those a resumed one has left. Raises Unavailable."""
        with self._transactions.read() as tx:
            job = tx.sync_jobs.find(job_id)
            steps = tx.sync_jobs.steps(job_id)
            integration = tx.integrations.find(job.integration_id) if job else None
        now = self._clock.now()
        if job is None or job.status != SyncStatus.Running or job.run_number != run_number:
            return RunPlan((), now, BatchResult("stopped"))
        deadline = (job.run_started_at or now) + TIMEOUT
        if not steps:
            with job_span(self._tracer, "plan_sync", job) as span:
                made = self._steps(job, integration, now)
                if isinstance(made, BatchResult):
                    tell_outcome(span, made)
                    return RunPlan((), deadline, made)
            steps = made
        logger.info("sync job started", extra={**_about(job), "run": run_number})
        return RunPlan([step.position for step in steps if step.phase != Phase.Done], deadline)

    def conclude(self, job_id: UUID, run_number: int, outcome: BatchResult) -> SyncJob | None:
        """Completed, PartialSuccess or Failed, with events, log, audit and alert. Nothing when the job ended
        already, or a later run began. Raises Unavailable."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            job = tx.sync_jobs.find(job_id)
            if job is None or job.status != SyncStatus.Running or job.run_number != run_number:
                return None
            ended = self._ended(job, outcome, now)
            with job_span(self._tracer, "conclude_sync", job) as span:
                if not tx.sync_jobs.move(ended, SyncStatus.Running):
                    return None
                self.tell(tx, ended, now)
                if outcome.state == "done":
                    tx.sync_jobs.synced(job.integration_id, now)
                tx.commit()
                tell_end(span, ended)
        self._occurrences.flush()
        self.show(ended)
        return ended

    def show(self, job: SyncJob) -> None:
        """Tell connected clients how the job stands, after the commit, and the log that it ended (12.2)."""
        self._live.tell(job.tenant_id, job.data_sync_job_id)
        if job.is_ended:
            _log_end(job)

    def tell(self, tx: SyncTransaction, job: SyncJob, now: datetime) -> None:
        """Events, log row, audit entry and alert of a job that ended, in the caller's transaction."""
        tx.outbox.append(notices.ended(self._ids, job, now))
        message = f"{job.sync_type.name} sync {job.status.name}. {notices.message_of(job)}".strip()
        details = {
            "dataSyncJobId": str(job.data_sync_job_id),
            "status": job.status.name,
            "recordsProcessed": job.records_processed,
            "recordsFailed": job.records_failed,
        }
        level = {SyncStatus.Failed: LogLevel.Error, SyncStatus.PartialSuccess: LogLevel.Warning}.get(
            job.status, LogLevel.Information
        )
        log = IntegrationLog(
            self._ids.new(), job.integration_id, level, message, now, json.dumps(details), None, None
        )
        tx.integration_logs.append([log])
        action = f"datasync.{job.status.name.lower()}"
        tx.audit.append(job.tenant_id, AuditEntry(action, "datasync", job.data_sync_job_id, after=details))
        tx.signals.append([sync_signal(job, now)])
        if job.status == SyncStatus.Failed:
            integration = tx.integrations.find(job.integration_id)
            data = {
                **details,
                "integrationId": str(job.integration_id),
                "name": integration.name if integration else None,
                "detail": notices.message_of(job),
            }
            tx.occurrences.append(occurrence("sync-failed", data, now, tenant_id=job.tenant_id))

    # -- steps --------------------------------------------------------------------------------------------

    def _steps(
        self, job: SyncJob, integration: Integration | None, now: datetime
    ) -> list[Step] | BatchResult:
        if not is_usable(integration):
            detail = "The integration is not active any more."
            return BatchResult("failed", cause="integration-not-active", detail=detail)
        try:
            streams = self._sources.open(integration).streams
        except NotSynchronisable as reason:
            return BatchResult("failed", cause="not-synchronisable", detail=str(reason))
        except ProviderFailure as failure:
            if failure.kind == "unauthorized":
                self._lifecycle.authentication_failed(integration, failure.detail)
                return BatchResult("failed", cause="authentication", detail=failure.detail)
            if failure.kind == "unavailable":
                raise Unavailable(failure.detail) from failure
            return BatchResult("failed", cause=failure.kind, detail=failure.detail)
        with self._transactions.write() as tx:
            steps = [
                self._step(tx, job, position, profile, direction, now)
                for position, (profile, direction) in enumerate(_wanted(job.direction, streams))
            ]
            tx.sync_jobs.add_steps(steps)
            total = sum(step.total or 0 for step in steps)
            tx.sync_jobs.move(
                replace(job, stage="planned", records_total=total, live_at=now), SyncStatus.Running
            )
            tx.commit()
        return steps

    def _step(
        self,
        tx: SyncTransaction,
        job: SyncJob,
        position: int,
        profile: StreamProfile,
        direction: SyncDirection,
        now: datetime,
    ) -> Step:
        is_full = job.sync_type == SyncType.Full
        state = tx.sync_settings.stream(job.tenant_id, job.integration_id, profile.name)
        checkpoint = Checkpoint(began_at=now)
        generation, phase, total = state.generation, Phase.List, state.last_total if is_full else None
        if direction == SyncDirection.Export:
            phase = Phase.Push
            total = tx.sync_records.count_export(
                job.tenant_id, job.integration_id, profile.name, everything=is_full
            )
        elif is_full:
            generation += 1
            tx.sync_settings.set_stream(job.tenant_id, replace(state, generation=generation))
        elif job.sync_type == SyncType.Incremental and profile.incremental == "since":
            checkpoint = replace(checkpoint, since=state.since)
        elif job.sync_type == SyncType.Incremental and profile.incremental == "token" and state.state:
            context = state_context(job.integration_id, profile.name)
            checkpoint = replace(checkpoint, state=self._cipher.open(state.state, context=context))
        sealed = self._cipher.seal(
            checkpoint.to_text(), context=checkpoint_context(job.data_sync_job_id, position)
        )
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

    @staticmethod
    def _ended(job: SyncJob, outcome: BatchResult, now: datetime) -> SyncJob:
        ended = replace(job, completed_at=now, waiting_until=None)
        if outcome.state == "done":
            handled = job.records_processed + job.records_failed
            return replace(
                ended, status=final_status(job.records_failed), records_total=handled, stage="done"
            )
        detail = outcome.detail or "The job could not go on."
        log = error_log(outcome.cause or "internal", detail, now, resumable=True)
        return replace(ended, status=SyncStatus.Failed, error_code=outcome.cause or "internal", error_log=log)


def _about(job: SyncJob) -> dict[str, Any]:
    """What every line of the log says of a job."""
    return {
        "dataSyncJobId": str(job.data_sync_job_id),
        "integrationId": str(job.integration_id),
        "tenantId": str(job.tenant_id),
        "syncType": job.sync_type.name,
        "direction": job.direction.name,
        **trace_fields(job.traceparent),
    }


def _log_end(job: SyncJob) -> None:
    begun, ended = job.started_at or job.created_at, job.completed_at or job.created_at
    logger.log(
        _LINES.get(job.status, logging.INFO),
        "sync job ended",
        extra={
            **_about(job),
            "status": job.status.name,
            "recordsProcessed": job.records_processed,
            "recordsFailed": job.records_failed,
            "durationMs": int((ended - begun).total_seconds() * 1000),
            "error": job.error_code,
        },
    )


def _wanted(
    direction: SyncDirection, streams: Sequence[StreamProfile]
) -> list[tuple[StreamProfile, SyncDirection]]:
    """Imports come first: what they bring in may settle what is to go out (BR-DS-07)."""
    wanted: list[tuple[StreamProfile, SyncDirection]] = []
    if direction != SyncDirection.Export:
        wanted += [(stream, SyncDirection.Import) for stream in streams]
    if direction != SyncDirection.Import:
        wanted += [(stream, SyncDirection.Export) for stream in streams if stream.exportable]
    return wanted
