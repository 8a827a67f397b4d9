"""The alert rules as data, and the decisions about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.core.shown_address import host_of, shown_address
from domain.core.text_length import cut
from domain.journal.occurrences import PLATFORM, Occurrence
from domain.journal.signals import hour_of
from domain.monitoring.alerts.model import (
    Alert,
    AlertFinding,
    AlertKind,
    AlertRule,
    RuleSettings,
    Severity,
    Transition,
)
from domain.monitoring.alerts.ports import HourRate
from domain.providers.contract import FailureKind, OutgoingMessage

_K, _S = AlertKind, Severity

#: What comes once an hour or a day flaps within a day.
_A_DAY = 24 * 60

RULES: Mapping[AlertKind, AlertRule] = {
    rule.kind: rule
    for rule in (
        # Section 12.3: more than 20%
        AlertRule(
            _K.WebhookFailureRate,
            "Deliveries of a webhook fail",
            _S.Warning,
            quiet_minutes=5,
            threshold=0.2,
            minimum_volume=10,
            window_minutes=60,
        ),
        AlertRule(_K.WebhookDisabled, "The hub disabled a webhook", _S.Critical, 0),
        AlertRule(_K.HeldDeliveries, "Held deliveries are about to expire", _S.Warning, 5),
        AlertRule(_K.IntegrationHealth, "An integration is not well", _S.Critical, 5),
        AlertRule(_K.SyncFailed, "A synchronisation failed", _S.Warning, 0, reopens_minutes=_A_DAY),
        # Each hour is evaluated by itself: what lasts repeats every hour.
        AlertRule(_K.KeyAnomaly, "An API key is used unusually", _S.Warning, 130, reopens_minutes=_A_DAY),
        AlertRule(_K.Anomaly, "Something is unusual", _S.Warning, 130, reopens_minutes=_A_DAY),
        AlertRule(_K.IntegrationMoved, "Secrets of an integration go elsewhere", _S.Critical, 0),
        AlertRule(_K.EventLoop, "Events go round in a loop", _S.Critical, 0),
        AlertRule(
            _K.SecurityViolation,
            "Something that security forbids was tried",
            _S.Critical,
            60,
            minimum_volume=10,
            reopens_minutes=_A_DAY,
        ),
        AlertRule(
            _K.DeadLetters,
            "Messages ended as dead letters",
            _S.Critical,
            quiet_minutes=5,
            minimum_volume=1,
            is_platform=True,
        ),
        AlertRule(_K.RateLimitStoreDown, "Rate limits cannot be counted", _S.Critical, 5, is_platform=True),
        AlertRule(
            _K.UnreadableMessage, "A message could not be understood", _S.Warning, 60, is_platform=True
        ),
    )
}

#: Failures to send that another attempt does not solve.
_LASTING: frozenset[FailureKind] = frozenset(("forbidden", "rejected", "malformed"))
#: Minutes until the next attempt to send, by how many failed.
_SEND_AGAIN_AFTER = (1, 5, 15, 60)


def effective(kind: AlertKind, settings: RuleSettings | None) -> AlertRule:
    rule = RULES[kind]
    if settings is None:
        return rule
    return replace(
        rule,
        is_enabled=rule.is_enabled if settings.is_enabled is None else settings.is_enabled,
        severity=rule.severity if settings.severity is None else settings.severity,
        threshold=rule.threshold if settings.threshold is None else settings.threshold,
        minimum_volume=rule.minimum_volume if settings.minimum_volume is None else settings.minimum_volume,
        sinks=settings.sinks,
        version=settings.version,
    )


def raises(rule: AlertRule, finding: AlertFinding) -> bool:
    return rule.is_enabled and (finding.volume is None or finding.volume >= (rule.minimum_volume or 1))


@dataclass(frozen=True, slots=True)
class Rate:
    """Attempts within the last hour. The hour before the current one counts by the part of it that is within."""

    total: float
    failed: float

    @property
    def share(self) -> float:
        return self.failed / self.total if self.total else 0.0


def last_hour(hours: Sequence[HourRate], now: datetime) -> Rate:
    """Estimate the last 60 minutes from two hours that begin on the hour; exact for steady traffic."""
    this = hour_of(now)
    left = 1 - (now - this) / timedelta(hours=1)
    weights = {this: 1.0, this - timedelta(hours=1): left}
    return Rate(
        sum(hour.total * weights.get(hour.hour, 0.0) for hour in hours),
        sum(hour.failed * weights.get(hour.hour, 0.0) for hour in hours),
    )


def is_too_high(rule: AlertRule, rate: Rate) -> bool:
    """Return whether more of the attempts failed than the rule allows (section 12.3)."""
    assert rule.threshold is not None
    return rate.total >= (rule.minimum_volume or 1) and rate.share > rule.threshold


def is_low_again(rule: AlertRule, rate: Rate) -> bool:
    """Return whether there is traffic, and at most half of the allowed share of it failed."""
    assert rule.threshold is not None
    return rate.total >= (rule.minimum_volume or 1) and rate.share <= rule.threshold / 2


def finding_of(occurrence: Occurrence) -> AlertFinding | None:
    """Return the finding of an occurrence; None when no rule is about it, as of `integration-recovered`.

    Raises ValueError, KeyError, TypeError when the occurrence is malformed."""
    reader = _READERS.get(occurrence.source)
    if reader is None:
        return None
    data = json.loads(occurrence.data)
    if not isinstance(data, dict):
        raise TypeError("an occurrence's data is an object")
    return reader(occurrence, data)


def _of_integration(severity: Severity) -> Callable[[Occurrence, dict[str, Any]], AlertFinding]:
    def read(occurrence: Occurrence, data: dict[str, Any]) -> AlertFinding:
        summary = f"{data['name']} ({data['provider']}): {data['detail']}"
        subject = str(UUID(data["integrationId"]))
        finding = _finding(occurrence, AlertKind.IntegrationHealth, subject, summary, details=data)
        return replace(finding, severity=severity)

    return read


def _of_moved(occurrence: Occurrence, data: dict[str, Any]) -> AlertFinding:
    summary = f"{data['name']} ({data['provider']}): {data['detail']}"
    subject = str(UUID(data["integrationId"]))
    return _finding(occurrence, AlertKind.IntegrationMoved, subject, summary, details=data)


def _of_sync(occurrence: Occurrence, data: dict[str, Any]) -> AlertFinding:
    name = data.get("name")
    what = f"{name}: the synchronisation failed." if isinstance(name, str) else "The synchronisation failed."
    summary = f"{what} {data['detail']}"
    return _finding(occurrence, AlertKind.SyncFailed, str(UUID(data["integrationId"])), summary, details=data)


def _of_disabled_webhook(occurrence: Occurrence, data: dict[str, Any]) -> AlertFinding:
    url = data.get("url")
    host = host_of(url) if isinstance(url, str) else ""
    summary = f"{host} was disabled. {data['reason']}" if host else f"Disabled. {data['reason']}"
    subject = str(UUID(data["webhookId"]))
    if isinstance(url, str):
        data["url"] = shown_address(url)  # messages of the version before have it whole
    return _finding(occurrence, AlertKind.WebhookDisabled, subject, summary, details=data)


def _of_subject(kind: AlertKind) -> Callable[[Occurrence, dict[str, Any]], AlertFinding]:
    def read(occurrence: Occurrence, data: dict[str, Any]) -> AlertFinding:
        finding = _finding(occurrence, kind, str(data["subject"]), str(data["detail"]), details=data)
        return replace(finding, volume=int(data["count"])) if "count" in data else finding

    return read


#: Occurrences that say that the cause of an alert is gone.
RECOVERIES: Mapping[str, AlertKind] = {
    "audit-intact": AlertKind.SecurityViolation,
    "event-loop-over": AlertKind.EventLoop,
}

_READERS: Mapping[str, Callable[[Occurrence, dict[str, Any]], AlertFinding]] = {
    "integration-suspended": _of_integration(Severity.Critical),
    "integration-error": _of_integration(Severity.Critical),
    "integration-unhealthy": _of_integration(Severity.Critical),
    "integration-degraded": _of_integration(Severity.Warning),
    "integration-moved": _of_moved,
    "sync-failed": _of_sync,
    "webhook-disabled": _of_disabled_webhook,
    "key-anomaly": _of_subject(AlertKind.KeyAnomaly),
    "anomaly": _of_subject(AlertKind.Anomaly),
    "event-loop": _of_subject(AlertKind.EventLoop),
    "security-violation": _of_subject(AlertKind.SecurityViolation),
    "rate-limit-store-down": _of_subject(AlertKind.RateLimitStoreDown),
    "unreadable-message": _of_subject(AlertKind.UnreadableMessage),
}


def _finding(
    occurrence: Occurrence, kind: AlertKind, subject: str, summary: str, *, details: dict[str, Any]
) -> AlertFinding:
    tenant = PLATFORM if RULES[kind].is_platform else occurrence.tenant_id
    return AlertFinding(tenant, kind, cut(subject, 100), cut(summary, 400), occurrence.at, details)


def send_again_at(failed: int, kind: FailureKind | None, now: datetime) -> datetime | None:
    """Return when a message is sent again after `failed` attempts; None when it is given up."""
    if kind in _LASTING or failed > len(_SEND_AGAIN_AFTER):
        return None
    return now + timedelta(minutes=_SEND_AGAIN_AFTER[failed - 1])


def message_about(alert: Alert, transition: Transition, recipient: str) -> OutgoingMessage:
    """Build the message that a person reads. Its subject is enough by itself, because an SMS carries no more."""
    rule = RULES[alert.kind]
    is_raised = transition == Transition.Raised
    label = alert.severity.name if is_raised else transition.name
    subject = cut(f"[{label}] {rule.title}: {' '.join(alert.summary.split())}", 150)
    text = alert.summary if is_raised else alert.recovery or "It is over."
    again = f"It came back {alert.reopenings} times." if alert.reopenings > 1 else "It came back."
    lines = [
        rule.title,
        text,
        *([again] if is_raised and alert.reopenings else []),
        "",
        f"Kind: {alert.kind}",
        f"Subject: {alert.subject}",
        f"Since: {alert.opened_at:%Y-%m-%d %H:%M} UTC",
        f"Alert: {alert.alert_id}",
        f"Runbook: {rule.runbook}",
    ]
    return OutgoingMessage(recipient, subject, "\n".join(lines))
