"""Alerts and their rules as they go over the wire."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from domain.core.shown_address import shown_address
from domain.core.text_length import TextConstraints
from domain.monitoring.alerts.model import (
    Alert,
    AlertFilter,
    AlertKind,
    AlertRule,
    AlertStatus,
    ClosedAs,
    Notification,
    Severity,
)
from domain.monitoring.alerts.rules import RULES
from domain.monitoring.alerts.service import AlertDetail
from functions.http.kit.views import CommaSeparated, Moment, PageQuery, PageView, View

KindName = Literal[
    "webhook-failure-rate",
    "webhook-disabled",
    "held-deliveries",
    "integration-health",
    "sync-failed",
    "key-anomaly",
    "anomaly",
    "integration-moved",
    "event-loop",
    "security-violation",
    "dead-letters",
    "rate-limit-store-down",
    "unreadable-message",
]
SeverityName = Literal["Information", "Warning", "Critical"]
StatusName = Literal["Open", "Acknowledged", "Recovered", "Closed"]
ClosedAsName = Literal["recovered", "noTraffic", "resolved", "ruleSwitchedOff"]


class AlertView(View):
    alert_id: UUID
    kind: KindName
    severity: SeverityName
    status: StatusName
    subject: str = Field(description="Id of the webhook, integration or key; name of a queue")
    summary: str
    details: Any = Field(description="Details of the last occurrence")
    occurrences: int = Field(
        description="How often its cause was seen while it was active; a burst of refusals is one occurrence"
    )
    reopenings: int = Field(description="How often its cause came back soon after a recovery")
    opened_at: Moment
    last_seen_at: Moment
    acknowledged_at: Moment | None
    acknowledged_by: UUID | None
    note: str | None
    recovered_at: Moment | None = Field(
        description="When it recovered, by evidence; null when it was closed otherwise"
    )
    closed_at: Moment | None = Field(description="When it ended, however it did")
    closed_as: ClosedAsName | None = Field(
        description="`recovered`: three successes in a row were seen, or its cause is gone. `noTraffic`: for seven days"
        " nothing happened that could tell. `resolved`: a person says so. `ruleSwitchedOff`: its rule was switched off"
    )
    recovery: str | None = Field(description="What changed: why it ended")
    notification_failure: str | None = Field(description="Why the last message that failed could not be sent")
    runbook: str = Field(description="What to do: path and section in the documentation")


class NotificationView(View):
    transition: Literal["Raised", "Recovered", "Closed"]
    integration_id: UUID
    recipient: str
    status: Literal["Pending", "Sent", "Failed"]
    attempts: int
    due_at: Moment
    sent_at: Moment | None
    detail: str | None = Field(description="Why the last attempt failed")


class AlertDetailView(AlertView):
    notifications: list[NotificationView]


class AlertPage(PageView[AlertView]):
    pass


class AlertQuery(PageQuery):
    status: CommaSeparated[StatusName] | None = Field(None, description="One or more, separated by commas")
    kind: CommaSeparated[KindName] | None = Field(None, description="One or more, separated by commas")
    severity: CommaSeparated[SeverityName] | None = Field(
        None, description="One or more, separated by commas"
    )
    subject: Annotated[str, TextConstraints(max_length=100)] | None = None
    scope: Literal["Tenant", "Platform"] = Field(
        "Tenant", description="`Platform`: the hub's own alerts; needs the permission `alerts:platform`"
    )

    def to_filter(self) -> AlertFilter:
        return AlertFilter(
            statuses=[AlertStatus[name] for name in self.status or ()],
            kinds=[AlertKind(name) for name in self.kind or ()],
            severities=[Severity[name] for name in self.severity or ()],
            subject=self.subject,
        )


class SinkView(View):
    integration_id: UUID
    recipients: list[str]


class AlertRuleView(View):
    kind: KindName
    title: str
    is_enabled: bool
    severity: SeverityName
    threshold: float | None = Field(description="Share of failures that must be exceeded")
    recovers_at: float | None = Field(
        description="Share at or below which failures no longer keep three successes in a row from ending the alert"
    )
    window_minutes: int | None
    minimum_volume: int | None = Field(description="Minimum number of attempts before the share counts")
    quiet_minutes: int = Field(
        description="Minutes without a repeat before evidence ends the alert; of one that came back at least 60"
    )
    reopens_minutes: int = Field(
        description="What comes back within so many minutes of a recovery opens the same alert again"
    )
    sinks: list[SinkView]
    runbook: str
    version: int = Field(description="0: the default rule")


class AlertRulesView(View):
    items: list[AlertRuleView]


def alert_fields(alert: Alert) -> dict[str, Any]:
    return {
        "alert_id": alert.alert_id,
        "kind": alert.kind.value,
        "severity": alert.severity.name,
        "status": alert.status.name,
        "subject": alert.subject,
        "summary": alert.summary,
        "details": _details(alert),
        "occurrences": alert.occurrences,
        "opened_at": alert.opened_at,
        "last_seen_at": alert.last_seen_at,
        "acknowledged_at": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by,
        "note": alert.note,
        "reopenings": alert.reopenings,
        "recovered_at": alert.recovered_at if alert.status == AlertStatus.Recovered else None,
        "closed_at": alert.recovered_at,
        "closed_as": _closed_as(alert),
        "recovery": alert.recovery,
        "notification_failure": alert.notification_failure,
        "runbook": RULES[alert.kind].runbook,
    }


def _details(alert: Alert) -> Any:
    """Return the details; those that the version before stored have a webhook's whole address."""
    details = json.loads(alert.details)
    if isinstance(details, dict) and isinstance(url := details.get("url"), str):
        details["url"] = shown_address(url)
    return details


def _closed_as(alert: Alert) -> str | None:
    """Return how it ended; alerts of versions that did not tell have all recovered."""
    if alert.closed_as is None and alert.status == AlertStatus.Recovered:
        return ClosedAs.Recovered.value
    return alert.closed_as.value if alert.closed_as else None


def alert_view(alert: Alert) -> AlertView:
    return AlertView(**alert_fields(alert))


def alert_detail(detail: AlertDetail) -> AlertDetailView:
    return AlertDetailView(
        **alert_fields(detail.alert),
        notifications=[_notification(notification) for notification in detail.notifications],
    )


def rule_view(rule: AlertRule) -> AlertRuleView:
    return AlertRuleView(
        kind=rule.kind.value,
        title=rule.title,
        is_enabled=rule.is_enabled,
        severity=rule.severity.name,
        threshold=rule.threshold,
        recovers_at=None if rule.threshold is None else rule.threshold / 2,
        window_minutes=rule.window_minutes,
        minimum_volume=rule.minimum_volume,
        quiet_minutes=rule.quiet_minutes,
        reopens_minutes=rule.reopens_minutes,
        sinks=[
            SinkView(integration_id=sink.integration_id, recipients=list(sink.recipients))
            for sink in rule.sinks
        ],
        runbook=rule.runbook,
        version=rule.version,
    )


def _notification(notification: Notification) -> NotificationView:
    return NotificationView(
        transition=notification.transition.name,
        integration_id=notification.integration_id,
        recipient=notification.recipient,
        status=notification.status.name,
        attempts=notification.attempts,
        due_at=notification.due_at,
        sent_at=notification.sent_at,
        detail=notification.detail,
    )
