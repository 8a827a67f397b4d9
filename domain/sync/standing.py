"""The standing sync of a calendar (UC-IM-03 step 5): a first import, a default schedule, and what a push continues."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from domain.core.errors import Conflict, NotFound, PreconditionFailed, Unavailable, ValidationFailed
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions, repeated
from domain.integrations.connection import Catalogue
from domain.integrations.model import Integration
from domain.journal.audit import AuditEntry
from domain.providers.contract import IntegrationType
from domain.sync.dispatch import AUTHORIZED, Dispatcher
from domain.sync.model import JobOrigin, SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import SyncTransaction
from domain.sync.rules import check_integration, is_usable, push_moment
from domain.sync.schedules import SyncSchedule, schedule_state
from domain.sync.service import SyncService

logger = logging.getLogger("hub.sync")

_DEFAULT_MINUTES = 60
_PUSHES_SINCE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Connected:
    """The event by which a calendar was connected: `IntegrationAuthorized`, or `CalendarSyncEnabled` without OAuth."""

    tenant_id: UUID
    integration_id: UUID
    event_id: str
    event_type: str = AUTHORIZED
    traceparent: str | None = None


class StandingSyncs:
    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        service: SyncService,
        dispatcher: Dispatcher,
        catalogue: Catalogue,
        *,
        clock: Clock,
        ids: IdGenerator,
    ) -> None:
        self._transactions = transactions
        self._service = service
        self._dispatcher = dispatcher
        self._catalogue = catalogue
        self._clock = clock
        self._ids = ids

    def begin(self, connected: Connected) -> SyncJob | None:
        """Create a full import, once for each event, and the default schedule where there is none yet.

        Returns the import, None where there is none to make. Raises Unavailable."""
        integration = self._calendar(connected)
        if integration is None:
            return None
        try:
            streams = self._service.streams(check_integration(integration))
        except (Conflict, ValidationFailed) as reason:
            self._log_left_out(integration, reason)
            return None
        job = None
        if connected.event_type == AUTHORIZED or integration.last_sync_time is None:
            try:
                job = self._import(integration, connected)
            except Conflict as reason:  # another full sync of the day
                self._log_left_out(integration, reason)
        self._set_default(integration, is_exportable=any(stream.exportable for stream in streams))
        self._queue_due()
        return job

    def push(self, integration_id: UUID, traceparent: str | None = None) -> SyncJob | None:
        """Continue the schedule's sync now, as the provider says that something changed.

        - At most once a minute; several pushes become one job. It does not count for BR-DS-02.
        - None for what is no calendar in use, or has no enabled schedule. Raises Unavailable."""
        job = self._pushed(integration_id, traceparent)
        if job is not None:
            self._queue_due()
        return job

    # -- steps --------------------------------------------------------------------------------------------

    def _calendar(self, connected: Connected) -> Integration | None:
        with self._transactions.read() as tx:
            found = tx.integrations.find(connected.integration_id)
        if found is None or found.tenant_id != connected.tenant_id:
            return None
        if found.integration_type != IntegrationType.CalendarSync:
            return None
        if connected.event_type != AUTHORIZED and self._catalogue.get(found.provider).profile.oauth:
            return None  # its authorisation tells of it
        return found

    @repeated
    def _pushed(self, integration_id: UUID, traceparent: str | None) -> SyncJob | None:
        now = self._clock.now()
        with self._transactions.write() as tx:
            integration = tx.integrations.find(integration_id)
            if not is_usable(integration) or integration.integration_type != IntegrationType.CalendarSync:
                return None
            tx.users.lock_tenant(integration.tenant_id)
            schedule = _schedule_of(tx, integration)
            if schedule is None or not schedule.is_enabled:
                return None
            if tx.sync_jobs.is_resumed(integration.tenant_id, integration_id, SyncType.Incremental):
                return None  # as for a schedule's occurrence: what goes on from its checkpoint goes first
            last = tx.sync_jobs.latest(integration_id, JobOrigin.Push, now - _PUSHES_SINCE)
            if last is not None and last.status == SyncStatus.Scheduled:
                return last
            job = SyncJob(
                data_sync_job_id=self._ids.new(),
                tenant_id=integration.tenant_id,
                integration_id=integration_id,
                sync_type=SyncType.Incremental,
                direction=schedule.direction,
                status=SyncStatus.Scheduled,
                scheduled_at=push_moment(now, last.scheduled_at if last else None),
                created_at=now,
                created_by=integration.owner,
                origin=JobOrigin.Push,
                traceparent=traceparent,
            )
            self._service.add(tx, job, is_queued=False)
            tx.commit()
        return job

    @repeated
    def _import(self, integration: Integration, connected: Connected) -> SyncJob:
        now, integration_id = self._clock.now(), integration.integration_id
        job = SyncJob(
            data_sync_job_id=uuid5(integration_id, f"authorized/{connected.event_id}"),
            tenant_id=integration.tenant_id,
            integration_id=integration_id,
            sync_type=SyncType.Full,
            direction=SyncDirection.Import,
            status=SyncStatus.Scheduled,
            scheduled_at=now,
            created_at=now,
            created_by=integration.owner,
            origin=JobOrigin.Authorization,
            traceparent=connected.traceparent,
        )
        with self._transactions.write() as tx:
            tx.users.lock_tenant(integration.tenant_id)
            if tx.sync_jobs.find(job.data_sync_job_id) is None:
                job = self._service.add(tx, job, is_queued=False)
                tx.commit()
        return job

    @repeated
    def _set_default(self, integration: Integration, *, is_exportable: bool) -> None:
        """Make the hourly schedule; one that exists is a person's, or may have been changed by one, and stays."""
        now = self._clock.now()
        schedule = default_schedule(integration, now, is_exportable=is_exportable)
        # Another process was first.
        with suppress(PreconditionFailed), self._transactions.write() as tx:
            if _schedule_of(tx, integration) is not None:
                return
            tx.sync_settings.set_schedule(integration.tenant_id, schedule)
            action, after = "datasync.scheduled", schedule_state(schedule)
            entry = AuditEntry(action, "integration", integration.integration_id, None, after=after)
            tx.audit.append(integration.tenant_id, entry)
            tx.commit()

    def _queue_due(self) -> None:
        try:
            self._dispatcher.queue_due()
        except Unavailable:
            # The job is stored; the timer of every minute finds it.
            logger.warning("sync nudge lost, left to the timer")

    @staticmethod
    def _log_left_out(integration: Integration, reason: Conflict | ValidationFailed) -> None:
        about = {"integration": str(integration.integration_id), "why": reason.detail}
        logger.info("no initial sync", extra=about)


def default_schedule(integration: Integration, now: datetime, *, is_exportable: bool) -> SyncSchedule:
    """Return the schedule of a new calendar: every hour, in both directions where the provider takes records."""
    return SyncSchedule(
        integration_id=integration.integration_id,
        tenant_id=integration.tenant_id,
        sync_type=SyncType.Incremental,
        direction=SyncDirection.Bidirectional if is_exportable else SyncDirection.Import,
        expression=None,
        interval_minutes=_DEFAULT_MINUTES,
        is_enabled=True,
        next_run_at=now + timedelta(minutes=_DEFAULT_MINUTES),
        modified_at=now,
        modified_by=integration.owner,
    )


def _schedule_of(tx: SyncTransaction, integration: Integration) -> SyncSchedule | None:
    try:
        return tx.sync_settings.schedule(integration.tenant_id, integration.integration_id)
    except NotFound:
        return None
