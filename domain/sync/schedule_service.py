"""Use cases of schedules: a person sets them, a timer creates jobs of them every 15 minutes (section 14.1)."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid5

from domain.core.errors import NotFound, RuleViolation, check_version
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal
from domain.core.tracing import UNTRACED, SpanKind, Tracer
from domain.core.transaction import Transactions, repeated
from domain.integrations.access import reached
from domain.integrations.model import IntegrationLog, LogLevel
from domain.journal.audit import AuditEntry
from domain.sync.dispatch import AHEAD, Dispatcher
from domain.sync.model import JobOrigin, SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import SyncTransaction
from domain.sync.rules import check_integration, is_usable
from domain.sync.schedules import PutSchedule, SyncSchedule, check_schedule, schedule_state
from domain.sync.service import SyncService, check_direction

logger = logging.getLogger("hub.sync")


class ScheduleService:
    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        service: SyncService,
        dispatcher: Dispatcher,
        *,
        clock: Clock,
        ids: IdGenerator,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._service = service
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._tracer = tracer

    def get(self, principal: Principal, integration_id: UUID) -> SyncSchedule:
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
            reached(principal, INTEGRATION_MANAGE, found)
            return tx.sync_settings.schedule(principal.tenant_id, integration_id)

    @repeated
    def put(
        self, principal: Principal, integration_id: UUID, command: PutSchedule, if_match: int | None
    ) -> SyncSchedule:
        """Replace the schedule. Raises NotFound, ValidationFailed, Conflict, PreconditionFailed."""
        now = self._clock.now()
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
        integration = reached(principal, INTEGRATION_MANAGE, found)
        direction = SyncDirection[command.direction]
        if direction != SyncDirection.Import or self._service.takes_events(integration):
            check_direction(direction, self._service.streams(check_integration(integration)))
        wanted = SyncSchedule(
            integration_id=integration_id,
            tenant_id=principal.tenant_id,
            sync_type=SyncType[command.sync_type],
            direction=direction,
            expression=command.expression,
            interval_minutes=command.interval_minutes,
            is_enabled=command.is_enabled,
            next_run_at=None,
            modified_at=now,
            modified_by=principal.user_id,
        )
        check_schedule(wanted, now)
        with self._transactions.write() as tx:
            version, before = 0, None
            with suppress(NotFound):
                old = tx.sync_settings.schedule(principal.tenant_id, integration_id)
                version, before = old.version, schedule_state(old)
            check_version("schedule", if_match, version)
            next_run = wanted.after(now) if wanted.is_enabled else None
            stored = replace(wanted, next_run_at=next_run, version=version)
            tx.sync_settings.set_schedule(principal.tenant_id, stored)
            action = "datasync.scheduled"
            entry = AuditEntry(
                action, "integration", integration_id, principal, before, schedule_state(stored)
            )
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return replace(stored, version=version + 1)

    def create_due_jobs(self) -> tuple[int, int]:
        """Create and queue the jobs of the next 15 minutes, to the second; return how many of each.

        A repeat creates nothing twice. Raises Unavailable."""
        horizon = self._clock.now() + AHEAD
        with self._transactions.read() as tx:
            due = tx.sync_settings.due(horizon, 500)
        created = sum(self._create_occurrences(schedule, horizon) for schedule in due)
        return created, self._dispatcher.queue_due()

    def _create_occurrences(self, schedule: SyncSchedule, horizon: datetime) -> int:
        """Create the jobs of one schedule up to the horizon; of missed occurrences only the latest gets one."""
        created, current = 0, schedule
        while current.next_run_at is not None and current.next_run_at < horizon:
            moment, following = current.missed_until(self._clock.now())
            added = self._create_occurrence(current, moment, following)
            if added is None:
                return created
            created += added
            current = replace(current, next_run_at=following)
        return created

    def _create_occurrence(self, schedule: SyncSchedule, moment: datetime, following: datetime) -> int | None:
        """Create the job of an occurrence; None when another run of the timer took it."""
        now = self._clock.now()
        with self._transactions.write() as tx:
            if not tx.sync_settings.move_on(schedule, following):
                return None
            integration = tx.integrations.find(schedule.integration_id)
            created = 0
            if is_usable(integration):
                job = SyncJob(
                    data_sync_job_id=uuid5(schedule.integration_id, f"schedule/{moment.isoformat()}"),
                    tenant_id=schedule.tenant_id,
                    integration_id=schedule.integration_id,
                    sync_type=schedule.sync_type,
                    direction=schedule.direction,
                    status=SyncStatus.Scheduled,
                    scheduled_at=moment,
                    created_at=now,
                    created_by=schedule.modified_by,
                    origin=JobOrigin.Schedule,
                )
                with self._tracer.span("schedule_sync", SpanKind.Internal) as span:
                    created = self._add(tx, replace(job, traceparent=span.traceparent), now)
            tx.commit()
        return created

    def _add(self, tx: SyncTransaction, job: SyncJob, now: datetime) -> int:
        tx.users.lock_tenant(job.tenant_id)
        if tx.sync_jobs.is_resumed(job.tenant_id, job.integration_id, job.sync_type):
            detail = f"A {job.sync_type.name} sync that timed out is still going on."
            return self._leave_out(tx, job, "sync-goes-on", detail, now=now)
        try:
            self._service.add(tx, job, is_queued=False)  # `queue_due` does it, to the second
        except RuleViolation as reason:
            return self._leave_out(tx, job, reason.code, reason.detail, now=now)
        return 1

    def _leave_out(self, tx: SyncTransaction, job: SyncJob, code: str, detail: str, *, now: datetime) -> int:
        details = json.dumps({"code": code, "scheduledAt": job.scheduled_at.isoformat()})
        message = f"A scheduled sync was left out: {detail}"
        level, log_id = LogLevel.Information, self._ids.new()
        log = IntegrationLog(log_id, job.integration_id, level, message, now, details)
        tx.integration_logs.append([log])
        return 0
