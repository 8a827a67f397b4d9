"""The dispatcher: waiting jobs start, the queue is told of them, and jobs that went silent are revived."""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock, IdGenerator, QueueMessage, QueueSender
from domain.core.slots import EAGER, may_take
from domain.core.transaction import Transactions
from domain.integrations.model import Integration
from domain.journal.event_types import HubEvent
from domain.journal.events import DomainEvent
from domain.providers.contract import IntegrationType
from domain.sync.execution import ExecutionLog
from domain.sync.job_runs import JobRuns
from domain.sync.model import BatchResult, SyncJob
from domain.sync.ports import AlreadyRuns, SyncTransaction, WaitingJob
from domain.sync.rules import TIMED_OUT, TIMEOUT

logger = logging.getLogger("hub.sync")

SYNC_JOBS_QUEUE = "sync-jobs"
#: How far ahead the scheduler looks, which is its own interval (section 14.1).
AHEAD = timedelta(minutes=15)
#: Of so many places one is always kept for a tenant without any.
_MANY_PLACES = 8
#: A running job that stored nothing for this long counts as silent.
SILENCE = timedelta(minutes=2)
_MOST_RESTARTS = 5
_JOBS_READ = 1_000


@dataclass(frozen=True, slots=True)
class JobStart:
    """A run of a job that the caller has to start as an orchestration."""

    data_sync_job_id: UUID
    run_number: int
    traceparent: str | None = None

    def to_wire(self) -> dict[str, object]:
        return {"jobId": str(self.data_sync_job_id), "run": self.run_number}


def nudge(
    job_id: UUID | None = None, *, at: datetime | None = None, cancel: int | None = None
) -> QueueMessage:
    """Return a message for the queue `sync-jobs`: start what can start, and end the run `cancel` of the job."""
    body = {"jobId": str(job_id) if job_id else None, "cancel": cancel}
    return QueueMessage(json.dumps(body), scheduled_at=at)


#: What tells that a calendar was connected; one without OAuth is connected when it is enabled.
AUTHORIZED, _ENABLED = HubEvent.IntegrationAuthorized, HubEvent.CalendarSyncEnabled


class InitialSyncs:
    """Consumes the events of calendars that were connected, and requests their first import."""

    def __init__(self, queue: QueueSender) -> None:
        self._queue = queue

    def consume(self, events: Sequence[DomainEvent]) -> None:
        """Queue a request for each event; a repeat requests the same job again. Raises Unavailable."""
        messages = [
            message
            for event in events
            if event.is_of_hub(AUTHORIZED, _ENABLED)
            for message in _initial(event)
        ]
        if messages:
            self._queue.send(SYNC_JOBS_QUEUE, messages)


def _initial(event: DomainEvent) -> list[QueueMessage]:
    data = json.loads(event.data)
    if data.get("integrationType") not in (None, "CalendarSync"):
        return []
    initial = {
        "tenantId": str(event.tenant_id),
        "integrationId": data["integrationId"],
        "eventId": event.event_id,
        "eventType": event.type,
        "traceparent": event.traceparent,
    }
    return [QueueMessage(json.dumps({"initial": initial}))]


class PushedSyncs:
    """Takes a provider's word that something of a calendar changed: its standing sync is to go on at once."""

    def __init__(self, queue: QueueSender) -> None:
        self._queue = queue

    def request(self, integration: Integration, traceparent: str | None = None) -> None:
        """Queue it; what is lost is made up for by the schedule, so that an outage refuses no push."""
        if integration.integration_type != IntegrationType.CalendarSync:
            return
        push = {"integrationId": str(integration.integration_id), "traceparent": traceparent}
        try:
            self._queue.send(SYNC_JOBS_QUEUE, [QueueMessage(json.dumps({"push": push}))])
        except Unavailable:
            about = {"integration": str(integration.integration_id)}
            logger.warning("push not passed on, left to the schedule", extra=about)


