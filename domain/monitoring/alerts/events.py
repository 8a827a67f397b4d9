"""Events about alerts, which tenants subscribe webhooks to."""

from __future__ import annotations

import json
from typing import Any

from domain.core.wire import rfc3339
from domain.journal.events import DomainEvent, build_event
from domain.journal.occurrences import RAISED, RECOVERED
from domain.monitoring.alerts.model import Alert
from domain.monitoring.alerts.rules import RULES


def raised(alert: Alert) -> DomainEvent:
    data = {**_about(alert), "details": json.loads(alert.details)}
    return _build(alert, RAISED, "raised", data)


def recovered(alert: Alert) -> DomainEvent:
    assert alert.recovered_at is not None
    data = {
        **_about(alert),
        "occurrences": alert.occurrences,
        "recoveredAt": rfc3339(alert.recovered_at),
        "reason": alert.recovery,
    }
    return _build(alert, RECOVERED, "recovered", data)


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


def _build(alert: Alert, type_: str, suffix: str, data: dict[str, Any]) -> DomainEvent:
    return build_event(
        type_,
        data,
        event_id=f"{alert.alert_id}.{suffix}",  # follows from the alert's, so that it is raised once
        tenant_id=alert.tenant_id,
        subject=alert.subject,
        at=alert.recovered_at or alert.opened_at,
    )
