"""Where anomalies are kept, and what is known of how keys are used."""

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
    """One tenant's anomalies; `watermarks` and `delete_before` see all tenants."""

    def add(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        """Raises Unavailable when another transaction stores the same active one."""

    def get(self, tenant_id: UUID, anomaly_id: UUID) -> Anomaly:
        """Raises NotFound."""

    def page(self, tenant_id: UUID, filter_: AnomalyFilter, page: PageRequest) -> Page[Anomaly]:
        """Newest first."""

    def active(self, tenant_id: UUID) -> list[Anomaly]: ...

    def update(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        """Store what was seen of it last, and its end."""

    def decide(self, tenant_id: UUID, anomaly: Anomaly) -> None:
        """Store who acknowledged it and until when its like is not told."""

    def snoozed(self, tenant_id: UUID, now: datetime) -> set[tuple[UUID, Metric]]:
        """Subject and metric of those whose snooze lies ahead."""

    def exists_since(self, tenant_id: UUID, subject_id: UUID, metric: Metric, since: datetime) -> bool:
        """Whether one of the subject and metric began at or after `since`."""

    def watermarks(self) -> Mapping[UUID, datetime]:
        """By tenant, the hour before which everything was judged."""

    def set_watermark(self, tenant_id: UUID, hour: datetime, *, before: datetime | None) -> None:
        """Move it on from `before`, None where there was none. Raises Unavailable when somebody else has moved it."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` that ended before; returns how many."""


#: The value of a use for which no scope was named: it may have been for any.
ANYTHING: Final = "*"


class Trait(IntEnum):
    """What a use of a key shows."""

    Network = 0
    Country = 1
    Client = 2
    DeniedScope = 3
    Scope = 4


@dataclass(frozen=True, slots=True)
class Sighting:
    """A key was used so: from a `value` of a network (CIDR), country or client program, for a scope it lacks, or
    for one it has; `ANYTHING` when whoever asked named no scope."""

    tenant_id: UUID
    api_key_id: UUID
    trait: Trait
    value: str


@dataclass(frozen=True, slots=True)
class SeenTrait:
    """What a key showed of a trait, and when it did so first and last."""

    value: str
    first_seen_at: datetime
    last_seen_at: datetime


class Sightings(Protocol):
    """What was seen of keys of all tenants."""

    def known(self, api_key_id: UUID, trait: Trait) -> list[SeenTrait]: ...

    def known_of(self, api_key_ids: Collection[UUID], trait: Trait) -> Mapping[UUID, Sequence[SeenTrait]]:
        """The same of several keys; those that showed nothing are left out."""

    def see(self, sightings: Sequence[Sighting], now: datetime) -> list[Sighting]:
        """Store them, or that they were seen again; returns the new ones. Raises Unavailable when another
        transaction stores the same one."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` that were seen last before; returns how many."""


class AnomalyTransaction(
    OutboxTransaction, AuditTransaction, OccurrenceTransaction, UserTransaction, Protocol
):
    """The transaction that records anomalies, and reads the names of what they are about."""

    @property
    def anomalies(self) -> Anomalies: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def integrations(self) -> Integrations: ...
    @property
    def webhooks(self) -> Webhooks: ...
