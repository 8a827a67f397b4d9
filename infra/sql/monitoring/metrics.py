"""The hub's own numbers, out of SQL."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select, true

from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.journal.signals import Sketch, SubjectKind, Tally
from domain.monitoring.alerts.model import Severity
from domain.monitoring.metrics import Backlog, IntegrationGroup, KeyTotals, StoredMeasures
from domain.sync.model import SyncStatus
from domain.webhooks.model import DeliveryStatus, WebhookState
from infra.sql.apikeys.tables import api_keys
from infra.sql.integrations.tables import integrations
from infra.sql.journal.tables import domain_events, signal_buckets, signal_deltas
from infra.sql.monitoring.tables import alerts
from infra.sql.sync.tables import data_sync_jobs
from infra.sql.webhooks.tables import webhook_deliveries, webhooks

_COUNTS = ("Total", "Succeeded", "Failed", "FailedForGood", "Volume")
_VALUES = (*_COUNTS, "Errors", "Latency")
_UNENDED_DELIVERIES = (DeliveryStatus.Pending, DeliveryStatus.Sending, DeliveryStatus.Retrying)
_UNENDED_SYNCS = (int(SyncStatus.Scheduled), int(SyncStatus.Running))


class SqlMetrics:
    """Satisfies `domain.monitoring.metrics.Metrics`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, *, since: datetime, now: datetime) -> StoredMeasures:
        return StoredMeasures(
            since=since,
            signals=self._signals(since),
            integrations=self._integrations(),
            webhooks={WebhookState(state): count for state, count in self._grouped(webhooks.c.State)},
            deliveries=self._deliveries(),
            syncs=self._syncs(),
            alerts={
                Severity(severity): count
                for severity, count in self._grouped(alerts.c.Severity, alerts.c.RecoveredAt.is_(None))
            },
            keys=self._keys(now),
            backlog=self._backlog(),
        )

    def _signals(self, since: datetime) -> dict[SubjectKind, Tally]:
        b, d = signal_buckets.c, signal_deltas.c
        # IX_SignalBucket_Hour. A tenant's bucket holds its webhooks'.
        added = select(b.Kind, *(b[name] for name in _VALUES)).where(
            b.Hour >= since, b.Kind != SubjectKind.Webhook
        )
        # What a minute has appended.
        fresh = select(d.Kind, *(d[name] for name in _VALUES)).where(d.Hour >= since)
        sums: dict[SubjectKind, _Sum] = {}
        for statement in (added, fresh):
            for row in self._connection.execute(statement):
                kind = SubjectKind.Tenant if row.Kind == SubjectKind.Webhook else SubjectKind(row.Kind)
                sums.setdefault(kind, _Sum()).add(row)
        return {kind: sum_.tally() for kind, sum_ in sums.items()}

    def _integrations(self) -> dict[IntegrationGroup, int]:
        i = integrations.c
        # IX_Integration_Health
        columns = (i.Provider, i.Status, i.HealthStatus)
        statement = select(*columns, func.count()).group_by(*columns)
        return {
            IntegrationGroup(provider, IntegrationStatus(status), HealthStatus(health)): count
            for provider, status, health, count in self._connection.execute(statement)
        }

    def _deliveries(self) -> dict[DeliveryStatus, int]:
        # IX_WebhookDelivery_Status
        status = webhook_deliveries.c.DeliveryStatus
        return {
            DeliveryStatus(value): count
            for value, count in self._grouped(status, status.in_(_UNENDED_DELIVERIES))
        }

    def _syncs(self) -> dict[SyncStatus, int]:
        # IX_DataSync_Status
        status = data_sync_jobs.c.Status
        return {
            SyncStatus(value): count for value, count in self._grouped(status, status.in_(_UNENDED_SYNCS))
        }

    def _keys(self, now: datetime) -> KeyTotals:
        k = api_keys.c
        alive = and_(k.IsActive == true(), or_(k.ExpiresAt.is_(None), k.ExpiresAt > now))
        # IX_APIKey_Active
        active = self._connection.execute(
            select(func.count()).select_from(api_keys).where(alive)
        ).scalar_one()
        sums = select(*(func.sum(column) for column in (k.UsageCount, k.LimitedCount, k.RefusedCount)))
        return KeyTotals(active, *(figure or 0 for figure in self._connection.execute(sums).one()))

    def _backlog(self) -> Backlog:
        e = domain_events.c
        # IX_DomainEvent_Outbox
        statement = select(func.count(), func.min(e.AnnouncedAt)).where(e.FannedOutAt.is_(None))
        return Backlog(*self._connection.execute(statement).one())

    def _grouped(self, column: Any, *conditions: Any) -> Iterable[Any]:
        return self._connection.execute(select(column, func.count()).where(*conditions).group_by(column))


class _Sum:
    """Tallies added up row by row: a day has many rows, and adding tallies copies them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._latency: Counter[int] = Counter()

    def add(self, row: Any) -> None:
        self._counts.update({name: getattr(row, name) for name in _COUNTS})
        self._errors.update(json.loads(row.Errors))
        self._latency.update({int(interval): count for interval, count in json.loads(row.Latency).items()})

    def tally(self) -> Tally:
        total, succeeded, failed, failed_for_good, volume = (self._counts[name] for name in _COUNTS)
        return Tally(total, succeeded, failed, failed_for_good, volume, self._errors, Sketch(self._latency))
