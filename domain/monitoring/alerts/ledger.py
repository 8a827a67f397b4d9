"""Opening, repeating and closing alerts in the caller's transaction, with their events and messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from domain.core.ports import IdGenerator
from domain.core.realtime import ALERT_CHANGED, Realtime
from domain.core.wire import rfc3339
from domain.journal.events import DomainEvent, build_event, derived_id
from domain.journal.occurrences import CLOSED, PLATFORM, RAISED, RECOVERED
from domain.monitoring.alerts.model import (
    Alert,
    AlertFinding,
    AlertRule,
    AlertStatus,
    ClosedAs,
    Closing,
    Notification,
    Transition,
)
from domain.monitoring.alerts.ports import AlertTransaction
from domain.monitoring.alerts.recovery import reopened, reopens
from domain.monitoring.alerts.rules import RULES

_TRANSITIONS = {AlertStatus.Recovered: Transition.Recovered, AlertStatus.Closed: Transition.Closed}


def event_of(alert: Alert) -> DomainEvent:
    """Build the event about an alert that was raised or has ended. Its id follows from the alert's."""
    data: dict[str, Any] = {
        "alertId": str(alert.alert_id),
        "kind": alert.kind.value,
        "severity": alert.severity.name,
        "subject": alert.subject,
        "summary": alert.summary,
        "openedAt": rfc3339(alert.opened_at),
        "runbook": RULES[alert.kind].runbook,
    }
    data["reopenings"] = alert.reopenings
    if alert.recovered_at is None:
        type_, change = RAISED, "raised"
        data["details"] = json.loads(alert.details)
    else:
        is_over = alert.status == AlertStatus.Recovered
        type_, change = (RECOVERED, "recovered") if is_over else (CLOSED, "closed")
        data["occurrences"] = alert.occurrences
        data["recoveredAt" if is_over else "closedAt"] = rfc3339(alert.recovered_at)
        data["closedAs"] = alert.closed_as.value if alert.closed_as else None
        data["reason"] = alert.recovery
    again = f".{alert.reopenings}" if alert.reopenings else ""
    return build_event(
        type_,
        data,
        event_id=derived_id(f"{alert.alert_id}.{change}{again}"),
        tenant_id=alert.tenant_id,
        subject=alert.subject,
        at=alert.recovered_at or alert.opened_at,
    )


class AlertLedger:
    """Stores an alert's row, its event and the messages to people, all or none. `publish` comes after the commit."""

    def __init__(self, ids: IdGenerator, realtime: Realtime) -> None:
        self._ids = ids
        self._realtime = realtime

    def raise_(self, tx: AlertTransaction, rule: AlertRule, finding: AlertFinding) -> Alert | None:
        """Open an alert, and return it; None when the finding opens none.

        - A finding about an active alert is one more repeat of it.
        - A finding older than the end of the last one changes nothing: messages come twice, and late.
        - What comes back soon after a recovery opens the same alert again: a subject that flaps has one."""
        active = tx.alerts.find_active(finding.tenant_id, finding.kind, finding.subject)
        details = json.dumps(dict(finding.details))
        severity = rule.severity if finding.severity is None else min(rule.severity, finding.severity)
        if active is not None:
            worst = max(active.severity, severity)
            seen = replace(active, severity=worst, summary=finding.summary, details=details)
            seen = replace(seen, last_seen_at=finding.at)
            tx.alerts.repeat(finding.tenant_id, seen, continues=finding.continues)
            return None
        ended = tx.alerts.last_ended(finding.tenant_id, finding.kind, finding.subject)
        if ended is not None and ended.recovered_at is not None and finding.at <= ended.recovered_at:
            return None
        if ended is not None and reopens(rule, ended, finding.at):
            alert = reopened(ended, finding, severity, details)
            if not tx.alerts.reopen(alert.tenant_id, alert):
                return None
        else:
            subject, summary, at = finding.subject, finding.summary, finding.at
            alert_id, tenant_id = self._ids.new(), finding.tenant_id
            alert = Alert(alert_id, tenant_id, finding.kind, subject, severity, summary, details, at, at)
            tx.alerts.add(alert.tenant_id, alert)
        self._announce(tx, rule, alert, finding.at)
        return alert

    def end(
        self, tx: AlertTransaction, rule: AlertRule, alert: Alert, *, closing: Closing, now: datetime
    ) -> Alert | None:
        """End an alert, and return it; None when it had ended already."""
        if not tx.alerts.end(alert.tenant_id, alert.alert_id, closing, now):
            return None
        is_over = closing.closed_as == ClosedAs.Recovered
        status = AlertStatus.Recovered if is_over else AlertStatus.Closed
        reason = closing.reason
        ended = replace(alert, status=status, recovered_at=now, recovery=reason, closed_as=closing.closed_as)
        self._announce(tx, rule, ended, now)
        return ended

    def publish(self, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            if self._realtime.listening(alert.tenant_id, ALERT_CHANGED):
                payload = {
                    "alertId": str(alert.alert_id),
                    "kind": alert.kind.value,
                    "severity": alert.severity.name,
                    "status": alert.status.name,
                    "subject": alert.subject,
                    "summary": alert.summary,
                }
                self._realtime.publish(alert.tenant_id, ALERT_CHANGED, [payload])

    def _announce(self, tx: AlertTransaction, rule: AlertRule, alert: Alert, now: datetime) -> None:
        if alert.tenant_id == PLATFORM:
            return
        about = alert.tenant_id, alert.alert_id, _TRANSITIONS.get(alert.status, Transition.Raised)
        tx.outbox.append([event_of(alert)])
        notifications = [
            Notification(self._ids.new(), *about, sink.integration_id, recipient, due_at=now, created_at=now)
            for sink in rule.sinks
            for recipient in sink.recipients
        ]
        if alert.reopenings:
            tx.notifications.renew(notifications)
        else:
            tx.notifications.append(notifications)
