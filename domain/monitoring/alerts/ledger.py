"""Opening, repeating and closing alerts, with everything that follows, in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from domain.core.ports import IdGenerator
from domain.core.realtime import ALERT_CHANGED, Realtime
from domain.journal.occurrences import PLATFORM
from domain.monitoring.alerts import events
from domain.monitoring.alerts.model import (
    Alert,
    AlertFinding,
    AlertRule,
    AlertStatus,
    Notification,
    Transition,
)
from domain.monitoring.alerts.ports import AlertTransaction


class AlertLedger:
    """Row, event and messages to people, together or not at all. `publish` comes after the commit."""

    def __init__(self, ids: IdGenerator, realtime: Realtime) -> None:
        self._ids = ids
        self._realtime = realtime

    def raise_(self, tx: AlertTransaction, rule: AlertRule, finding: AlertFinding) -> Alert | None:
        """The alert when it is new. A finding that is known, or older than the recovery of the last alert about the
        same, changes nothing: messages come twice, and late."""
        key = finding.tenant_id, finding.kind, finding.subject
        active = tx.alerts.find_active(*key)
        details = json.dumps(dict(finding.details))
        severity = rule.severity if finding.severity is None else min(rule.severity, finding.severity)
        if active is not None:
            worst = max(active.severity, severity)
            seen = replace(active, severity=worst, summary=finding.summary, details=details)
            tx.alerts.repeat(finding.tenant_id, replace(seen, last_seen_at=finding.at))
            return None
        recovered_at = tx.alerts.last_recovery(*key)
        if recovered_at is not None and finding.at <= recovered_at:
            return None
        alert = Alert(
            self._ids.new(),
            finding.tenant_id,
            finding.kind,
            finding.subject,
            severity,
            finding.summary,
            details,
            finding.at,
            finding.at,
        )
        tx.alerts.add(alert.tenant_id, alert)
        self._tell(tx, rule, alert, Transition.Raised, finding.at)
        return alert

    def recover(
        self, tx: AlertTransaction, rule: AlertRule, alert: Alert, *, reason: str, now: datetime
    ) -> Alert | None:
        """The alert as it is then; None when it had recovered already."""
        if not tx.alerts.recover(alert.tenant_id, alert.alert_id, reason, now):
            return None
        over = replace(alert, status=AlertStatus.Recovered, recovered_at=now, recovery=reason)
        self._tell(tx, rule, over, Transition.Recovered, now)
        return over

    def publish(self, alerts: Sequence[Alert]) -> None:
        """Tell connected clients."""
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

    def _tell(
        self, tx: AlertTransaction, rule: AlertRule, alert: Alert, transition: Transition, now: datetime
    ) -> None:
        if alert.tenant_id == PLATFORM:
            return
        told = events.raised(alert) if transition == Transition.Raised else events.recovered(alert)
        tx.outbox.append([told])
        tx.notifications.append(
            [
                Notification(
                    self._ids.new(),
                    alert.tenant_id,
                    alert.alert_id,
                    transition,
                    sink.integration_id,
                    recipient,
                    due_at=now,
                    created_at=now,
                )
                for sink in rule.sinks
                for recipient in sink.recipients
            ]
        )
