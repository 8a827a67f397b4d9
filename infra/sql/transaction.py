"""The SQL unit of work: repositories over one connection, announcements after commit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from domain.core.errors import OutcomeUnknown, Unavailable
from domain.core.ports import Clock
from domain.core.transaction import note_effect
from domain.journal.audit import AuditRecord
from domain.journal.ports import EventRef
from domain.journal.usage import CountUsage, UsageCounts
from infra.sql.apikeys.repository import SqlApiKeys
from infra.sql.engine import Database
from infra.sql.failures import is_in_doubt
from infra.sql.incoming.repository import SqlIncomingWebhooks
from infra.sql.integrations.logs import SqlIntegrationLogs
from infra.sql.integrations.repository import SqlIntegrations
from infra.sql.journal.audit import SqlAudit
from infra.sql.journal.audit_tree import SqlAuditTree
from infra.sql.journal.bursts import SqlBursts
from infra.sql.journal.occurrences import SqlOccurrences
from infra.sql.journal.outbox import SqlOutbox
from infra.sql.journal.signals import SqlSignals
from infra.sql.journal.usage import SqlTenantUsages
from infra.sql.monitoring.alert_rules import SqlAlertConditions, SqlAlertRules, SqlNotifications
from infra.sql.monitoring.alerts import SqlAlerts
from infra.sql.monitoring.anomalies import SqlAnomalies, SqlSightings
from infra.sql.monitoring.metrics import SqlMetrics
from infra.sql.privacy.erasures import SqlErasures
from infra.sql.privacy.personal_data import SqlPersonalData
from infra.sql.recommendations.repository import SqlDecisions, SqlOutcomes, SqlPeerChecks
from infra.sql.sync.events import SqlSyncEvents
from infra.sql.sync.jobs import SqlSyncJobs
from infra.sql.sync.records import SqlSyncRecords
from infra.sql.sync.settings import SqlSyncSettings
from infra.sql.tenants.administration import SqlTenants
from infra.sql.tenants.repository import SqlUsers
from infra.sql.tenants.rows import SqlTenantRows
from infra.sql.tenants.standings import SqlStandings
from infra.sql.webhooks.deliveries import SqlDeliveries
from infra.sql.webhooks.loops import SqlLoops
from infra.sql.webhooks.pipeline import SqlDeliveryPipeline
from infra.sql.webhooks.repository import SqlWebhooks

logger = logging.getLogger("hub.sql")

_IN_DOUBT = "The database was lost while it stored this; whether it did is not known."

R = TypeVar("R")
Announce = Callable[[Sequence[EventRef]], None]


def _over(repository: Callable[[Connection], R]) -> cached_property[R]:
    return cached_property(lambda tx: repository(tx._connection))


class SqlTransaction:
    """Satisfies the transaction of every room; each repository is made when it is first used."""

    users = _over(SqlUsers)
    standings = _over(SqlStandings)
    tenants = _over(SqlTenants)
    tenant_rows = _over(SqlTenantRows)
    api_keys = _over(SqlApiKeys)
    integrations = _over(SqlIntegrations)
    integration_logs = _over(SqlIntegrationLogs)
    occurrences = _over(SqlOccurrences)
    bursts = _over(SqlBursts)
    alerts = _over(SqlAlerts)
    alert_rules = _over(SqlAlertRules)
    alert_conditions = _over(SqlAlertConditions)
    notifications = _over(SqlNotifications)
    incoming = _over(SqlIncomingWebhooks)
    sync_jobs = _over(SqlSyncJobs)
    sync_records = _over(SqlSyncRecords)
    sync_settings = _over(SqlSyncSettings)
    sync_events = _over(SqlSyncEvents)
    erasures = _over(SqlErasures)
    personal_data = _over(SqlPersonalData)
    webhooks = _over(SqlWebhooks)
    deliveries = _over(SqlDeliveries)
    pipeline = _over(SqlDeliveryPipeline)
    loops = _over(SqlLoops)
    signals = _over(SqlSignals)
    usage = _over(SqlTenantUsages)
    metrics = _over(SqlMetrics)
    anomalies = _over(SqlAnomalies)
    sightings = _over(SqlSightings)
    outcomes = _over(SqlOutcomes)
    audit_tree = _over(SqlAuditTree)
    peers = _over(SqlPeerChecks)
    decisions = _over(SqlDecisions)

    def __init__(
        self, connection: Connection, clock: Clock, announce: Announce, count_usage: CountUsage | None
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._announce = announce
        self._count_usage = count_usage
        self._committed: list[EventRef] = []
        self.has_committed = False

    @cached_property
    def audit(self) -> SqlAudit:
        return SqlAudit(self._connection, self._clock)

    @cached_property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._connection, self._clock)

    def commit(self) -> None:
        try:
            self._connection.commit()
        except DBAPIError as error:
            if is_in_doubt(error):
                raise OutcomeUnknown(_IN_DOUBT) from error
            raise
        self.has_committed = True
        note_effect()
        self._committed += self.outbox.take_new()
        if "audit" in vars(self):
            for record in self.audit.take_new():
                _log(record)
        if self._count_usage is not None:
            for tenant_id, counts in self._used():
                self._count_usage(tenant_id, counts)

    def _used(self) -> Iterator[tuple[UUID, UsageCounts]]:
        """Yield what was stored by tenant since the last commit."""
        nothing: Counter[UUID] = Counter()
        events = self.outbox.stored
        deliveries = self.pipeline.stored if "pipeline" in vars(self) else nothing
        records = self.sync_jobs.handled if "sync_jobs" in vars(self) else nothing
        for tenant_id in {**events, **deliveries, **records}:
            counts = UsageCounts(
                events=events[tenant_id], deliveries=deliveries[tenant_id], records=records[tenant_id]
            )
            yield tenant_id, counts
        for counted in (events, deliveries, records):
            counted.clear()

    def announce(self) -> None:
        """Tell the queue about the events committed, outside the transaction and its locks."""
        new, self._committed = self._committed, []
        if not new:
            return
        try:
            self._announce(new)
        except Unavailable:
            # The events are durable; the sweeper announces them again.
            logger.warning("announcement lost, left to the sweeper", extra={"events": len(new)})


def _log(record: AuditRecord) -> None:
    """Log that something was recorded in the audit log (section 12.2). The values before and after stay there."""
    logger.info(
        "change recorded",
        extra={
            "action": record.action,
            "targetType": record.target_type,
            "targetId": record.target_id,
            "tenantId": str(record.tenant_id),
            "actorUserId": str(record.actor_user_id) if record.actor_user_id else None,
            "actorKeyId": str(record.actor_key_id) if record.actor_key_id else None,
            "auditSequence": record.sequence,
        },
    )


class SqlTransactions:
    """Satisfies `domain.core.transaction.Transactions`.

    `count_usage` is told what each commit stored."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        announce: Announce,
        *,
        count_usage: CountUsage | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._announce = announce
        self.count_usage = count_usage

    @contextmanager
    def write(self) -> Iterator[SqlTransaction]:
        tx: SqlTransaction | None = None
        try:
            with self._database.write() as connection:
                tx = SqlTransaction(connection, self._clock, self._announce, self.count_usage)
                yield tx
        except Unavailable as error:
            if tx is not None and tx.has_committed:
                # What it committed before stands, so it is not to be repeated as a whole.
                raise OutcomeUnknown(error.detail) from error
            raise
        finally:
            if tx is not None:
                tx.announce()

    @contextmanager
    def read(self) -> Iterator[SqlTransaction]:
        with self._database.read() as connection:
            yield SqlTransaction(connection, self._clock, self._announce, self.count_usage)
