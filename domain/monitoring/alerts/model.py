"""Alerts (section 12.3): raised once for a condition, however often it holds, and open until it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID


class AlertKind(StrEnum):
    """The rule that an alert comes from; also the anchor of its runbook in docs/alerts.md."""

    WebhookFailureRate = "webhook-failure-rate"
    WebhookDisabled = "webhook-disabled"
    HeldDeliveries = "held-deliveries"
    IntegrationHealth = "integration-health"
    SyncFailed = "sync-failed"
    KeyAnomaly = "key-anomaly"
    Anomaly = "anomaly"
    IntegrationMoved = "integration-moved"
    EventLoop = "event-loop"
    SecurityViolation = "security-violation"
    DeadLetters = "dead-letters"
    RateLimitStoreDown = "rate-limit-store-down"
    UnreadableMessage = "unreadable-message"


class Severity(IntEnum):
    Information = 0
    Warning = 1
    Critical = 2


class AlertStatus(IntEnum):
    """`Recovered` is told by evidence; `Closed` ended for another reason, which `closed_as` names."""

    Open = 0
    Acknowledged = 1
    Recovered = 2
    Closed = 3


class ClosedAs(StrEnum):
    """How an alert ended.

    - Recovered: three successes in a row were seen, or its cause is gone.
    - NoTraffic: for seven days nothing happened that could tell.
    - Resolved: a person says that its cause is gone.
    - RuleSwitchedOff: nobody wants to know any more."""

    Recovered = "recovered"
    NoTraffic = "noTraffic"
    Resolved = "resolved"
    RuleSwitchedOff = "ruleSwitchedOff"


class Transition(IntEnum):
    Raised = 0
    Recovered = 1
    Closed = 2


class NotificationStatus(IntEnum):
    Pending = 0
    Sent = 1
    Failed = 2


@dataclass(frozen=True, slots=True)
class Sink:
    """People who are notified through one of the tenant's own e-mail or SMS integrations."""

    integration_id: UUID
    recipients: Sequence[str]


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When an alert of a kind is raised, and how long it must be quiet before evidence ends it.

    - `threshold`: share of 1 that must be exceeded over `window_minutes`.
    - `minimum_volume`: how much must have happened.
    - `quiet_minutes`: nothing recovers before so many minutes without a repeat.
    - `reopens_minutes`: what comes back so soon after a recovery is the same alert, opened again."""

    kind: AlertKind
    title: str
    severity: Severity
    quiet_minutes: int
    threshold: float | None = None
    minimum_volume: int | None = None
    window_minutes: int | None = None
    reopens_minutes: int = 60
    is_platform: bool = False
    is_enabled: bool = True
    sinks: Sequence[Sink] = ()
    version: int = 0

    @property
    def runbook(self) -> str:
        return f"docs/alerts.md#{self.kind.value}"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What a tenant changed of a rule; None leaves the default. `version` is 0 when nothing is stored."""

    is_enabled: bool | None = None
    severity: Severity | None = None
    threshold: float | None = None
    minimum_volume: int | None = None
    sinks: Sequence[Sink] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class AlertFinding:
    """A rule's condition that holds for a subject at one moment; `volume` is None where once is enough.

    `continues`: it is no further occurrence, but more of the last one."""

    tenant_id: UUID
    kind: AlertKind
    subject: str
    summary: str
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    volume: int | None = None
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Closing:
    """How an alert ends, and the sentence that says what changed."""

    closed_as: ClosedAs
    reason: str


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as stored. At most one of a (tenant, kind, subject) has not ended.

    - `recovered_at` is when it ended, however it did; `recovery` says what changed.
    - `reopenings`: how often its cause came back soon after a recovery.
    - `successes`: those in a row since it was last seen, of the kinds that are counted here."""

    alert_id: UUID
    tenant_id: UUID
    kind: AlertKind
    subject: str
    severity: Severity
    summary: str
    details: str
    opened_at: datetime
    last_seen_at: datetime
    occurrences: int = 1
    status: AlertStatus = AlertStatus.Open
    acknowledged_at: datetime | None = None
    acknowledged_by: UUID | None = None
    note: str | None = None
    recovered_at: datetime | None = None
    recovery: str | None = None
    closed_as: ClosedAs | None = None
    reopenings: int = 0
    successes: int = 0
    notification_failure: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one recipient about one transition; `detail` is why the last attempt failed."""

    notification_id: UUID
    tenant_id: UUID
    alert_id: UUID
    transition: Transition
    integration_id: UUID
    recipient: str
    due_at: datetime
    created_at: datetime
    status: NotificationStatus = NotificationStatus.Pending
    attempts: int = 0
    sent_at: datetime | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    statuses: Sequence[AlertStatus] = ()
    kinds: Sequence[AlertKind] = ()
    severities: Sequence[Severity] = ()
    subject: str | None = None
