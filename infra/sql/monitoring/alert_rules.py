"""What alerts are judged by and whom they are told to, over SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, insert, literal_column, or_, select, true, union_all, update

from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.journal.signals import SubjectKind
from domain.monitoring.alerts.model import (
    Alert,
    AlertKind,
    Notification,
    NotificationStatus,
    RuleSettings,
    Sink,
)
from domain.monitoring.alerts.ports import HeldDeliveries, HourRate
from domain.sync.model import SyncStatus
from domain.webhooks.model import WebhookState
from infra.sql.firsts import update_first
from infra.sql.integrations.tables import integrations
from infra.sql.journal.tables import signal_buckets, signal_deltas
from infra.sql.monitoring.tables import alert_notifications, alert_rules
from infra.sql.statements import chunks, put_version
from infra.sql.sync.tables import data_sync_jobs
from infra.sql.webhooks.tables import webhook_deliveries, webhooks

_r = alert_rules.c
_n = alert_notifications.c
_w = webhooks.c
_d = webhook_deliveries.c
_i = integrations.c
_j = data_sync_jobs.c
#: As text: a parameter would not match the condition of IX_AlertNotification_Due.
_IS_PENDING = _n.Status == literal_column(str(int(NotificationStatus.Pending)))
#: Of an alert's subject: events name it, so it counts only within their tenant.
_Name = tuple[UUID, UUID]


class SqlAlertRules:
    """Satisfies `domain.monitoring.alerts.ports.AlertRules`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def settings(self, tenant_id: UUID) -> dict[AlertKind, RuleSettings]:
        # PK_AlertRules, a seek a kind
        statement = select(alert_rules).where(
            _r.Kind.in_([kind.value for kind in AlertKind]), _r.TenantId == tenant_id
        )
        return {AlertKind(row.Kind): _settings_of(row) for row in self._connection.execute(statement)}

    def set(
        self, tenant_id: UUID, kind: AlertKind, settings: RuleSettings, *, by: UUID, now: datetime
    ) -> None:
        values = {
            "IsEnabled": settings.is_enabled,
            "Severity": settings.severity,
            "Threshold": settings.threshold,
            "MinimumVolume": settings.minimum_volume,
            "Sinks": json.dumps(
                [[str(sink.integration_id), list(sink.recipients)] for sink in settings.sinks]
            ),
            "ModifiedAt": now,
            "ModifiedBy": by,
        }
        key = {"TenantId": tenant_id, "Kind": kind.value}
        put_version(self._connection, alert_rules, key, values, version=settings.version, what="alert rule")

    def of_kind(self, kind: AlertKind) -> dict[UUID, RuleSettings]:
        statement = select(alert_rules).where(_r.Kind == kind.value)
        return {row.TenantId: _settings_of(row) for row in self._connection.execute(statement)}


