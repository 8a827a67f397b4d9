"""Where integrations and their logs are kept, and how their providers are reached."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.integrations.model import HealthStatus, Integration, IntegrationLog, IntegrationStatus, LogLevel
from domain.journal.audit import AuditTransaction
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction
from domain.journal.signals import SignalTransaction
from domain.providers.contract import IntegrationType, ProviderHttp

SortField = Literal[
    "name", "createdAt", "modifiedAt", "status", "integrationType", "provider", "lastHealthCheck"
]


@dataclass(frozen=True, slots=True)
class IntegrationFilter:
    """All given conditions hold. Without `statuses` all but Disconnected ones are found. `text` is a part of the
    name or provider, whatever its case."""

    types: Sequence[IntegrationType] = ()
    statuses: Sequence[IntegrationStatus] = ()
    providers: Sequence[str] = ()
    health: Sequence[HealthStatus] = ()
    text: str | None = None
    sort: SortField = "createdAt"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Moments are inclusive and exclusive; `text` is a part of the message."""

    levels: Sequence[LogLevel] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class HealthUpdate:
    """What a check found that changes no status. It is dropped when the integration's status or credentials
    changed since `checked` was read."""

    checked: Integration
    health_status: HealthStatus
    vitals: str
    consecutive_failures: int
    probe_after: datetime | None
    at: datetime


class SlotTaken(Exception):
    """BR-IM-01's unique index refused the change: another integration holds the slot."""


class Integrations(Protocol):
    """The first five see one tenant; the others serve the product itself and see all."""

    def add(self, tenant_id: UUID, integration: Integration) -> None: ...

    def get(self, tenant_id: UUID, integration_id: UUID) -> Integration:
        """Raises NotFound."""

    def page(self, tenant_id: UUID, filter_: IntegrationFilter, page: PageRequest) -> Page[Integration]: ...

    def update(self, tenant_id: UUID, integration: Integration) -> None:
        """Store it if `integration.version` is still current, and count the version up; the slot follows its
        status. Raises PreconditionFailed, SlotTaken (then nothing of this transaction may be committed)."""

    def slot_holder(self, tenant_id: UUID, slot: str) -> UUID | None:
        """Which integration holds a slot now. For an early answer only: the index decides."""

    def find(self, integration_id: UUID) -> Integration | None:
        """Of any tenant."""

    def due_for_check(
        self, now: datetime, *, after: UUID | None, checked_before: datetime, limit: int
    ) -> list[Integration]:
        """Enabled ones, Active or due for a probe while suspended, not checked since `checked_before`; in the
        order of their ids, beyond `after`."""

    def record_checks(self, updates: Sequence[HealthUpdate]) -> None:
        """Store what checks found of those that are still as they were checked; versions stay."""

    def secret_names(self, names: Collection[str]) -> set[str]:
        """Those of `names` that some integration refers to."""

    def all_ids(self, *, after: UUID | None, limit: int) -> list[UUID]:
        """In order, beyond `after`."""


class IntegrationLogs(Protocol):
    def append(self, logs: Iterable[IntegrationLog]) -> None: ...

    def page(self, integration_id: UUID, filter_: LogFilter, page: PageRequest) -> Page[IntegrationLog]:
        """Newest first."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` written before `cutoff`; returns how many."""


class OpenHttp(Protocol):
    """Makes the way out for one integration's calls."""

    def __call__(
        self, *, account: str, secrets: Collection[str], allow_tls_1_2: bool, retries: int
    ) -> ProviderHttp: ...


class AccessTokens(Protocol):
    def current(self, integration: Integration) -> str | None:
        """A token that is valid for some minutes more, None when the integration was never authorised. May call
        the authorization server; not for an event loop. Raises ProviderFailure (unauthorized when the grant was
        revoked)."""


class IntegrationTransaction(
    OutboxTransaction, AuditTransaction, OccurrenceTransaction, SignalTransaction, Protocol
):
    """The transaction of a change of an integration, or of its health, with its log."""

    @property
    def integrations(self) -> Integrations: ...
    @property
    def integration_logs(self) -> IntegrationLogs: ...
