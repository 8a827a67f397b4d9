"""The outbox (DomainEvents)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, exists, insert, select, update

from domain.events.model import DomainEvent
from domain.events.ports import EventRef
from domain.ports import Clock
from infra.sql.statements import chunks
from infra.sql.tables import domain_events, webhook_deliveries

_e = domain_events.c
_KNOWN = select(_e.EventId).where(
    _e.TenantId == bindparam("tenant"), _e.EventId.in_(bindparam("ids", expanding=True))
)
_PENDING = select(
    _e.EventId, _e.TenantId, _e.EventType, _e.Payload, _e.OccurredAt, _e.Subject, _e.TraceParent
).where(
    _e.TenantId == bindparam("tenant"),
    _e.EventId.in_(bindparam("ids", expanding=True)),
    _e.FannedOutAt.is_(None),
)
_FANNED_OUT = (
    update(domain_events)
    .where(_e.TenantId == bindparam("tenant"), _e.EventId.in_(bindparam("ids", expanding=True)))
    .values(FannedOutAt=bindparam("at"))
)


def event_of(row: Any) -> DomainEvent:
    """A row of (EventId, TenantId, EventType, Payload, OccurredAt, Subject, TraceParent)."""
    return DomainEvent(*row)


class SqlOutbox:
    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._new: list[EventRef] = []

    def append(self, events: Sequence[DomainEvent], *, fanned_out_at: datetime | None = None) -> int:
        fresh = self._unknown(events)
        if fresh:
            now = self._clock.now()
            self._connection.execute(
                insert(domain_events),
                [
                    {
                        "TenantId": event.tenant_id,
                        "EventId": event.event_id,
                        "EventType": event.type,
                        "Subject": event.subject,
                        "Payload": event.data,
                        "OccurredAt": event.occurred_at,
                        "TraceParent": event.traceparent,
                        "AnnouncedAt": now,
                        "FannedOutAt": fanned_out_at,
                        "CreatedAt": now,
                    }
                    for event in fresh
                ],
            )
            if fanned_out_at is None:
                self._new += [EventRef(event.tenant_id, event.event_id) for event in fresh]
        return len(fresh)

    def take_new(self) -> list[EventRef]:
        """The events appended since the last call, for the announcement after commit."""
        new, self._new = self._new, []
        return new

    def pending(self, refs: Sequence[EventRef]) -> list[DomainEvent]:
        return [
            event_of(row)
            for tenant, ids in _by_tenant(refs).items()
            for chunk in chunks(ids)
            for row in self._connection.execute(_PENDING, {"tenant": tenant, "ids": chunk})
        ]

    def mark_fanned_out(self, refs: Sequence[EventRef], at: datetime) -> None:
        for tenant, ids in _by_tenant(refs).items():
            for chunk in chunks(ids):
                self._connection.execute(_FANNED_OUT, {"tenant": tenant, "ids": chunk, "at": at})

    def unannounced(self, before: datetime, now: datetime, limit: int) -> list[EventRef]:
        due = (
            select(_e.Sequence)
            .where(_e.FannedOutAt.is_(None), _e.AnnouncedAt < before)
            .order_by(_e.AnnouncedAt)
            .limit(limit)
        )
        stamped = (
            update(domain_events)
            .where(_e.Sequence.in_(due.scalar_subquery()), _e.FannedOutAt.is_(None), _e.AnnouncedAt < before)
            .values(AnnouncedAt=now)
            .returning(_e.TenantId, _e.EventId)
        )
        return [EventRef(tenant, event_id) for tenant, event_id in self._connection.execute(stamped)]

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        referred = exists().where(
            webhook_deliveries.c.EventId == _e.EventId, webhook_deliveries.c.TenantId == _e.TenantId
        )
        old = select(_e.Sequence).where(_e.CreatedAt < cutoff, _e.FannedOutAt.is_not(None), ~referred)
        doomed = old.order_by(_e.Sequence).limit(limit).scalar_subquery()
        return self._connection.execute(delete(domain_events).where(_e.Sequence.in_(doomed))).rowcount

    def _unknown(self, events: Sequence[DomainEvent]) -> list[DomainEvent]:
        known: set[tuple[UUID, str]] = set()
        refs = [EventRef(event.tenant_id, event.event_id) for event in events]
        for tenant, ids in _by_tenant(refs).items():
            for chunk in chunks(ids):
                found = self._connection.execute(_KNOWN, {"tenant": tenant, "ids": chunk}).scalars()
                known.update((tenant, event_id) for event_id in found)
        fresh: list[DomainEvent] = []
        for event in events:
            name = (event.tenant_id, event.event_id)
            if name not in known:
                known.add(name)
                fresh.append(event)
        return fresh


def _by_tenant(refs: Sequence[EventRef]) -> dict[UUID, list[str]]:
    grouped: dict[UUID, list[str]] = {}
    for ref in refs:
        grouped.setdefault(ref.tenant_id, []).append(ref.event_id)
    return grouped
