"""Alerts over SQL."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, insert, select, update

from domain.core.paging import Page, PageRequest
from domain.core.text_length import cut
from domain.monitoring.alerts.model import Alert, AlertFilter, AlertKind, AlertStatus, ClosedAs, Closing
from infra.sql.firsts import delete_first
from infra.sql.monitoring.tables import alerts
from infra.sql.statements import guarded_by_unique_key, page_of, row_of

_a = alerts.c


class SqlAlerts:
    """Satisfies `domain.monitoring.alerts.ports.Alerts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, tenant_id: UUID, alert: Alert) -> None:
        with guarded_by_unique_key():
            self._connection.execute(
                insert(alerts).values(
                    AlertId=alert.alert_id,
                    TenantId=tenant_id,
                    Kind=alert.kind.value,
                    Subject=alert.subject,
                    Severity=alert.severity,
                    Status=alert.status,
                    Summary=alert.summary,
                    Details=alert.details,
                    Occurrences=alert.occurrences,
                    OpenedAt=alert.opened_at,
                    LastSeenAt=alert.last_seen_at,
                )
            )

    def get(self, tenant_id: UUID, alert_id: UUID) -> Alert:
        statement = select(alerts).where(_a.AlertId == alert_id, _a.TenantId == tenant_id)
        return _alert_of(row_of(self._connection, statement, "alert"))

    def page(self, tenant_id: UUID, filter_: AlertFilter, page: PageRequest) -> Page[Alert]:
        # IX_Alert_Opened
        statement = select(alerts).where(_a.TenantId == tenant_id)
        if filter_.statuses:
            statement = statement.where(_a.Status.in_(filter_.statuses))
        if filter_.kinds:
            statement = statement.where(_a.Kind.in_([kind.value for kind in filter_.kinds]))
        if filter_.severities:
            statement = statement.where(_a.Severity.in_(filter_.severities))
        if filter_.subject is not None:
            statement = statement.where(_a.Subject == filter_.subject)
        ordered = statement.order_by(_a.OpenedAt.desc(), _a.AlertId.desc())
        return page_of(self._connection, ordered, page, _alert_of)

    def find_active(self, tenant_id: UUID, kind: AlertKind, subject: str) -> Alert | None:
        # IX_Alert_Subject
        statement = select(alerts).where(
            _a.TenantId == tenant_id,
            _a.Kind == kind.value,
            _a.Subject == subject,
            _a.RecoveredAt.is_(None),
        )
        row = self._connection.execute(statement).first()
        return None if row is None else _alert_of(row)

    def last_ended(self, tenant_id: UUID, kind: AlertKind, subject: str) -> Alert | None:
        # IX_Alert_Subject
        statement = (
            select(alerts)
            .where(
                _a.TenantId == tenant_id,
                _a.Kind == kind.value,
                _a.Subject == subject,
                _a.RecoveredAt.is_not(None),
            )
            .order_by(_a.RecoveredAt.desc())
            .limit(1)
        )
        row = self._connection.execute(statement).first()
        return None if row is None else _alert_of(row)

    def repeat(self, tenant_id: UUID, alert: Alert, *, continues: bool = False) -> None:
        is_news = _a.LastSeenAt <= alert.last_seen_at if continues else _a.LastSeenAt < alert.last_seen_at
        statement = (
            update(alerts)
            .where(
                _a.AlertId == alert.alert_id,
                _a.TenantId == tenant_id,
                is_news,
                _a.RecoveredAt.is_(None),
            )
            .values(
                Occurrences=_a.Occurrences + (0 if continues else 1),
                LastSeenAt=alert.last_seen_at,
                Severity=alert.severity,
                Summary=alert.summary,
                Details=alert.details,
                Successes=0,
            )
        )
        self._connection.execute(statement)

    def succeed(
        self, tenant_id: UUID, kind: AlertKind, subject: str, *, count: int = 1, at: datetime
    ) -> None:
        # IX_Alert_Subject
        statement = (
            update(alerts)
            .where(
                _a.TenantId == tenant_id,
                _a.Kind == kind.value,
                _a.Subject == subject,
                _a.RecoveredAt.is_(None),
                _a.LastSeenAt < at,
            )
            .values(Successes=_a.Successes + count)
        )
        self._connection.execute(statement)

    def end(self, tenant_id: UUID, alert_id: UUID, closing: Closing, at: datetime) -> bool:
        is_over = closing.closed_as == ClosedAs.Recovered
        statement = (
            update(alerts)
            .where(_a.AlertId == alert_id, _a.TenantId == tenant_id, _a.RecoveredAt.is_(None))
            .values(
                Status=AlertStatus.Recovered if is_over else AlertStatus.Closed,
                RecoveredAt=at,
                Recovery=cut(closing.reason, 400),
                ClosedAs=closing.closed_as.value,
            )
        )
        return self._connection.execute(statement).rowcount == 1

    def reopen(self, tenant_id: UUID, alert: Alert) -> bool:
        statement = (
            update(alerts)
            .where(_a.AlertId == alert.alert_id, _a.TenantId == tenant_id, _a.RecoveredAt.is_not(None))
            .values(
                Status=alert.status,
                Severity=alert.severity,
                Summary=alert.summary,
                Details=alert.details,
                Occurrences=_a.Occurrences + 1,
                LastSeenAt=alert.last_seen_at,
                RecoveredAt=None,
                Recovery=None,
                ClosedAs=None,
                Reopenings=alert.reopenings,
                Successes=0,
            )
        )
        with guarded_by_unique_key():
            return self._connection.execute(statement).rowcount == 1

    def acknowledge(
        self, tenant_id: UUID, alert_id: UUID, *, by: UUID, note: str | None, at: datetime
    ) -> bool:
        statement = (
            update(alerts)
            .where(_a.AlertId == alert_id, _a.TenantId == tenant_id, _a.Status == AlertStatus.Open)
            .values(Status=AlertStatus.Acknowledged, AcknowledgedAt=at, AcknowledgedBy=by, Note=note)
        )
        return self._connection.execute(statement).rowcount == 1

    def note_failure(self, tenant_id: UUID, alert_id: UUID, detail: str) -> None:
        statement = (
            update(alerts)
            .where(_a.AlertId == alert_id, _a.TenantId == tenant_id)
            .values(NotificationFailure=cut(detail, 400))
        )
        self._connection.execute(statement)

    def active(self, kinds: Collection[AlertKind]) -> list[Alert]:
        # IX_Alert_Active
        statement = select(alerts).where(
            _a.Kind.in_([kind.value for kind in kinds]), _a.RecoveredAt.is_(None)
        )
        return [_alert_of(row) for row in self._connection.execute(statement)]

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_Alert_Recovered
        oldest = delete_first(alerts, _a.RecoveredAt < cutoff, order_by=_a.RecoveredAt, limit=limit)
        return self._connection.execute(oldest).rowcount


def _alert_of(row: Any) -> Alert:
    return Alert(
        alert_id=row.AlertId,
        tenant_id=row.TenantId,
        kind=AlertKind(row.Kind),
        subject=row.Subject,
        severity=row.Severity,
        summary=row.Summary,
        details=row.Details,
        opened_at=row.OpenedAt,
        last_seen_at=row.LastSeenAt,
        occurrences=row.Occurrences,
        status=row.Status,
        acknowledged_at=row.AcknowledgedAt,
        acknowledged_by=row.AcknowledgedBy,
        note=row.Note,
        recovered_at=row.RecoveredAt,
        recovery=row.Recovery,
        closed_as=None if row.ClosedAs is None else ClosedAs(row.ClosedAs),
        reopenings=row.Reopenings,
        successes=row.Successes,
        notification_failure=row.NotificationFailure,
    )
