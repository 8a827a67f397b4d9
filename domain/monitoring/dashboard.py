"""Everything that a dashboard shows, in one read (section 19)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from domain.apikeys.model import ApiKey, KeyFilter, KeyStatus
from domain.apikeys.ports import ApiKeys
from domain.apikeys.rate_limit import Charge, ChargeKind, RateLimiter
from domain.core.errors import Unavailable
from domain.core.paging import MAX_PAGE_SIZE, PageRequest, every
from domain.core.permissions import INSIGHTS_READ, INTEGRATION_MANAGE, WEBHOOK_MANAGE
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions
from domain.integrations.health_history import HealthSample, HealthSamples
from domain.integrations.model import Integration
from domain.integrations.ports import IntegrationFilter, Integrations
from domain.journal.signals import SignalTransaction, SubjectKind, Tally
from domain.monitoring.signal_series import Series, points_of
from domain.sync.model import SyncJob, SyncStatus
from domain.sync.ports import JobFilter, SyncJobs
from domain.webhooks.model import Webhook
from domain.webhooks.ports import WebhookFilter, Webhooks

FIRST_PAGE = PageRequest(1, MAX_PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class WebhookLine:
    webhook: Webhook
    tally: Tally


@dataclass(frozen=True, slots=True)
class IntegrationLine:
    """An integration and its health of the last hours, oldest first; empty while the table store does not answer."""

    integration: Integration
    samples: Sequence[HealthSample]


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key, and what was used of its quota within the hour, which its rotation successor shares."""

    key: ApiKey
    used: int


@dataclass(frozen=True, slots=True)
class SyncLine:
    job: SyncJob
    integration_name: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What a dashboard shows; a part is None where the caller lacks the permission. Lists end at 200.

    Webhooks that failed most come first; of keys, only those that can be used are included."""

    at: datetime
    hours: int
    permissions: Sequence[str]
    deliveries: Series | None
    webhooks: Sequence[WebhookLine] | None
    integrations: Sequence[IntegrationLine] | None = None
    api_keys: Sequence[KeyLine] | None = None
    syncs: Sequence[SyncLine] | None = None


class OverviewService:
    def __init__(
        self,
        transactions: Transactions[DashboardTransaction],
        samples: HealthSamples,
        limiter: RateLimiter,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._samples = samples
        self._limiter = limiter
        self._clock = clock

    def read(self, principal: Principal, hours: int) -> Overview:
        """Return the overview of the last `hours`, the current one included. Raises Forbidden, Unavailable."""
        principal.require(INSIGHTS_READ)
        now = self._clock.now()
        since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
        sees_webhooks = WEBHOOK_MANAGE in principal.permissions
        sees_integrations = INTEGRATION_MANAGE in principal.permissions
        tenant = principal.tenant_id
        with self._transactions.read() as tx:
            deliveries = self._deliveries(tx, tenant, since, now) if sees_webhooks else None
            webhooks = self._webhooks(tx, tenant, since, now) if sees_webhooks else None
            overview = Overview(now, hours, sorted(principal.permissions), deliveries, webhooks)
            if not sees_integrations:
                return overview
            integrations = tx.integrations.page(tenant, IntegrationFilter(), FIRST_PAGE).items
            keys = tx.api_keys.page(tenant, KeyFilter(status=KeyStatus.Active), FIRST_PAGE, now).items
            running = JobFilter(statuses=[SyncStatus.Running, SyncStatus.Scheduled])
            jobs = tx.sync_jobs.page(tenant, running, FIRST_PAGE).items
        names = {integration.integration_id: integration.name for integration in integrations}
        return replace(
            overview,
            integrations=[self._sampled(integration, now) for integration in integrations],
            api_keys=[KeyLine(key, self._used_of(key, now)) for key in keys],
            syncs=[SyncLine(job, names.get(job.integration_id, str(job.integration_id))) for job in jobs],
        )

    def _deliveries(self, tx: DashboardTransaction, tenant: UUID, since: datetime, now: datetime) -> Series:
        signals = tx.signals.read(tenant, SubjectKind.Tenant, since=since, until=now, subject_id=tenant)
        return Series(since, now, "hour", points_of(signals, since, now, "hour"))

    def _webhooks(
        self, tx: DashboardTransaction, tenant: UUID, since: datetime, now: datetime
    ) -> list[WebhookLine]:
        sums: dict[UUID, Tally] = {}
        for signal in tx.signals.read(tenant, SubjectKind.Webhook, since=since, until=now):
            sums[signal.subject_id] = sums.get(signal.subject_id, Tally()) + signal.tally
        # A tenant has 50, or as many as HUB_WEBHOOK_LIMIT_PER_TENANT allows.
        webhooks = every(partial(tx.webhooks.page, tenant, WebhookFilter()))
        lines = [WebhookLine(webhook, sums.get(webhook.webhook_id, Tally())) for webhook in webhooks]
        lines.sort(key=lambda line: line.tally.failed, reverse=True)
        return lines[: FIRST_PAGE.page_size]

    def _sampled(self, integration: Integration, now: datetime) -> IntegrationLine:
        try:
            samples = self._samples.since(integration.integration_id, now - timedelta(hours=6))
        except Unavailable:
            samples = []
        return IntegrationLine(integration, samples[-48:])

    def _used_of(self, key: ApiKey, now: datetime) -> int:
        try:
            window = self._limiter.window(key.quota_id)
        except Unavailable:
            return 0
        peek = Charge(key.api_key_id.hex, key.rate_limit_per_hour, ChargeKind.Peek)
        [rate] = window.charge([peek], now)
        return max(0, rate.limit - rate.remaining)


class DashboardTransaction(SignalTransaction, Protocol):
    """What the overview reads."""

    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def integrations(self) -> Integrations: ...
    @property
    def sync_jobs(self) -> SyncJobs: ...
    @property
    def webhooks(self) -> Webhooks: ...
