"""Where alerts are stored, what they are evaluated by, and how people are notified."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.integrations.ports import Integrations
from domain.journal.audit import AuditTransaction
from domain.journal.ports import OutboxTransaction
from domain.monitoring.alerts.model import Alert, AlertFilter, AlertKind, Notification, RuleSettings
from domain.providers.contract import OutgoingMessage
from domain.webhooks.ports import Webhooks


class Alerts(Protocol):
    """The alerts of one tenant; `active` and `delete_before` see all tenants. `get` raises NotFound."""

    def add(self, tenant_id: UUID, alert: Alert) -> None:
        """Store a new alert. Raises Unavailable when another transaction opens the same one."""

    def get(self, tenant_id: UUID, alert_id: UUID) -> Alert: ...

    def page(self, tenant_id: UUID, filter_: AlertFilter, page: PageRequest) -> Page[Alert]:
        """Return alerts, newest first."""

    def find_active(self, tenant_id: UUID, kind: AlertKind, subject: str) -> Alert | None: ...

    def last_recovery(self, tenant_id: UUID, kind: AlertKind, subject: str) -> datetime | None: ...

    def repeat(self, tenant_id: UUID, alert: Alert) -> None:
        """Count one more repeat and store what was seen last, unless that moment or a later one was counted already."""

    def recover(self, tenant_id: UUID, alert_id: UUID, reason: str, at: datetime) -> bool:
        """Close an alert. Return False when it had recovered already."""

    def acknowledge(
        self, tenant_id: UUID, alert_id: UUID, *, by: UUID, note: str | None, at: datetime
    ) -> bool:
        """Acknowledge an alert. Return False when it was not open."""

    def note_failure(self, tenant_id: UUID, alert_id: UUID, detail: str) -> None: ...

    def active(self, kinds: Collection[AlertKind]) -> list[Alert]: ...

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` alerts that recovered before `cutoff`, with their notifications, and return how many."""


class AlertRules(Protocol):
    def settings(self, tenant_id: UUID) -> Mapping[AlertKind, RuleSettings]: ...

    def set(
        self, tenant_id: UUID, kind: AlertKind, settings: RuleSettings, *, by: UUID, now: datetime
    ) -> None:
        """Store the settings if `settings.version` is current. Raises PreconditionFailed."""

    def of_kind(self, kind: AlertKind) -> Mapping[UUID, RuleSettings]: ...


class Notifications(Protocol):
    def append(self, notifications: Sequence[Notification]) -> None: ...

    def of_alert(self, tenant_id: UUID, alert_id: UUID) -> list[Notification]: ...

    def claim(self, now: datetime, until: datetime, limit: int) -> list[Notification]:
        """Claim messages that are due: nobody else gets them before `until`. Each counts as one more attempt."""

    def settle(self, notification: Notification) -> None:
        """Store the status, due moment and detail of a message, unless another attempt began since."""


@dataclass(frozen=True, slots=True)
class HourRate:
    """A webhook's attempts in the hour that begins at `hour`."""

    tenant_id: UUID
    webhook_id: UUID
    hour: datetime
    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class HeldDeliveries:
    """What a webhook that is not active holds, and when the first of it expires."""

    tenant_id: UUID
    webhook_id: UUID
    count: int
    first_expires_at: datetime


class AlertConditions(Protocol):
    def held(self, now: datetime, until: datetime) -> list[HeldDeliveries]:
        """Return the held deliveries of webhooks whose first one expires by `until`; none that has expired."""

    def webhook_rates(self, since: datetime) -> list[HourRate]:
        """Return the hours that began at or after `since` of webhooks with a failure in one of them."""

    def over(self, kind: AlertKind, alerts: Sequence[Alert]) -> set[UUID]:
        """Return the ids of those alerts whose cause is gone.

        - The webhook is not disabled any more.
        - The integration is active and healthy, or was removed.
        - A later sync of the integration succeeded."""


class DeadLetterCounts(Protocol):
    def dead_letter_counts(self) -> Mapping[str, int]:
        """Count dead letters by queue that has any. May stop counting at 100. Raises Unavailable."""


class Notifier(Protocol):
    async def send(self, tenant_id: UUID, integration_id: UUID, message: OutgoingMessage) -> None:
        """Send by the tenant's own integration. Raises ProviderFailure, NotFound, Unavailable."""


class AlertTransaction(OutboxTransaction, AuditTransaction, Protocol):
    """What evaluating and reporting alerts may touch."""

    @property
    def alerts(self) -> Alerts: ...
    @property
    def alert_rules(self) -> AlertRules: ...
    @property
    def alert_conditions(self) -> AlertConditions: ...
    @property
    def notifications(self) -> Notifications: ...
    @property
    def integrations(self) -> Integrations: ...
    @property
    def webhooks(self) -> Webhooks: ...
