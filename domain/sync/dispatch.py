"""Which waiting jobs start, how the queue is told, and what becomes of jobs that went silent."""

from __future__ import annotations

import json
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from domain.core.ports import Clock, QueueMessage, QueueSender
from domain.core.principal import guid
from domain.core.transaction import Transactions
from domain.journal.events import DomainEvent
from domain.sync.job_runs import JobRuns
from domain.sync.model import BatchResult, SyncJob
from domain.sync.ports import AlreadyRuns, SyncTransaction, WaitingJob
from domain.sync.rules import TIMEOUT

logger = logging.getLogger("hub.sync")

SYNC_JOBS_QUEUE = "sync-jobs"
#: The event of domain.oauth.
AUTHORIZED = "IntegrationAuthorized"
#: The scheduler's pace (section 14.1): how far ahead it looks.
AHEAD = timedelta(minutes=15)
#: A running job that stored nothing for this long is looked at.
SILENCE = timedelta(minutes=2)
_MOST_RESTARTS = 5
_LOOKED_AT = 1_000


@dataclass(frozen=True, slots=True)
class JobStart:
    """A job that is to be started as an orchestration."""

    data_sync_job_id: UUID
    run_number: int
    traceparent: str | None = None

    def to_wire(self) -> dict[str, object]:
        return {"jobId": str(self.data_sync_job_id), "run": self.run_number}


def nudge(
    job_id: UUID | None = None, *, at: datetime | None = None, cancel: int | None = None
) -> QueueMessage:
    """A message for the queue `sync-jobs`: look what can start; with `cancel`, end that run of the job."""
    body = {"jobId": str(job_id) if job_id else None, "cancel": cancel}
    return QueueMessage(json.dumps(body), scheduled_at=at)


class InitialSyncs:
    """Consumes `IntegrationAuthorized`: asks for the first import of what was just authorised (UC-IM-03 step 5)."""

    def __init__(self, queue: QueueSender) -> None:
        self._queue = queue

    def consume(self, events: Sequence[DomainEvent]) -> None:
        """Raises Unavailable; a repeat asks for the same job again."""
        messages = [message for event in events if event.type == AUTHORIZED for message in _initial(event)]
        if messages:
            self._queue.send(SYNC_JOBS_QUEUE, messages)


def _initial(event: DomainEvent) -> list[QueueMessage]:
    try:
        data = json.loads(event.data)
    except RecursionError:
        return []
    integration_id = guid(data.get("integrationId")) if isinstance(data, dict) else None
    if integration_id is None or data.get("integrationType") not in (None, "CalendarSync"):
        return []
    body = {
        "initial": {
            "tenantId": str(event.tenant_id),
            "integrationId": str(integration_id),
            "eventId": event.event_id,
            "traceparent": event.traceparent,
        }
    }
    return [QueueMessage(json.dumps(body))]


class Dispatcher:
    """`most` jobs run at a time (9.2); the rest wait, and tenants take turns."""

    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        queue: QueueSender,
        runs: JobRuns,
        clock: Clock,
        *,
        most: int,
    ) -> None:
        self._transactions = transactions
        self._queue = queue
        self._runs = runs
        self._clock = clock
        self._most = most

    def claim(self) -> list[JobStart]:
        """Give free places to waiting jobs. Whoever calls it starts their orchestrations; those it does not get to
        are found by `silent`. Raises Unavailable."""
        now = self._clock.now()
        with self._transactions.read() as tx:
            taken = tx.sync_jobs.taken()
            waiting = tx.sync_jobs.waiting(now, _LOOKED_AT)
        free = deque(sorted(set(range(self._most)) - {slot for slot, _ in taken}))
        started: list[JobStart] = []
        for one in in_turn(waiting, Counter(tenant for _, tenant in taken)):
            while free:
                begun = self._claim(one, free.popleft(), now)
                if begun is not None:
                    started += begun
                    break
            if not free:
                break
        return started

    def queue_due(self) -> int:
        """Tell the queue, to the second, of the jobs due within the next 15 minutes. Raises Unavailable."""
        now = self._clock.now()
        with self._transactions.read() as tx:
            jobs = tx.sync_jobs.to_queue(now + AHEAD, _LOOKED_AT)
        if jobs:
            self._queue.send(
                SYNC_JOBS_QUEUE, [nudge(job.data_sync_job_id, at=job.scheduled_at) for job in jobs]
            )
            with self._transactions.write() as tx:
                tx.sync_jobs.mark_queued([job.data_sync_job_id for job in jobs], now)
                tx.commit()
        return len(jobs)

    def silent(self) -> list[SyncJob]:
        """Running jobs that gave no sign of life for a while."""
        with self._transactions.read() as tx:
            return tx.sync_jobs.silent(self._clock.now() - SILENCE, _LOOKED_AT)

    def alive(self, job: SyncJob) -> None:
        """Its orchestration is there after all."""
        with self._transactions.write() as tx:
            tx.sync_jobs.touch(job.data_sync_job_id, self._clock.now(), waiting_until=job.waiting_until)
            tx.commit()

    def revive(self, job: SyncJob) -> JobStart | None:
        """Its orchestration is gone: a new run from the checkpoint. None when it had too many, or its time is up;
        then it has failed, resumable."""
        now = self._clock.now()
        began = job.run_started_at or now
        if job.restarts >= _MOST_RESTARTS or now > began + TIMEOUT:
            cause, detail = "timeout", "The job ran for 60 minutes."
            if now <= began + TIMEOUT:
                cause, detail = "interrupted", "The job was interrupted too often."
            self._runs.conclude(
                job.data_sync_job_id, job.run_number, BatchResult("failed", cause=cause, detail=detail)
            )
            return None
        with self._transactions.write() as tx:
            begun = tx.sync_jobs.restart(job, now)
            tx.commit()
        if not begun:
            return None
        logger.warning(
            "sync job revived", extra={"job": str(job.data_sync_job_id), "run": job.run_number + 1}
        )
        return JobStart(job.data_sync_job_id, job.run_number + 1, job.traceparent)

    def _claim(self, one: WaitingJob, slot: int, now: datetime) -> list[JobStart] | None:
        """None when the place went to someone else; nothing when the job did."""
        try:
            with self._transactions.write() as tx:
                if not tx.sync_jobs.claim(one.data_sync_job_id, slot, now):
                    return []
                job = tx.sync_jobs.find(one.data_sync_job_id)
                tx.commit()
        except AlreadyRuns:
            with self._transactions.read() as tx:
                runs = tx.sync_jobs.waiting(now, _LOOKED_AT)
            return None if any(other.data_sync_job_id == one.data_sync_job_id for other in runs) else []
        assert job is not None
        return [JobStart(job.data_sync_job_id, job.run_number, job.traceparent)]


def in_turn(waiting: Sequence[WaitingJob], running: Counter[UUID]) -> list[WaitingJob]:
    """Tenants take turns, those with the fewest jobs running first, and each tenant's oldest job first."""
    queues: dict[UUID, deque[WaitingJob]] = {}
    for one in waiting:
        queues.setdefault(one.tenant_id, deque()).append(one)
    load = Counter(running)
    order: list[WaitingJob] = []
    while queues:
        tenant = min(queues, key=lambda one: (load[one], queues[one][0].scheduled_at, one))
        order.append(queues[tenant].popleft())
        load[tenant] += 1
        if not queues[tenant]:
            del queues[tenant]
    return order
