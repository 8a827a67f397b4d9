"""Schedules: set by a person, run by the quarter-hourly timer (section 14.1)."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid5

from domain.core.errors import NotFound, RuleViolation, check_version
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal
from domain.core.tracing import UNTRACED, SpanKind, Tracer
from domain.core.transaction import Transactions, repeated
from domain.integrations.model import IntegrationLog, IntegrationStatus, LogLevel
from domain.journal.audit import AuditEntry
from domain.sync.dispatch import AHEAD, Dispatcher
from domain.sync.model import JobOrigin, SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import SyncTransaction
from domain.sync.rules import check_integration
from domain.sync.schedules import PutSchedule, SyncSchedule, check_schedule
from domain.sync.service import SyncService, check_direction

logger = logging.getLogger("hub.sync")

_SCHEDULES = 500


class ScheduleService:
    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        service: SyncService,
        dispatcher: Dispatcher,
        clock: Clock,
        ids: IdGenerator,
        *,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._service = service
        self._dispatcher = dispatcher
        self._clock = clock
        self._ids = ids
        self._tracer = tracer

    def get(self, principal: Principal, integration_id: UUID) -> SyncSchedule:
        """Raises NotFound."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.read() as tx:
            tx.integrations.get(principal.tenant_id, integration_id)
            return tx.sync_settings.schedule(principal.tenant_id, integration_id)

    @repeated
    def put(
        self, principal: Principal, integration_id: UUID, command: PutSchedule, if_match: int | None
    ) -> SyncSchedule:
        """Raises NotFound, ValidationFailed (also BR-DS-01 and BR-DS-02: too dense), Conflict,
        PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        now = self._clock.now()
        with self._transactions.read() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
        direction = SyncDirection[command.direction]
        if direction != SyncDirection.Import:
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
            version = self._version(tx, principal.tenant_id, integration_id)
            check_version("schedule", if_match, version)
            next_run = wanted.after(now) if wanted.is_enabled else None
            stored = replace(wanted, next_run_at=next_run, version=version)
            tx.sync_settings.set_schedule(principal.tenant_id, stored)
            tx.audit.append(
                principal.tenant_id,
                AuditEntry(
                    "datasync.scheduled",
                    "integration",
                    integration_id,
                    principal,
                    after=command.model_dump(by_alias=True),
                ),
            )
            tx.commit()
        return replace(stored, version=version + 1)

    def run(self) -> tuple[int, int]:
        """Every 15 minutes: make jobs of the occurrences of the next 15, and queue what is due by then, to the
        second. Returns how many of each. Repeating it makes nothing twice. Raises Unavailable."""
        horizon = self._clock.now() + AHEAD
        with self._transactions.read() as tx:
            due = tx.sync_settings.due(horizon, _SCHEDULES)
        made = 0
        for schedule in due:
            made += self._occur(schedule, horizon)
        return made, self._dispatcher.queue_due()

    def _occur(self, schedule: SyncSchedule, horizon: datetime) -> int:
        """All occurrences of one schedule up to the horizon; of those missed before now only the latest."""
        made, current = 0, schedule
        while current.next_run_at is not None and current.next_run_at < horizon:
            moment, following = current.missed_until(self._clock.now())
            try:
                made += self._make(current, moment, following)
            except _Lost:
                return made
            current = replace(current, next_run_at=following)
        return made

    def _make(self, schedule: SyncSchedule, moment: datetime, following: datetime) -> int:
        now = self._clock.now()
        with self._transactions.write() as tx:
            if not tx.sync_settings.move_on(schedule, following):
                raise _Lost
            integration = tx.integrations.find(schedule.integration_id)
            made = 0
            if (
                integration is not None
                and integration.status == IntegrationStatus.Active
                and integration.is_enabled
            ):
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
                    made = self._add(tx, replace(job, traceparent=span.traceparent), now)
            tx.commit()
        return made

    def _add(self, tx: SyncTransaction, job: SyncJob, now: datetime) -> int:
        tx.users.lock_tenant(job.tenant_id)
        try:
            self._service.add(tx, job, is_queued=False)  # `queue_due` does it, to the second
        except RuleViolation as reason:
            details = json.dumps({"code": reason.code, "scheduledAt": job.scheduled_at.isoformat()})
            message = f"A scheduled sync was left out: {reason.detail}"
            log = IntegrationLog(
                self._ids.new(), job.integration_id, LogLevel.Information, message, now, details
            )
            tx.integration_logs.append([log])
            return 0
        return 1

    @staticmethod
    def _version(tx: SyncTransaction, tenant_id: UUID, integration_id: UUID) -> int:
        try:
            return tx.sync_settings.schedule(tenant_id, integration_id).version
        except NotFound:
            return 0


class _Lost(Exception):
    """Another run of the timer took this occurrence."""
