"""What alerts are judged by and whom they are told to, over SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Column,
    Connection,
    Select,
    distinct,
    func,
    insert,
    literal_column,
    select,
    true,
    union_all,
    update,
)

from domain.integrations.model import HealthStatus, IntegrationStatus, SuspensionCause
from domain.journal.signals import SubjectKind
from domain.monitoring.alerts.model import (
    AlertKind,
    Notification,
    NotificationStatus,
    RuleSettings,
    Sink,
)
from domain.monitoring.alerts.ports import (
    EndedJob,
    HeldDeliveries,
    HourRate,
    IntegrationStanding,
    Named,
    Receipts,
    WebhookStanding,
)
from domain.sync.model import SyncStatus
from domain.webhooks.model import WebhookState
from infra.sql.apikeys.tables import api_keys
from infra.sql.firsts import update_first
from infra.sql.incoming.tables import incoming_endpoints, incoming_webhooks
from infra.sql.integrations.tables import integrations
from infra.sql.journal.tables import domain_events, signal_buckets, signal_deltas
from infra.sql.monitoring.tables import alert_notifications, alert_rules, anomalies, anomaly_watermarks
from infra.sql.statements import key_lists, put_version
from infra.sql.sync.tables import data_sync_jobs
from infra.sql.tenants.standings import is_suspended
from infra.sql.webhooks.tables import webhook_deliveries, webhooks

_r = alert_rules.c
_n = alert_notifications.c
_w = webhooks.c
_d = webhook_deliveries.c
_i = integrations.c
_j = data_sync_jobs.c
_k = api_keys.c
_e = incoming_endpoints.c
_in = incoming_webhooks.c
_ev = domain_events.c
#: As text: a parameter would not match the condition of IX_AlertNotification_Due.
_IS_PENDING = _n.Status == literal_column(str(int(NotificationStatus.Pending)))


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
                for notification in sorted(notifications, key=_message)
            ]
            self._connection.execute(insert(alert_notifications), rows)

    def renew(self, notifications: Sequence[Notification]) -> None:
        for notification in sorted(notifications, key=_message):
            # UQ_AlertNotification_Message
            statement = (
                update(alert_notifications)
                .where(
                    _n.AlertId == notification.alert_id,
                    _n.Transition == notification.transition,
                    _n.IntegrationId == notification.integration_id,
                    _n.Recipient == notification.recipient,
                )
                .values(
                    Status=NotificationStatus.Pending,
                    Attempts=0,
                    DueAt=notification.due_at,
                    SentAt=None,
                    Detail=None,
                )
            )
            if self._connection.execute(statement).rowcount == 0:
                self.append([notification])

    def of_alert(self, tenant_id: UUID, alert_id: UUID) -> list[Notification]:
        # UQ_AlertNotification_Message
        statement = select(alert_notifications).where(_n.AlertId == alert_id, _n.TenantId == tenant_id)
        found = [_notification_of(row) for row in self._connection.execute(statement)]
        return sorted(found, key=lambda notification: (notification.created_at, notification.recipient))

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Notification]:
        # IX_AlertNotification_Due
        ready = (_IS_PENDING, _n.DueAt <= now, ~is_suspended(_n.TenantId))
        due = update_first(alert_notifications, *ready, order_by=_n.DueAt, limit=limit)
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

    def webhooks(self, names: Collection[Named]) -> dict[Named, WebhookStanding]:
        columns = (
            _w.TenantId,
            _w.WebhookId,
            _w.Url,
            _w.State,
            _w.SuccessesInRow,
            _w.SucceedingSince,
            _w.LastFailedAt,
            _w.LastTriggeredAt,
        )
        rows = self._of(names, select(*columns), _w.WebhookId)
        return {(row[0], row[1]): WebhookStanding(*row[2:]) for row in rows}

    def integrations(self, names: Collection[Named]) -> dict[Named, IntegrationStanding]:
        columns = (
            _i.TenantId,
            _i.IntegrationId,
            _i.Status,
            _i.SuspensionCause,
            _i.IsEnabled,
            _i.HealthStatus,
            _i.Vitals,
            _i.ValidatedAt,
            _i.LastHealthCheck,
        )
        rows = self._of(names, select(*columns), _i.IntegrationId)
        return {
            (row[0], row[1]): IntegrationStanding(
                IntegrationStatus(row[2]),
                None if row[3] is None else SuspensionCause(row[3]),
                row[4],
                HealthStatus(row[5]),
                *row[6:],
            )
            for row in rows
        }

    def keys(self, names: Collection[Named]) -> set[Named]:
        usable = select(_k.TenantId, _k.APIKeyId).where(_k.RevokedAt.is_(None))
        return {(row[0], row[1]) for row in self._of(names, usable, _k.APIKeyId)}

    def ended_jobs(self, names: Collection[Named], since: datetime) -> dict[Named, list[EndedJob]]:
        # IX_DataSync_Integration
        columns = (
            _j.TenantId,
            _j.IntegrationId,
            _j.DataSyncJobId,
            _j.Status,
            _j.CompletedAt,
            _j.ResumedFrom,
            _j.ResumedBy,
        )
        ended = select(*columns).where(_j.CompletedAt > since)
        jobs: dict[Named, list[EndedJob]] = {}
        for row in self._of(names, ended, _j.IntegrationId):
            job = EndedJob(row[2], SyncStatus(row[3]), row[4], row[5], goes_on=row[6] is not None)
            jobs.setdefault((row[0], row[1]), []).append(job)
        for of_integration in jobs.values():
            of_integration.sort(key=lambda job: job.completed_at)
        return jobs

    def receipts(self, tenant_id: UUID, integration_id: UUID, since: datetime) -> Receipts:
        last = select(_e.LastRefusedAt).where(_e.IntegrationId == integration_id, _e.TenantId == tenant_id)
        refused_at = self._connection.execute(last).scalar()
        after = since if refused_at is None else max(since, refused_at)
        # IX_IncomingWebhook_Integration
        statement = select(
            func.count(distinct(_in.IncomingBodyId)), func.min(_in.ReceivedAt), func.max(_in.ReceivedAt)
        ).where(
            _in.IntegrationId == integration_id,
            _in.TenantId == tenant_id,
            _in.ReceivedAt > after,
            _in.SameBodyAs.is_(None),
        )
        accepted, first_at, last_at = self._connection.execute(statement).one()
        active = [moment for moment in (last_at, refused_at) if moment is not None]
        return Receipts(accepted, first_at, max(active) if active else None)

    def events_read(self, since: datetime, limit: int) -> int:
        # IX_DomainEvent_CreatedAt
        was_read = _ev.CreatedAt > since, _ev.FannedOutAt.is_not(None)
        read = select(_ev.Sequence).where(*was_read).order_by(_ev.CreatedAt).limit(limit)
        return len(self._connection.execute(read).all())

    def examined_until(self, tenant_id: UUID) -> datetime | None:
        statement = select(anomaly_watermarks.c.Hour).where(anomaly_watermarks.c.TenantId == tenant_id)
        hour: datetime | None = self._connection.execute(statement).scalar()
        return hour

    def is_unusual(self, tenant_id: UUID, subject_id: UUID) -> bool:
        # UX_Anomaly_Active
        statement = select(func.count()).where(
            anomalies.c.TenantId == tenant_id,
            anomalies.c.SubjectId == subject_id,
            anomalies.c.EndedAt.is_(None),
        )
        return bool(self._connection.execute(statement).scalar_one())

    def _of(self, names: Collection[Named], statement: Select[Any], column: Column[Any]) -> list[Any]:
        """Return the rows about these subjects, those of other tenants left out."""
        wanted = set(names)
        rows: list[Any] = []
        for some in key_lists({subject for _, subject in wanted}):
            rows += self._connection.execute(statement.where(column.in_(some))).all()
        return [row for row in rows if (row[0], row[1]) in wanted]


def _message(notification: Notification) -> tuple[Any, ...]:
    """Return the columns of UQ_AlertNotification_Message."""
    told = notification
    return told.alert_id, told.transition, told.integration_id, told.recipient


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
