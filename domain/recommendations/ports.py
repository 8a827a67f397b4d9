"""What recommendations read beside signals, and where decisions about them are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.apikeys.ports import ApiKeys
from domain.integrations.model import Integration
from domain.integrations.ports import Integrations
from domain.journal.audit import AuditTransaction
from domain.journal.signals import SignalTransaction, Tally
from domain.monitoring.anomalies.ports import Sightings
from domain.providers.contract import IntegrationType
from domain.providers.records import StreamProfile
from domain.recommendations.model import Decision
from domain.sync.ports import SyncJobs, SyncSettings
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.ports import Webhooks


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """How a delivery went."""

    event_type: str
    status: DeliveryStatus
    attempts: int
    scheduled_at: datetime
    delivered_at: datetime | None = None
    http_status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Attempts:
    """A webhook's attempts, how many of them failed, and the first hour with one."""

    total: int
    failed: int
    first: datetime


class DeliveryOutcomes(Protocol):
    def attempts(self, tenant_id: UUID, since: datetime) -> Mapping[UUID, Attempts]:
        """Of each webhook with an attempt in an hour that began at or after `since`."""

    def newest(
        self, tenant_id: UUID, webhook_id: UUID, *, since: datetime, limit: int
    ) -> list[DeliveryOutcome]:
        """Of up to `limit` deliveries scheduled since, oldest first."""


class PeerChecks(Protocol):
    """Health checks over all tenants; who asks adds them up before a tenant sees any."""

    def checks(self, provider: str, *, since: datetime, until: datetime, limit: int) -> Mapping[UUID, Tally]:
        """By tenant, of up to `limit` active integrations of the provider, chosen without regard to how they do; hours
        that begin at or after `since` and before `until`, as far as they were added up."""


class Providers(Protocol):
    """What the hub's providers can do."""

    def of_type(self, integration_type: IntegrationType) -> Sequence[str]:
        """Names, in order; none where the type is switched off."""

    def streams(self, integration: Integration) -> Sequence[StreamProfile]:
        """What can be synchronised. Raises Conflict, Unavailable."""


class Decisions(Protocol):
    """One tenant's decisions, at most one on a recommendation; `tenants` sees all."""

    def tenants(
        self, after: UUID, *, until: UUID | None, decided_before: datetime, limit: int
    ) -> Sequence[UUID]:
        """With a decision of before that moment; in the database's order of ids, beyond `after`, up to `until`."""

    def of_tenant(self, tenant_id: UUID) -> Mapping[UUID, Decision]:
        """By the recommendation's id."""

    def put(self, tenant_id: UUID, decision: Decision) -> None:
        """In the place of an earlier one. Raises Unavailable when another is stored at the same time."""

    def remove(self, tenant_id: UUID, recommendation_id: UUID) -> None: ...


class RecommendationTransaction(AuditTransaction, SignalTransaction, Protocol):
    """The transaction that reads the facts of recommendations, and records decisions about them."""

    @property
    def decisions(self) -> Decisions: ...
    @property
    def outcomes(self) -> DeliveryOutcomes: ...
    @property
    def peers(self) -> PeerChecks: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def integrations(self) -> Integrations: ...
    @property
    def sightings(self) -> Sightings: ...
    @property
    def sync_jobs(self) -> SyncJobs: ...
    @property
    def sync_settings(self) -> SyncSettings: ...
    @property
    def webhooks(self) -> Webhooks: ...
