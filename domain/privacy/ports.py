"""The repositories that find personal data and erase it, and the list of people to leave out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.errors import Conflict
from domain.core.paging import Page, PageRequest
from domain.core.transaction import UserTransaction
from domain.incoming.model import IncomingBody
from domain.integrations.model import IntegrationLog
from domain.journal.audit import AuditTransaction
from domain.journal.events import DomainEvent
from domain.privacy.model import Erasure
from domain.sync.model import RecordError, SyncedRecord


class ChangedMeanwhile(Conflict):
    """A row changed since it was read; the transaction must not be committed."""


#: An incoming body with its key: integration, moment of receipt, id of an event of it.
IncomingRow = tuple[UUID, datetime, UUID, IncomingBody]


class Erasures(Protocol):
    """Requests to erase, and the list of people whom synchronisation leaves out. `open` sees all tenants."""

    def add(self, tenant_id: UUID, erasure: Erasure) -> None: ...

    def get(self, tenant_id: UUID, erasure_id: UUID) -> Erasure: ...

    def page(self, tenant_id: UUID, page: PageRequest) -> Page[Erasure]: ...

    def open(self, before: datetime, limit: int) -> Sequence[Erasure]:
        """Return requests older than `before` that are not completed, oldest first."""

    def save(self, tenant_id: UUID, erasure: Erasure) -> None:
        """Store the request and count its version up. Raises ChangedMeanwhile unless the version is current."""

    def suppress(self, tenant_id: UUID, digests: Collection[str], at: datetime) -> int: ...

    def allow(self, tenant_id: UUID, digests: Collection[str]) -> int: ...

    def suppressed(self, tenant_id: UUID) -> frozenset[str]: ...


class PersonalData(Protocol):
    """The rows of one tenant that may be about a person; each list continues beyond the key `after`."""

    def records(
        self, tenant_id: UUID, after: tuple[UUID, str, str] | None, limit: int
    ) -> Sequence[SyncedRecord]:
        """Return records with content, in the order of integration, stream and external id."""

    def record(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_id: str
    ) -> SyncedRecord | None: ...

    def bury_record(self, tenant_id: UUID, record: SyncedRecord, now: datetime) -> None:
        """Leave a tombstone that is not exported. Raises ChangedMeanwhile, as the next two do."""

    def remove_record(self, tenant_id: UUID, record: SyncedRecord) -> None: ...

    def rewrite_record(self, tenant_id: UUID, record: SyncedRecord, data: str, now: datetime) -> None:
        """Replace the content, without an export of it."""

    def events(
        self, tenant_id: UUID, after: str | None, limit: int, *, most_bytes: int | None = None
    ) -> Sequence[DomainEvent]:
        """Return events in the order of their ids, and stop once their payloads reach `most_bytes`."""

    def rewrite_event(self, tenant_id: UUID, event_id: str, subject: str | None, payload: str) -> None:
        """Replace subject and payload, and remove what receivers answered to it."""

    def incoming(
        self, tenant_id: UUID, after: tuple[UUID, datetime, UUID] | None, limit: int
    ) -> Sequence[IncomingRow]:
        """Return stored requests in the order of integration and receipt, once for each of their events."""

    def remove_bodies(self, tenant_id: UUID, body_ids: Collection[UUID]) -> int:
        """Remove the bodies and return how many; the ids of their events stay known."""

    def logs(
        self, tenant_id: UUID, after: tuple[UUID, UUID] | None, limit: int
    ) -> Sequence[IntegrationLog]: ...

    def rewrite_log(self, tenant_id: UUID, log_id: UUID, texts: Mapping[str, str | None]) -> None:
        """Replace the `texts` of a log: Message, Details and Exception."""

    def record_errors(
        self, tenant_id: UUID, after: tuple[UUID, UUID] | None, limit: int
    ) -> Sequence[RecordError]: ...

    def rewrite_record_error(self, tenant_id: UUID, error_id: UUID, external_id: str) -> None: ...


class PrivacyTransaction(AuditTransaction, UserTransaction, Protocol):
    """The transaction that finds, exports and erases a person; suppression locks the tenant."""

    @property
    def erasures(self) -> Erasures: ...
    @property
    def personal_data(self) -> PersonalData: ...