class Dispatcher:
    """Starts waiting jobs, at most `most` at a time (9.2); tenants take turns, and none takes all of the places."""

    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        queue: QueueSender,
        runs: JobRuns,
        *,
        clock: Clock,
        ids: IdGenerator,
        most: int,
    ) -> None:
        self._transactions = transactions
        self._queue = queue
        self._runs = runs
        self._clock = clock
        self._ids = ids
        self._most = most
        self._kept = 1 if most >= _MANY_PLACES else 0

    def claim(self) -> list[JobStart]:
        """Start waiting jobs in the free places; the caller starts the runs, or `silent` finds them later.

        Raises Unavailable."""
        now = self._clock.now()
        with self._transactions.read() as tx:
            taken = tx.sync_jobs.taken()
            waiting = tx.sync_jobs.waiting(now, _JOBS_READ)
        free = deque(sorted(set(range(self._most)) - {slot for slot, _ in taken}))
        held = Counter(tenant for _, tenant in taken)
        started: list[JobStart] = []
        for job in in_turn(waiting, held):
            # A tenant's jobs, which may last for an hour, leave places to those who come next.
            if not may_take(held[job.tenant_id], len(free), eagerness=EAGER, kept=self._kept):
                continue
            while free:
                starts = self._claim(job, free.popleft(), now)
                if starts is not None:
                    started += starts
                    held[job.tenant_id] += len(starts)
                    break
            if not free:
                break
        return started

    def queue_due(self) -> int:
        """Tell the queue, to the second, of the jobs due within the next 15 minutes. Raises Unavailable."""
        now = self._clock.now()
        with self._transactions.read() as tx:
            jobs = tx.sync_jobs.to_queue(now + AHEAD, _JOBS_READ)
        if jobs:
            nudges = [nudge(job.data_sync_job_id, at=job.scheduled_at) for job in jobs]
            self._queue.send(SYNC_JOBS_QUEUE, nudges)
            with self._transactions.write() as tx:
                tx.sync_jobs.mark_queued([job.data_sync_job_id for job in jobs], now)
                tx.commit()
        return len(jobs)

    def silent(self) -> list[SyncJob]:
        """Return running jobs that gave no sign of life for `SILENCE`."""
        with self._transactions.read() as tx:
            return tx.sync_jobs.silent(self._clock.now() - SILENCE, _JOBS_READ)

    def mark_alive(self, job: SyncJob) -> None:
        with self._transactions.write() as tx:
            tx.sync_jobs.touch(job.data_sync_job_id, self._clock.now(), waiting_until=job.waiting_until)
            tx.commit()

    def revive(self, job: SyncJob) -> JobStart | None:
        """Begin a new run, from the checkpoint, of a job whose orchestration is gone.

        None after too many runs, or when the time is up: then the job ends as Failed."""
        now = self._clock.now()
        is_timed_out = now > (job.run_started_at or now) + TIMEOUT
        if is_timed_out or job.restarts >= _MOST_RESTARTS:
            interrupted = BatchResult.failed("interrupted", "The job was interrupted too often.")
            result = TIMED_OUT if is_timed_out else interrupted
            self._runs.conclude(job.data_sync_job_id, job.run_number, result, was_lost=True)
            return None
        with self._transactions.write() as tx:
            if not tx.sync_jobs.restart(job, now):
                return None
            ExecutionLog(tx, self._ids, job, now).resumed(f"The execution of run {job.run_number} was lost.")
            tx.commit()
        run = job.run_number + 1
        logger.warning("sync job revived", extra={"job": str(job.data_sync_job_id), "run": run})
        return JobStart(job.data_sync_job_id, run, job.traceparent)

    def _claim(self, waiting: WaitingJob, slot: int, now: datetime) -> list[JobStart] | None:
        """Start the job in the place; None when that is taken, an empty list when the job waits no more."""
        try:
            with self._transactions.write() as tx:
                if not tx.sync_jobs.claim(waiting.data_sync_job_id, slot, now):
                    return []
                job = tx.sync_jobs.find(waiting.data_sync_job_id)
                assert job is not None
                ExecutionLog(tx, self._ids, job, now).started()
                tx.commit()
        except AlreadyRuns:
            with self._transactions.read() as tx:
                still = tx.sync_jobs.waiting(now, _JOBS_READ)
            return None if any(job.data_sync_job_id == waiting.data_sync_job_id for job in still) else []
        return [JobStart(job.data_sync_job_id, job.run_number, job.traceparent)]


def in_turn(waiting: Sequence[WaitingJob], running: Counter[UUID]) -> list[WaitingJob]:
    """Return the jobs so that tenants take turns: those with the fewest running jobs first, oldest jobs first."""
    queues: dict[UUID, deque[WaitingJob]] = {}
    for job in waiting:
        queues.setdefault(job.tenant_id, deque()).append(job)
    load = Counter(running)
    order: list[WaitingJob] = []
    while queues:
        tenant = min(queues, key=lambda id_: (load[id_], queues[id_][0].scheduled_at, id_))
        order.append(queues[tenant].popleft())
        load[tenant] += 1
        if not queues[tenant]:
            del queues[tenant]
    return order
