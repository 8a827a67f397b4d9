"""The outbox (DomainEvents)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, insert, select, update

from domain.core.ports import Clock
from domain.journal.event_types import EventOrigin, OriginKind
from domain.journal.events import DomainEvent
from domain.journal.ports import EventRef
from infra.observability.trace import current_header
from infra.sql.firsts import delete_first, update_first
from infra.sql.journal.tables import domain_events
from infra.sql.statements import EVER, checked_last, guarded_by_unique_key, key_lists, unindexed
from infra.sql.webhooks.tables import webhook_deliveries

_e = domain_events.c
#: What `event_of_row` reads, in this order.
EVENT_COLUMNS = (
    _e.EventId,
    _e.TenantId,
    _e.EventType,
    _e.Payload,
    _e.OccurredAt,
    _e.Subject,
    _e.TraceParent,
    _e.Sequence,
    _e.Origin,
    _e.OriginProvider,
    _e.OriginIntegrationId,
    _e.Hops,
    _e.Digest,
    _e.CreatedAt,
)
# inline: nobody asks for the new Sequence
_INSERT = insert(domain_events).inline()
# UQ_DomainEvent_Id
_KNOWN = select(_e.EventId).where(
    _e.TenantId == bindparam("tenant"), _e.EventId.in_(bindparam("ids", expanding=True))
)
# UQ_DomainEvent_Id
_EVENTS = select(*EVENT_COLUMNS).where(
    _e.TenantId == bindparam("tenant"), _e.EventId.in_(bindparam("ids", expanding=True))
)
_PENDING = _EVENTS.where(_e.FannedOutAt.is_(None))
_FANNED_OUT = (
    update(domain_events)
    .where(
        _e.TenantId == bindparam("tenant"),
        _e.EventId.in_(bindparam("ids", expanding=True)),
        _e.FannedOutAt.is_(None),
    )
    .values(FannedOutAt=bindparam("at"))
    .returning(_e.EventId)
)
# IX_DomainEvent_Outbox, which holds the few that are pending with their Sequence
_PENDING_ABOUT = (
    select(_e.EventId, _e.Sequence)
    .where(
        _e.FannedOutAt.is_(None),
        _e.AnnouncedAt > bindparam("ever"),
        unindexed(_e.Sequence) <= bindparam("until"),
        checked_last(_e.TenantId == bindparam("tenant")),
        _e.Subject.in_(bindparam("subjects", expanding=True)),
    )
    .order_by(unindexed(_e.Sequence))
)
# UQ_DomainEvent_Id
_NOT_ANNOUNCED = (
    update(domain_events)
    .where(
        _e.TenantId == bindparam("tenant"),
        _e.EventId.in_(bindparam("ids", expanding=True)),
        _e.FannedOutAt.is_(None),
    )
    .values(AnnouncedAt=bindparam("at"))
)


def event_of_row(row: Sequence[Any]) -> DomainEvent:
    *fields, kind, provider, integration_id, hops, digest, at = row
    origin = origin_of(kind, provider, integration_id)
    return DomainEvent(*fields, origin=origin, hops=hops, digest=digest, accepted_at=at)


def origin_of(
    kind: OriginKind | None, provider: str | None = None, integration_id: UUID | None = None
) -> EventOrigin | None:
    return None if kind is None else EventOrigin(kind, provider, integration_id)


def up_to_bytes(events: Iterable[DomainEvent], most_bytes: int | None) -> list[DomainEvent]:
    """Take the first of `events`, no more once their payloads come to `most_bytes`; all when that is None."""
    found: list[DomainEvent] = []
    size = 0
    for event in events:
        found.append(event)
        size += event.size
        if most_bytes is not None and size >= most_bytes:
            break
    return found


def events_of(
    connection: Connection, tenant_id: UUID, event_ids: Sequence[str], *, pending: bool = False
) -> Generator[DomainEvent, None, None]:
    """Yield the events of one tenant with these ids; with `pending` those not fanned out yet."""
    statement = _PENDING if pending else _EVENTS
    for chunk in key_lists(event_ids):
        # Closed however few are taken: SQL Server's connection is busy until then.
        with closing(connection.execute(statement, {"tenant": tenant_id, "ids": chunk})) as rows:
            yield from map(event_of_row, rows)


class SqlOutbox:
    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._new: list[EventRef] = []
        #: Events that this transaction stored, by tenant.
        self.stored: Counter[UUID] = Counter()

    def append(self, events: Sequence[DomainEvent], *, fanned_out_at: datetime | None = None) -> int:
        fresh = self._unknown(events)
        if fresh:
            now, traceparent = self._clock.now(), current_header()
            rows = [
                {
                    "TenantId": event.tenant_id,
                    "EventId": event.event_id,
                    "EventType": event.type,
                    "Subject": event.subject,
                    "Payload": event.data,
                    "OccurredAt": event.occurred_at,
                    "TraceParent": event.traceparent or traceparent,
                    **_origin_values(event.origin),
                    "AnnouncedAt": now,
                    "FannedOutAt": fanned_out_at,
                    "Hops": event.hops,
                    "Digest": event.digest,
                    "CreatedAt": now,
                }
                for event in fresh
            ]
            with guarded_by_unique_key():
                self._connection.execute(_INSERT, rows)
            self.stored.update(event.tenant_id for event in fresh)
            if fanned_out_at is None:
                self._new += [EventRef(event.tenant_id, event.event_id) for event in fresh]
        return len(fresh)

    def take_new(self) -> list[EventRef]:
        """Return the events appended since the last call, for the announcement after commit."""
        new, self._new = self._new, []
        return new

    def pending(self, refs: Sequence[EventRef], *, most_bytes: int | None = None) -> list[DomainEvent]:
        with closing(self._pending(refs)) as events:
            return up_to_bytes(events, most_bytes)

    def _pending(self, refs: Sequence[EventRef]) -> Generator[DomainEvent, None, None]:
        for tenant, ids in by_tenant(refs).items():
            yield from events_of(self._connection, tenant, ids, pending=True)

    def pending_about(
        self, tenant_id: UUID, subjects: Sequence[str], *, until: int, limit: int
    ) -> list[EventRef]:
        found: list[tuple[int, str]] = []
        for chunk in key_lists(subjects):
            wanted = {"tenant": tenant_id, "subjects": chunk, "until": until, "ever": EVER}
            rows = self._connection.execute(_PENDING_ABOUT.limit(limit), wanted)
            found += ((sequence, event_id) for event_id, sequence in rows)
        return [EventRef(tenant_id, event_id) for _, event_id in sorted(found)[:limit]]

    def mark_fanned_out(self, refs: Sequence[EventRef], at: datetime) -> set[EventRef]:
        return {
            EventRef(tenant, event_id)
            for tenant, ids in by_tenant(refs).items()
            for chunk in key_lists(ids)
            for event_id in self._connection.execute(
                _FANNED_OUT, {"tenant": tenant, "ids": chunk, "at": at}
            ).scalars()
        }

    def not_announced(self, refs: Sequence[EventRef], since: datetime) -> None:
        for tenant, ids in by_tenant(refs).items():
            for chunk in key_lists(ids):
                self._connection.execute(_NOT_ANNOUNCED, {"tenant": tenant, "ids": chunk, "at": since})

    def unannounced(self, before: datetime, now: datetime, limit: int) -> list[EventRef]:
        # IX_DomainEvent_Outbox
        lost = (_e.FannedOutAt.is_(None), _e.AnnouncedAt < before)
        first = update_first(domain_events, *lost, order_by=_e.AnnouncedAt, limit=limit)
        stamped = first.values(AnnouncedAt=now).returning(_e.TenantId, _e.EventId)
        return [EventRef(tenant, event_id) for tenant, event_id in self._connection.execute(stamped)]

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_DomainEvent_CreatedAt, then UQ_WebhookDelivery_Event
        referred = exists().where(
            webhook_deliveries.c.EventId == _e.EventId, webhook_deliveries.c.TenantId == _e.TenantId
        )
        old = (_e.CreatedAt < cutoff, _e.FannedOutAt.is_not(None), ~referred)
        oldest = delete_first(domain_events, *old, order_by=_e.CreatedAt, limit=limit)
        return self._connection.execute(oldest).rowcount

    def _unknown(self, events: Sequence[DomainEvent]) -> list[DomainEvent]:
        known: set[tuple[UUID, str]] = set()
        refs = [EventRef(event.tenant_id, event.event_id) for event in events]
        for tenant, ids in by_tenant(refs).items():
            for chunk in key_lists(ids):
                found = self._connection.execute(_KNOWN, {"tenant": tenant, "ids": chunk}).scalars()
                known.update((tenant, event_id) for event_id in found)
        fresh: list[DomainEvent] = []
        for event in events:
            name = (event.tenant_id, event.event_id)
            if name not in known:
                known.add(name)
                fresh.append(event)
        return fresh


def _origin_values(origin: EventOrigin | None) -> dict[str, Any]:
    if origin is None:
        return {"Origin": None, "OriginProvider": None, "OriginIntegrationId": None}
    return {
        "Origin": origin.kind,
        "OriginProvider": origin.provider,
        "OriginIntegrationId": origin.integration_id,
    }


def by_tenant(refs: Sequence[EventRef]) -> dict[UUID, list[str]]:
    """Return the ids of each tenant, in the order of tenants."""
    grouped: dict[UUID, list[str]] = {}
    for ref in sorted(refs, key=attrgetter("tenant_id")):
        grouped.setdefault(ref.tenant_id, []).append(ref.event_id)
    return grouped
