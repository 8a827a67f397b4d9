"""Where anomalies and the uses of keys are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Protocol
from uuid import UUID

from domain.apikeys.ports import ApiKeys
from domain.core.paging import Page, PageRequest
from domain.core.transaction import UserTransaction
from domain.integrations.ports import Integrations
from domain.journal.audit import AuditTransaction
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction
from domain.monitoring.anomalies.model import Anomaly, AnomalyFilter, Metric
from domain.webhooks.ports import Webhooks


class Anomalies(Protocol):
    """A tenant's anomalies; `watermarks` and `delete_before` see all tenants. `get` raises NotFound."""

    def add(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        """Store a new anomaly. Raises Unavailable when another transaction stores the same active one."""

    def get(self, tenant_id: UUID, anomaly_id: UUID) -> Anomaly: ...

    def page(self, tenant_id: UUID, filter_: AnomalyFilter, page: PageRequest) -> Page[Anomaly]:
        """Return anomalies, newest first."""

    def active(self, tenant_id: UUID) -> list[Anomaly]: ...

    def update(self, tenant_id: UUID, anomaly: Anomaly) -> None: ...

    def decide(self, tenant_id: UUID, anomaly: Anomaly) -> None: ...

    def snoozed(self, tenant_id: UUID, now: datetime) -> set[tuple[UUID, Metric]]:
        """Return the subject and metric of each anomaly whose snooze has not ended."""

    def exists_since(self, tenant_id: UUID, subject_id: UUID, metric: Metric, since: datetime) -> bool: ...

    def watermarks(self) -> Mapping[UUID, datetime]:
        """Return, by tenant, the hour before which every hour was examined."""

    def set_watermark(self, tenant_id: UUID, hour: datetime, *, before: datetime | None) -> None:
        """Move the watermark from `before`. Raises Unavailable when another process has moved it."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` anomalies that ended before `cutoff`, and return how many."""


#: The value of a use for which no scope was named.
ANYTHING: Final = "*"


class Trait(IntEnum):
    Network = 0
    Country = 1
    Client = 2
    DeniedScope = 3
    Scope = 4


@dataclass(frozen=True, slots=True)
class Sighting:
    """A use of a key; `value` is `ANYTHING` when no scope was named."""

    tenant_id: UUID
    api_key_id: UUID
    trait: Trait
    value: str


@dataclass(frozen=True, slots=True)
class SeenTrait:
    """A value that a key showed of a trait, and when it did so first and last."""

    value: str
    first_seen_at: datetime
    last_seen_at: datetime


class Sightings(Protocol):
    def known(self, api_key_id: UUID, trait: Trait) -> list[SeenTrait]: ...

    def known_of(self, api_key_ids: Collection[UUID], trait: Trait) -> Mapping[UUID, Sequence[SeenTrait]]:
        """Return what is known of several keys; those that showed nothing are left out."""

    def see(self, sightings: Sequence[Sighting], now: datetime) -> list[Sighting]:
        """Store sightings, or that they were seen again; return new ones. Raises Unavailable on a clash."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` sightings that were last seen before `cutoff`, and return how many."""


class AnomalyTransaction(
    OutboxTransaction, AuditTransaction, OccurrenceTransaction, UserTransaction, Protocol
):
    """What detecting and reporting anomalies may touch."""

    @property
    def anomalies(self) -> Anomalies: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def integrations(self) -> Integrations: ...
    @property
    def webhooks(self) -> Webhooks: ...
