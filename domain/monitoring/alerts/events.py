"""Events about alerts, which tenants subscribe webhooks to."""

from __future__ import annotations

import json
from typing import Any

from domain.core.wire import rfc3339
from domain.journal.events import DomainEvent, event_data
from domain.journal.occurrences import RAISED, RECOVERED
from domain.monitoring.alerts.model import Alert
from domain.monitoring.alerts.rules import RULES


def raised(alert: Alert) -> DomainEvent:
    data = {**_about(alert), "details": json.loads(alert.details)}
    return _event(alert, RAISED, "raised", data)


def recovered(alert: Alert) -> DomainEvent:
    assert alert.recovered_at is not None
    data = {
        **_about(alert),
        "occurrences": alert.occurrences,
        "recoveredAt": rfc3339(alert.recovered_at),
        "reason": alert.recovery,
    }
    return _event(alert, RECOVERED, "recovered", data)


def _about(alert: Alert) -> dict[str, Any]:
    return {
        "alertId": str(alert.alert_id),
        "kind": alert.kind.value,
        "severity": alert.severity.name,
        "subject": alert.subject,
        "summary": alert.summary,
        "openedAt": rfc3339(alert.opened_at),
        "runbook": RULES[alert.kind].runbook,
    }


def _event(alert: Alert, type_: str, suffix: str, data: dict[str, Any]) -> DomainEvent:
    """Its id follows from the alert's, so it is raised once."""
    return DomainEvent(
        event_id=f"{alert.alert_id}.{suffix}",
        tenant_id=alert.tenant_id,
        type=type_,
        data=event_data(data),
        occurred_at=alert.recovered_at or alert.opened_at,
        subject=alert.subject,
    )
