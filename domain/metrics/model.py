"""What the hub measures of itself: numbers over all tenants, never of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from domain.alerts.model import Severity
from domain.insights.model import SubjectKind, Tally
from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.sync.model import SyncStatus
from domain.webhooks.model import DeliveryStatus, WebhookState

PERMISSION = "metrics:read"


@dataclass(frozen=True, slots=True)
class IntegrationGroup:
    """Integrations that have these in common."""

    provider: str
    status: IntegrationStatus
    health: HealthStatus


@dataclass(frozen=True, slots=True)
class KeyTotals:
    """`active` keys are neither revoked nor expired; the others are requests of all keys there ever were:
    accepted, refused for want of quota, and refused for another reason."""

    active: int = 0
    accepted: int = 0
    limited: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events stored and not fanned out, and since when the oldest waits (since its last announcement)."""

    events: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the database says. `signals` are those of the hours that began at or after `since`, with all deliveries
    under `Tenant`; `deliveries` and `syncs` are those that have not ended, `alerts` those that have not recovered."""

    since: datetime
    signals: Mapping[SubjectKind, Tally]
    integrations: Mapping[IntegrationGroup, int]
    webhooks: Mapping[WebhookState, int]
    deliveries: Mapping[DeliveryStatus, int]
    syncs: Mapping[SyncStatus, int]
    alerts: Mapping[Severity, int]
    keys: KeyTotals
    backlog: Backlog


@dataclass(frozen=True, slots=True)
class Measures:
    """All there is at `taken_at`. `queues` has, by queue, messages by state; None when the queue did not answer."""

    taken_at: datetime
    stored: Stored
    queues: Mapping[str, Mapping[str, int]] | None = field(default=None)
