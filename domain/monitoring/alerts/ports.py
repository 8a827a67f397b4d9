"""Where alerts are stored, what they are evaluated by, and how people are notified."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.apikeys.rate_limit import Charge, RateStatus
from domain.core.paging import Page, PageRequest
from domain.core.tenants import StandingTransaction
from domain.integrations.model import HealthStatus, IntegrationStatus, SuspensionCause
from domain.integrations.ports import Integrations
from domain.journal.audit import AuditTransaction
from domain.journal.bursts import BurstTransaction
from domain.journal.ports import OutboxTransaction
from domain.monitoring.alerts.model import (
    Alert,
    AlertFilter,
    AlertKind,
    Closing,
    Notification,
    RuleSettings,
)
from domain.providers.contract import OutgoingMessage
from domain.sync.model import SyncStatus
from domain.webhooks.model import WebhookState


class Alerts(Protocol):
    """The alerts of one tenant; `active` and `delete_before` see all tenants. `get` raises NotFound."""

    def add(self, tenant_id: UUID, alert: Alert) -> None:
        """Store a new alert. Raises Unavailable when another transaction opens the same one."""

    def get(self, tenant_id: UUID, alert_id: UUID) -> Alert: ...

    def page(self, tenant_id: UUID, filter_: AlertFilter, page: PageRequest) -> Page[Alert]:
        """Return alerts, newest first."""

    def find_active(self, tenant_id: UUID, kind: AlertKind, subject: str) -> Alert | None: ...

    def last_ended(self, tenant_id: UUID, kind: AlertKind, subject: str) -> Alert | None:
        """Return the alert of the subject that ended last."""

    def repeat(self, tenant_id: UUID, alert: Alert, *, continues: bool = False) -> None:
        """Count one more repeat and store what was seen last, unless that moment or a later one was counted already.

        More of the same (`continues`) is stored and not counted. Successes in a row begin anew."""

    def succeed(
        self, tenant_id: UUID, kind: AlertKind, subject: str, *, count: int = 1, at: datetime
    ) -> None:
        """Count successes of the subject's active alert, if there is one that was last seen before `at`."""

    def end(self, tenant_id: UUID, alert_id: UUID, closing: Closing, at: datetime) -> bool:
        """End an alert. Return False when it had ended already."""

    def reopen(self, tenant_id: UUID, alert: Alert) -> bool:
        """Make an alert that ended active again, as one more repeat. Return False when it is active.

        Raises Unavailable when another transaction opens one of the same subject."""

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

    def renew(self, notifications: Sequence[Notification]) -> None:
        """Make messages due again that were sent before an alert was opened again; append those that were not."""

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


@dataclass(frozen=True, slots=True)
class WebhookStanding:
    """A webhook's address, state and attempts: those that succeeded since the last one that failed."""

    url: str
    state: WebhookState
    successes: int
    succeeding_since: datetime | None
    last_failed_at: datetime | None
    last_triggered_at: datetime | None


@dataclass(frozen=True, slots=True)
class IntegrationStanding:
    status: IntegrationStatus
    suspension: SuspensionCause | None
    is_enabled: bool
    health: HealthStatus
    vitals: str | None
    validated_at: datetime | None
    last_checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndedJob:
    """A sync job that ended; one that `goes_on` in a following job of its chain tells nothing by itself."""

    data_sync_job_id: UUID
    status: SyncStatus
    completed_at: datetime
    resumed_from: UUID | None = None
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Receipts:
    """Requests with incoming webhooks that were accepted after the last one refused, and when the first came."""

    accepted: int
    since: datetime | None
    last_at: datetime | None


#: Of an alert's subject: events name it, so it counts only within their tenant.
Named = tuple[UUID, UUID]


class AlertConditions(Protocol):
    """What tells whether the cause of an alert holds. Subjects that are not in an answer do not exist any more."""

    def held(self, now: datetime, until: datetime) -> list[HeldDeliveries]:
        """Return the held deliveries of webhooks whose first one expires by `until`; none that has expired."""

    def webhook_rates(self, since: datetime) -> list[HourRate]:
        """Return the hours that began at or after `since` of webhooks with a failure in one of them."""

    def webhooks(self, names: Collection[Named]) -> Mapping[Named, WebhookStanding]: ...

    def integrations(self, names: Collection[Named]) -> Mapping[Named, IntegrationStanding]: ...

    def keys(self, names: Collection[Named]) -> set[Named]:
        """Return those API keys that exist and are not revoked."""

    def ended_jobs(self, names: Collection[Named], since: datetime) -> Mapping[Named, Sequence[EndedJob]]:
        """Return, by integration, the sync jobs that ended after `since`, in that order."""

    def receipts(self, tenant_id: UUID, integration_id: UUID, since: datetime) -> Receipts:
        """Return what was accepted after `since`; a body that came before under another id does not count."""

    def events_read(self, since: datetime, limit: int) -> int:
        """Count up to `limit` events stored after `since` whose message on `domain-events` was read."""

    def examined_until(self, tenant_id: UUID) -> datetime | None:
        """Return the hour before which anomalies were looked for."""

    def is_unusual(self, tenant_id: UUID, subject_id: UUID) -> bool:
        """Return whether an anomaly of the subject has not ended."""


class QuotaCharges(Protocol):
    """The counting of rate limits, which is tried while it is known to have failed."""

    def charge(self, quota_id: UUID, charges: Sequence[Charge]) -> Sequence[RateStatus]:
        """Decide the charges, and count them. Raises Unavailable."""


class DeadLetterCounts(Protocol):
    def dead_letter_counts(self) -> Mapping[str, int]:
        """Count dead letters by queue that has any. May stop counting at 100. Raises Unavailable."""


class Notifier(Protocol):
    async def send(self, tenant_id: UUID, integration_id: UUID, message: OutgoingMessage) -> None:
        """Send by the tenant's own integration. Raises ProviderFailure, NotFound, Unavailable."""


class AlertTransaction(OutboxTransaction, AuditTransaction, BurstTransaction, StandingTransaction, Protocol):
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
