"""What recommendations read beside signals, and where decisions about them are stored."""

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
        """Return the attempts of each webhook that has one in an hour that began at or after `since`."""

    def newest(
        self, tenant_id: UUID, webhook_id: UUID, *, since: datetime, limit: int
    ) -> list[DeliveryOutcome]:
        """Return the newest deliveries scheduled since, at most `limit`, the oldest of them first."""


class PeerChecks(Protocol):
    """Health checks of all tenants. The caller adds them up before a tenant sees any."""

    def checks(self, provider: str, *, since: datetime, until: datetime, limit: int) -> Mapping[UUID, Tally]:
        """Return the checks by tenant of at most `limit` active integrations, chosen however they do.

        Hours are those from `since` to before `until`, as far as they were added up."""


class Providers(Protocol):
    def of_type(self, integration_type: IntegrationType) -> Sequence[str]:
        """Return the names of the providers of a type, in order; none where the type is switched off."""

    def streams(self, integration: Integration) -> Sequence[StreamProfile]:
        """Return what can be synchronised. Raises Conflict, Unavailable."""


class Decisions(Protocol):
    """The decisions of one tenant, at most one on a recommendation; `tenants` sees all tenants."""

    def tenants(
        self, after: UUID, *, until: UUID | None, decided_before: datetime, limit: int
    ) -> Sequence[UUID]:
        """Return tenants beyond `after`, up to `until`, with a decision from before, in order of ids."""

    def of_tenant(self, tenant_id: UUID) -> Mapping[UUID, Decision]: ...

    def put(self, tenant_id: UUID, decision: Decision) -> None:
        """Store, in the place of an earlier one. Raises Unavailable on a clash."""

    def remove(self, tenant_id: UUID, recommendation_id: UUID) -> None: ...


class RecommendationTransaction(AuditTransaction, SignalTransaction, Protocol):
    """What recommendations read, and where decisions about them go."""

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
