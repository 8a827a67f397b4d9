"""The facts that rules decide by: a subject, and what was counted of it since it was last modified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

from domain.apikeys.model import ApiKey
from domain.apikeys.usage import Bucket
from domain.integrations.model import Integration
from domain.journal.signals import Signal, Tally, hour_of, total_of
from domain.monitoring.anomalies.ports import SeenTrait
from domain.providers.records import StreamProfile
from domain.recommendations.benchmarks import ProviderBenchmark
from domain.recommendations.model import Period
from domain.recommendations.ports import DeliveryOutcome
from domain.sync.model import SyncJob
from domain.sync.schedules import SyncSchedule
from domain.webhooks.model import Webhook

#: How far back configurations are examined.
WINDOW = timedelta(days=14)


@dataclass(frozen=True)
class WebhookFacts:
    """`hours` are in order; `outcomes` are of the newest deliveries, oldest first, if any failed."""

    webhook: Webhook
    period: Period
    hours: Sequence[Signal]
    outcomes: Sequence[DeliveryOutcome] = ()
    max_retries: int = 5

    @cached_property
    def total(self) -> Tally:
        return total_of([hour.tally for hour in self.hours])

    @property
    def days(self) -> list[date]:
        return [hour.hour.date() for hour in self.hours]


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """`hours` are those of `period` with a request, in order; `scopes` those used in the last 90 days."""

    key: ApiKey
    period: Period
    hours: Sequence[Bucket]
    scopes: Sequence[SeenTrait] = ()


@dataclass(frozen=True, slots=True)
class IntegrationFacts:
    """`hours` are those of its health checks, in order."""

    integration: Integration
    period: Period
    hours: Sequence[Signal]


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """Health checks of the integration, of its provider for other tenants, and of other providers."""

    integration: Integration
    period: Period
    days: Sequence[date]
    own: ProviderBenchmark | None
    alike: ProviderBenchmark | None
    others: Sequence[ProviderBenchmark]


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """What a schedule's rules decide by. `runs` and `streams` are empty where no rule needs them.

    - `hours`: those of the integration's health checks, in order, of whole days (UTC) in `period`.
    - `runs`: the latest that ended well in it since the schedule was last modified, oldest first.
    - `streams`: what the provider has."""

    schedule: SyncSchedule
    period: Period
    hours: Sequence[Signal]
    runs: Sequence[SyncJob] = ()
    streams: Sequence[StreamProfile] = ()


def period_of(modified_at: datetime | None, created_at: datetime, now: datetime) -> Period:
    """Return the whole hours of the present configuration, up to `WINDOW`."""
    changed = max(modified_at or created_at, created_at)
    whole = hour_of(changed)
    if whole < changed:
        whole += timedelta(hours=1)
    return Period(min(max(whole, hour_of(now) - WINDOW), now), now)
