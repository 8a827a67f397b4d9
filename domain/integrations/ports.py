"""Where integrations and their logs are kept, and how their providers are reached."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.tenants import StandingTransaction
from domain.core.transaction import UserTransaction
from domain.integrations.model import HealthStatus, Integration, IntegrationLog, IntegrationStatus, LogLevel
from domain.journal.audit import AuditTransaction
from domain.journal.occurrences import OccurrenceTransaction
from domain.journal.ports import OutboxTransaction
from domain.journal.signals import SignalTransaction
from domain.providers.contract import IntegrationType, ProviderHttp
from domain.providers.untrusted import UNPROTECTED, TenantWork

SortField = Literal[
    "name", "createdAt", "modifiedAt", "status", "integrationType", "provider", "lastHealthCheck"
]


@dataclass(frozen=True, slots=True)
class IntegrationFilter:
    """Conditions that all hold; an empty one is not applied, but without `statuses` Disconnected ones are left out.

    - `text` is a part of the name or provider; case does not matter.
    - `calendars_of`: only the calendars of this owner."""

    types: Sequence[IntegrationType] = ()
    statuses: Sequence[IntegrationStatus] = ()
    providers: Sequence[str] = ()
    health: Sequence[HealthStatus] = ()
    text: str | None = None
    sort: SortField = "createdAt"
    descending: bool = False
    calendars_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Conditions that all hold: `since` is inclusive, `until` exclusive, `text` a part of the message."""

    levels: Sequence[LogLevel] = ()
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class HealthUpdate:
    """The result of a check that changes no status; dropped when status or credentials are not as in `checked`."""

    checked: Integration
    health_status: HealthStatus
    vitals: str
    consecutive_failures: int
    probe_after: datetime | None
    at: datetime


class SlotTaken(Exception):
    """BR-IM-01's unique index refused the change: another integration holds the slot."""


class Integrations(Protocol):
    """Stores integrations. Methods with `tenant_id` see that tenant; the others serve the product and see all."""

    def add(self, tenant_id: UUID, integration: Integration) -> None: ...

    def get(self, tenant_id: UUID, integration_id: UUID) -> Integration:
        """Return the integration. Raises NotFound."""

    def page(self, tenant_id: UUID, filter_: IntegrationFilter, page: PageRequest) -> Page[Integration]: ...

    def count(self, tenant_id: UUID) -> int:
        """Return how many there are that are not disconnected."""

    def update(self, tenant_id: UUID, integration: Integration) -> None:
        """Store it if `integration.version` is still current, and count the version up; the slot follows its status.

        Raises PreconditionFailed, SlotTaken (then nothing of this transaction may be committed)."""

    def slot_holder(self, tenant_id: UUID, slot: str) -> UUID | None:
        """Return the integration that holds a slot now. For an early answer only: the index decides."""

    def find(self, integration_id: UUID) -> Integration | None:
        """Return the integration of whatever tenant."""

    def due_for_check(
        self, now: datetime, *, after: UUID | None, checked_before: datetime, limit: int
    ) -> list[Integration]:
        """Return enabled integrations that are Active, or Suspended and due for a probe, in the order of their ids.

        Those up to `after`, or checked since `checked_before`, are left out."""

    def record_checks(self, updates: Sequence[HealthUpdate]) -> None:
        """Store the results for integrations that are still as they were checked; versions stay."""

    def secret_names(self, names: Collection[str]) -> set[str]:
        """Return those of `names` that some integration refers to."""

    def note_client(self, integration_id: UUID, client_hash: str) -> None:
        """Store which OAuth client a grant was given to; the version stays."""

    def of_client(
        self, client_hash: str, account_hash: str | None, *, after: UUID | None, limit: int
    ) -> list[Integration]:
        """Return integrations whose grant was given to the client by the account, in the order of their ids.

        Those up to `after`, and disconnected ones, are left out. An unknown account, there or asked for, may be any."""

    def all_ids(self, *, after: UUID | None, limit: int) -> list[UUID]:
        """Return ids in order, beyond `after`."""


class IntegrationLogs(Protocol):
    def append(self, logs: Iterable[IntegrationLog]) -> None: ...

    def page(self, integration_id: UUID, filter_: LogFilter, page: PageRequest) -> Page[IntegrationLog]:
        """Return a page of the log, newest first."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` rows written before `cutoff`; return how many."""


@dataclass(frozen=True, slots=True)
class RenewableToken:
    """The access token of a connection; `renew` blocks, and returns one in place of a refused token, or None."""

    value: str = field(repr=False)
    renew: Callable[[str], str | None]


class OpenHttp(Protocol):
    def __call__(
        self,
        *,
        account: str,
        secrets: Collection[str],
        allow_tls_1_2: bool,
        retries: int,
        token: RenewableToken | None = None,
        work: TenantWork = UNPROTECTED,
    ) -> ProviderHttp: ...


class AccessTokens(Protocol):
    def current(self, integration: Integration, plain: Mapping[str, Any] | None = None) -> str | None:
        """Return a token that is valid for some minutes more, None when the integration was never authorised.

        None too when the token may not be sent to where `plain`, the fields that are no secret, leads; without `plain`,
        to where the stored configuration leads. May call the authorization server: not for an event loop. Raises
        ProviderFailure (`unauthorized`: revoked)."""

    def renewed(self, integration: Integration, refused: str) -> str | None:
        """Return a token in place of one that the provider refused with 401, None where none can be had.

        However many callers ask, it is refreshed once. Raises ProviderFailure: `unauthorized` when the grant was
        revoked or the refresh refused, `unavailable` when the authorization server did not answer as it should."""


class IntegrationTransaction(
    OutboxTransaction,
    AuditTransaction,
    OccurrenceTransaction,
    SignalTransaction,
    UserTransaction,
    StandingTransaction,
    Protocol,
):
    """The transaction of a change of an integration, or of its health, with its log."""

    @property
    def integrations(self) -> Integrations: ...
    @property
    def integration_logs(self) -> IntegrationLogs: ...