class SqlNotifications:
    """Satisfies `domain.monitoring.alerts.ports.Notifications`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, notifications: Sequence[Notification]) -> None:
        if notifications:
            rows = [
                {
                    "NotificationId": notification.notification_id,
                    "TenantId": notification.tenant_id,
                    "AlertId": notification.alert_id,
                    "Transition": notification.transition,
                    "IntegrationId": notification.integration_id,
                    "Recipient": notification.recipient,
                    "Status": notification.status,
                    "Attempts": notification.attempts,
                    "DueAt": notification.due_at,
                    "CreatedAt": notification.created_at,
                }
                for notification in notifications
            ]
            self._connection.execute(insert(alert_notifications), rows)

    def of_alert(self, tenant_id: UUID, alert_id: UUID) -> list[Notification]:
        # UQ_AlertNotification_Message
        statement = select(alert_notifications).where(_n.AlertId == alert_id, _n.TenantId == tenant_id)
        found = [_notification_of(row) for row in self._connection.execute(statement)]
        return sorted(found, key=lambda notification: (notification.created_at, notification.recipient))

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Notification]:
        # IX_AlertNotification_Due
        due = update_first(alert_notifications, _IS_PENDING, _n.DueAt <= now, order_by=_n.DueAt, limit=limit)
        claimed = due.values(DueAt=until, Attempts=_n.Attempts + 1).returning(*_n)
        return [_notification_of(row) for row in self._connection.execute(claimed)]

    def settle(self, notification: Notification) -> None:
        statement = (
            update(alert_notifications)
            .where(
                _n.NotificationId == notification.notification_id,
                _n.Attempts == notification.attempts,
            )
            .values(
                Status=notification.status,
                DueAt=notification.due_at,
                SentAt=notification.sent_at,
                Detail=notification.detail,
            )
        )
        self._connection.execute(statement)


class SqlAlertConditions:
    """Satisfies `domain.monitoring.alerts.ports.AlertConditions`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def webhook_rates(self, since: datetime) -> list[HourRate]:
        # IX_SignalBucket_Hour; the deltas are those of the last minute
        parts = union_all(
            *(
                select(
                    table.c.TenantId, table.c.SubjectId, table.c.Hour, table.c.Total, table.c.Failed
                ).where(table.c.Kind == SubjectKind.Webhook, table.c.Hour >= since)
                for table in (signal_buckets, signal_deltas)
            )
        ).subquery()
        key = (parts.c.TenantId, parts.c.SubjectId, parts.c.Hour)
        sums = (func.sum(parts.c.Total), func.sum(parts.c.Failed))
        rates = [
            HourRate(*row[:3], int(row[3]), int(row[4]))
            for row in self._connection.execute(select(*key, *sums).group_by(*key))
        ]
        failing = {rate.webhook_id for rate in rates if rate.failed}
        return [rate for rate in rates if rate.webhook_id in failing]

    def held(self, now: datetime, until: datetime) -> list[HeldDeliveries]:
        # IX_WebhookDelivery_Held, then the primary key of webhooks
        first = func.min(_d.ExpiresAt)
        statement = (
            select(_w.TenantId, _w.WebhookId, func.count(), first)
            .select_from(webhook_deliveries)
            .join(webhooks, _w.WebhookId == _d.WebhookId)
            .where(_d.IsHeld == true(), _d.ExpiresAt > now, _w.State != WebhookState.Active)
            .group_by(_w.TenantId, _w.WebhookId)
            .having(first <= until)
        )
        return [HeldDeliveries(*row) for row in self._connection.execute(statement)]

    def over(self, kind: AlertKind, alerts: Sequence[Alert]) -> set[UUID]:
        gone: set[UUID] = set()
        for some in chunks(alerts, 200):
            ids = {(alert.tenant_id, UUID(alert.subject)): alert for alert in some}
            if kind == AlertKind.SyncFailed:
                gone |= self._synced_since(ids)
            else:
                bad = self._bad(kind, ids)
                gone |= {alert.alert_id for name, alert in ids.items() if name not in bad}
        return gone

    def _bad(self, kind: AlertKind, ids: Mapping[_Name, Alert]) -> set[_Name]:
        if kind == AlertKind.WebhookDisabled:
            statement = select(_w.TenantId, _w.WebhookId).where(
                _w.WebhookId.in_(_subjects(ids)), _w.State == WebhookState.Disabled
            )
        else:
            well = and_(
                _i.Status == int(IntegrationStatus.Active), _i.HealthStatus == int(HealthStatus.Healthy)
            )
            removed = _i.Status == int(IntegrationStatus.Disconnected)
            statement = select(_i.TenantId, _i.IntegrationId).where(
                _i.IntegrationId.in_(_subjects(ids)), ~or_(well, removed)
            )
        return {(tenant_id, subject) for tenant_id, subject in self._connection.execute(statement)}

    def _synced_since(self, ids: Mapping[_Name, Alert]) -> set[UUID]:
        """Return alerts after which a job of the integration ended well, or the integration was removed."""
        succeeded = (int(SyncStatus.Completed), int(SyncStatus.PartialSuccess))
        latest = (
            select(_j.TenantId, _j.IntegrationId, func.max(_j.CompletedAt))
            .where(_j.IntegrationId.in_(_subjects(ids)), _j.Status.in_(succeeded))
            .group_by(_j.TenantId, _j.IntegrationId)
        )
        over = {
            (tenant_id, subject): at
            for tenant_id, subject, at in self._connection.execute(latest)
            if at is not None
        }
        gone = {
            alert.alert_id for name, alert in ids.items() if name in over and over[name] > alert.last_seen_at
        }
        removed = select(_i.TenantId, _i.IntegrationId).where(
            _i.IntegrationId.in_(_subjects(ids)), _i.Status == int(IntegrationStatus.Disconnected)
        )
        return gone | {
            ids[tenant_id, subject].alert_id
            for tenant_id, subject in self._connection.execute(removed)
            if (tenant_id, subject) in ids
        }


def _subjects(ids: Mapping[_Name, Alert]) -> list[UUID]:
    return list({subject for _, subject in ids})


def _settings_of(row: Any) -> RuleSettings:
    sinks = tuple(Sink(UUID(id_), tuple(recipients)) for id_, recipients in json.loads(row.Sinks))
    return RuleSettings(row.IsEnabled, row.Severity, row.Threshold, row.MinimumVolume, sinks, row.Version)


def _notification_of(row: Any) -> Notification:
    return Notification(
        notification_id=row.NotificationId,
        tenant_id=row.TenantId,
        alert_id=row.AlertId,
        transition=row.Transition,
        integration_id=row.IntegrationId,
        recipient=row.Recipient,
        due_at=row.DueAt,
        created_at=row.CreatedAt,
        status=row.Status,
        attempts=row.Attempts,
        sent_at=row.SentAt,
        detail=row.Detail,
    )
