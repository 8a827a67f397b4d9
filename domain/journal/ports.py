"""Where events are kept until they are delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.transaction import Transaction
from domain.journal.audit import AuditTransaction
from domain.journal.events import DomainEvent


@dataclass(frozen=True, slots=True)
class EventRef:
    """An event's name; ids are unique within a tenant."""

    tenant_id: UUID
    event_id: str


class Outbox(Protocol):
    """The DomainEvents table. Events are appended in the transaction of the change that raised them.

    After commit the new ones are announced on the queue `domain-events`, best effort."""

    def append(self, events: Sequence[DomainEvent], *, fanned_out_at: datetime | None = None) -> int:
        """Store the events not stored before; return how many were new. A repeat never raises.

        Those with `fanned_out_at` have no subscribers, or the caller delivers them: they are not announced."""

    def pending(self, refs: Sequence[EventRef], *, most_bytes: int | None = None) -> list[DomainEvent]:
        """Return the events of `refs` not yet fanned out; with `most_bytes` no more once their payloads come to it."""

    def pending_about(
        self, tenant_id: UUID, subjects: Sequence[str], *, until: int, limit: int
    ) -> list[EventRef]:
        """Return events not yet fanned out about any of the subjects, the first accepted first.

        `until` is the highest `sequence` wanted. Subjects may be compared without regard to case."""

    def mark_fanned_out(self, refs: Sequence[EventRef], at: datetime) -> set[EventRef]:
        """Mark the events not fanned out before, and return those. Another process that marks one is waited for."""

    def unannounced(self, before: datetime, now: datetime, limit: int) -> list[EventRef]:
        """Return events not fanned out and last announced before `before`; stamp them as announced at `now`."""

    def not_announced(self, refs: Sequence[EventRef], since: datetime) -> None:
        """Undo the stamp of a failed announcement: events not fanned out count as last announced at `since`."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` events stored before `cutoff` that no delivery refers to; return how many."""


class OutboxTransaction(Transaction, Protocol):
    """A transaction that may raise events."""

    @property
    def outbox(self) -> Outbox: ...


class EventTransaction(OutboxTransaction, AuditTransaction, Protocol):
    """The transaction of events that other modules raise; what is refused is audited."""
