"""Use cases of synchronisation jobs (sections 4.4 and 5.4)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from pydantic import Field

from domain.core.errors import Conflict, NotFound, Unavailable
from domain.core.paging import Page, PageRequest
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock, IdGenerator, QueueMessage, QueueSender
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.core.wire import Command, UtcMoment
from domain.integrations.access import is_own_calendar, reached, reaches_own_only
from domain.integrations.model import Integration
from domain.journal.audit import AuditEntry
from domain.providers.contract import ProviderFailure
from domain.providers.records import StreamProfile
from domain.sync import notices
from domain.sync.chains import last_of_chain
from domain.sync.dispatch import AHEAD, SYNC_JOBS_QUEUE, nudge
from domain.sync.execution import ExecutionLog
from domain.sync.job_runs import JobRuns
from domain.sync.model import (
    LogEntry,
    LogKind,
    Step,
    SyncDirection,
    SyncedRecord,
    SyncJob,
    SyncStatus,
    SyncType,
    error_log,
)
from domain.sync.ports import JobFilter, SyncTransaction
from domain.sync.rules import (
    APART,
    check_apart,
    check_integration,
    check_scheduled_at,
    is_bounded,
    runs_at,
    uncounted,
)
from domain.sync.schedules import DirectionName, SyncTypeName
from domain.sync.sources import NotSynchronisable, Sources


class StartSync(Command):
    """Body of `POST /api/datasyncs`."""

    integration_id: UUID = Field(strict=False)
    sync_type: SyncTypeName = "Incremental"
    direction: DirectionName = "Import"
    scheduled_at: UtcMoment | None = Field(None, strict=False, description="When to run; now when absent")


logger = logging.getLogger("hub.sync")


class SyncService:
    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        sources: Sources,
        *,
        runs: JobRuns,
        queue: QueueSender,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._transactions = transactions
        self._sources = sources
        self._runs = runs
        self._queue = queue
        self._clock = clock
        self._ids = ids

    @repeated
    def start(self, principal: Principal, command: StartSync) -> SyncJob:
        """Create a job (UC-DS-01).

        Raises ValidationFailed (7.4), Conflict, and RuleViolation when another job is too near."""
        is_own_only = reaches_own_only(principal, INTEGRATION_MANAGE)
        now = self._clock.now()
        scheduled_at = command.scheduled_at or now
        check_scheduled_at(scheduled_at, now)
        direction = SyncDirection[command.direction]
        with self._transactions.read() as tx:
            found = tx.integrations.find(command.integration_id)
        is_own = found is not None and found.tenant_id == principal.tenant_id
        if is_own_only and not (is_own and found is not None and is_own_calendar(principal, found)):
            raise NotFound("There is no such integration.")
        integration = check_integration(found if is_own else None)
        check_direction(direction, self.streams(integration))
        job = SyncJob(
            data_sync_job_id=self._ids.new(),
            tenant_id=principal.tenant_id,
            integration_id=integration.integration_id,
            sync_type=SyncType[command.sync_type],
            direction=direction,
            status=SyncStatus.Scheduled,
            scheduled_at=scheduled_at,
            created_at=now,
            created_by=principal.user_id,
        )
        with self._transactions.write() as tx:
            tx.users.lock_tenant(principal.tenant_id)
            job = self.add(tx, job, principal)
            tx.commit()
        if job.queued_at is not None:
            self._send(nudge(job.data_sync_job_id, at=scheduled_at if scheduled_at > now else None))
        return job

    def add(
        self, tx: SyncTransaction, job: SyncJob, principal: Principal | None = None, *, is_queued: bool = True
    ) -> SyncJob:
        """Store a new job, with the tenant locked; with `is_queued` the caller queues one that is due soon.

        Raises RuleViolation."""
        now = self._clock.now()
        _check_apart(tx, job)
        if is_queued and job.scheduled_at < now + AHEAD:
            job = replace(job, queued_at=now)
        if tx.sync_jobs.add(job.tenant_id, job):
            tx.outbox.append([notices.initiated_event(self._ids, job, now)])
            self._audit(tx, "datasync.created", job, principal)
        return job

    def page(self, principal: Principal, filter_: JobFilter, page: PageRequest) -> Page[SyncJob]:
        if reaches_own_only(principal, INTEGRATION_MANAGE):
            filter_ = replace(filter_, calendars_of=principal.user_id)
        with self._transactions.read() as tx:
            return tx.sync_jobs.page(principal.tenant_id, filter_, page)

    def get(self, principal: Principal, job_id: UUID) -> tuple[SyncJob, list[Step]]:
        """Return a job and its steps (UC-DS-03). Raises NotFound."""
        with self._transactions.read() as tx:
            return _reached_job(tx, principal, job_id), tx.sync_jobs.steps(job_id)

    def log(
        self, principal: Principal, job_id: UUID, kinds: Sequence[LogKind], page: PageRequest
    ) -> Page[LogEntry]:
        """Return what a job did and which records it refused; of all kinds when none is named. Raises NotFound."""
        with self._transactions.read() as tx:
            _reached_job(tx, principal, job_id)
            return tx.sync_jobs.entries(principal.tenant_id, job_id, kinds, page)

    def written(self, principal: Principal, job_id: UUID, page: PageRequest) -> Page[SyncedRecord]:
        with self._transactions.read() as tx:
            _reached_job(tx, principal, job_id)
            return tx.sync_records.of_job(principal.tenant_id, job_id, page)

    @repeated
    def cancel(self, principal: Principal, job_id: UUID) -> SyncJob:
        """Cancel a job at once; a repeat does nothing, and a running batch stores nothing any more.

        Of a chain the last job is cancelled, whichever of its jobs is named. Raises NotFound, Conflict."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            job = last_of_chain(tx, _reached_job(tx, principal, job_id))
            if job.status == SyncStatus.Cancelled:
                return job
            if job.is_ended:
                raise Conflict(f"The job already ended as {job.status.name}.", code="sync-ended")
            detail = f"Cancelled by hand; {job.records_processed:,} records were processed and are kept."
            cancelled = replace(
                job,
                status=SyncStatus.Cancelled,
                completed_at=now,
                waiting_until=None,
                error_code="cancelled",
                error_log=error_log("cancelled", detail, now),
            )
            if not tx.sync_jobs.move(cancelled, job.status):
                raise Conflict("The job changed at the same time; try again.")
            notices.record_end(tx, self._ids, cancelled, now)
            self._audit(tx, "datasync.cancelled-by-hand", cancelled, principal, before=job)
            tx.commit()
        self._send(nudge(job.data_sync_job_id, cancel=job.run_number))
        self._runs.announce_end(cancelled)
        return cancelled

    @repeated
    def resume(self, principal: Principal, job_id: UUID) -> SyncJob:
        """Continue a failed or cancelled job, as of now, from its checkpoint.

        Of a chain the last job is meant, which is returned as it is while it goes on. Raises NotFound, Conflict,
        ValidationFailed, RuleViolation."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            tx.users.lock_tenant(principal.tenant_id)
            named = _reached_job(tx, principal, job_id)
            job = last_of_chain(tx, named)
            if job is not named and not job.is_ended:
                return job
            if not job.is_resumable:
                left = "it has nothing left to do" if job.is_ended else "it has not ended"
                detail = f"A job that is {job.status.name} cannot be resumed: {left}."
                raise Conflict(detail, code="not-resumable")
            check_integration(tx.integrations.find(job.integration_id))
            resumed = replace(
                job,
                status=SyncStatus.Scheduled,
                scheduled_at=max(now, job.scheduled_at),
                completed_at=None,
                error_code=None,
                error_log=None,
                queued_at=now,
                rate=None,
                restarts=0,
                chain_run=1,
                chain_began_at=None,
            )
            _check_apart(tx, resumed)
            if not tx.sync_jobs.move(resumed, job.status):
                raise Conflict("The job changed at the same time; try again.")
            self._audit(tx, "datasync.resumed", resumed, principal, before=job)
            ExecutionLog(tx, self._ids, resumed, now).resumed("A person resumed the job.")
            tx.commit()
        self._send(nudge(job.data_sync_job_id))
        return resumed

    def streams(self, integration: Integration) -> list[StreamProfile]:
        """Return its streams. Raises Unavailable, Conflict for refused credentials or no records."""
        try:
            return list(self._sources.open(integration).streams)
        except NotSynchronisable as reason:
            raise Conflict(str(reason), code=reason.code) from None
        except ProviderFailure as failure:
            if failure.kind == "unavailable":
                raise Unavailable(failure.detail) from failure
            raise Conflict(failure.detail, code="not-synchronisable") from failure

    def takes_events(self, integration: Integration) -> bool:
        """Return whether its provider takes events and nothing else; it need not be connected."""
        return self._sources.sink_of(integration) is not None

    def _audit(
        self,
        tx: SyncTransaction,
        action: str,
        job: SyncJob,
        principal: Principal | None,
        *,
        before: SyncJob | None = None,
    ) -> None:
        old = None if before is None else {"status": before.status.name}
        after = {
            "integrationId": str(job.integration_id),
            "syncType": job.sync_type.name,
            "direction": job.direction.name,
            "status": job.status.name,
            "origin": job.origin.value,
        }
        entry = AuditEntry(action, "datasync", job.data_sync_job_id, principal, old, after)
        tx.audit.append(job.tenant_id, entry)

    def _send(self, message: QueueMessage) -> None:
        try:
            self._queue.send(SYNC_JOBS_QUEUE, [message])
        except Unavailable:
            # The job is stored; the timer of every minute finds it.
            logger.warning("sync nudge lost, left to the timer")


def _reached_job(tx: SyncTransaction, principal: Principal, job_id: UUID) -> SyncJob:
    """Return the job of an integration that the caller reaches. Raises NotFound, Forbidden."""
    is_own_only = reaches_own_only(principal, INTEGRATION_MANAGE)
    job = tx.sync_jobs.get(principal.tenant_id, job_id)
    if is_own_only:
        integration = tx.integrations.get(principal.tenant_id, job.integration_id)
        reached(principal, INTEGRATION_MANAGE, integration, what="synchronisation job")
    return job


def _check_apart(tx: SyncTransaction, job: SyncJob) -> None:
    if job.sync_type in APART and is_bounded(job.origin):
        at = runs_at(job.origin, job.scheduled_at, job.created_at)
        since = at - APART[job.sync_type][1]
        moments = tx.sync_jobs.moments(
            job.integration_id, job.sync_type, since, without=uncounted(job.origin)
        )
        check_apart(job.sync_type, at, moments)


def check_direction(direction: SyncDirection, streams: list[StreamProfile]) -> None:
    if direction != SyncDirection.Import and not any(stream.exportable for stream in streams):
        detail = "The provider does not accept records; only Import is possible."
        raise Conflict(detail, code="not-exportable")
    if direction != SyncDirection.Export and not any(stream.importable for stream in streams):
        detail = "The provider takes events and lists no records; only Export is possible."
        raise Conflict(detail, code="not-importable")
