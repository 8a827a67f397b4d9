"""Echoes and loop brakes over SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, func, insert, select, update

from domain.core.paging import Page, PageRequest
from domain.journal.ports import EventRef
from domain.webhooks.loops import LAPS_LIMIT, Delivered, LoopBrake, LoopState
from infra.sql.firsts import update_first
from infra.sql.journal.outbox import by_tenant
from infra.sql.journal.tables import domain_events
from infra.sql.statements import guarded_by_unique_key, in_key_order, key_lists, page_of, row_of
from infra.sql.webhooks.tables import loop_brakes

_e = domain_events.c
_b = loop_brakes.c

_LATELY = (_e.TenantId == bindparam("tenant"), _e.CreatedAt > bindparam("since"))
_DELIVERED = (_e.FannedOutAt.is_not(None), _e.HeldAt.is_(None))
# IX_DomainEvent_Digest
_BY_DIGEST = (
    select(_e.Digest, _e.Laps, func.count(), func.min(_e.FannedOutAt), func.max(_e.FannedOutAt))
    .where(*_LATELY, _e.Digest.in_(bindparam("marks", expanding=True)), *_DELIVERED)
    .group_by(_e.Digest, _e.Laps)
)
# UQ_DomainEvent_Id
_BY_ID = select(_e.EventId, _e.Laps, _e.FannedOutAt).where(
    *_LATELY, _e.EventId.in_(bindparam("marks", expanding=True)), *_DELIVERED
)
# IX_DomainEvent_Laps
_GOING_ROUND = (
    select(_e.EventType, func.count().label("Events"))
    .where(
        _e.TenantId == bindparam("tenant"),
        _e.Laps >= LAPS_LIMIT,
        _e.FannedOutAt > bindparam("since"),
    )
    .group_by(_e.EventType)
)
# UQ_DomainEvent_Id
_THESE = (_e.TenantId == bindparam("tenant"), _e.EventId.in_(bindparam("ids", expanding=True)))
_NOTE = (
    update(domain_events)
    .where(_e.TenantId == bindparam("tenant"), _e.EventId == bindparam("id"))
    .values(Laps=bindparam("laps"))
)
_HOLD = update(domain_events).where(*_THESE).values(HeldAt=bindparam("at"))
_OF_TYPES = select(loop_brakes).where(
    _b.TenantId == bindparam("tenant"),
    _b.EventType.in_(bindparam("types", expanding=True)) | (_b.State == LoopState.Probed),
)


class SqlLoops:
    """Implements `domain.webhooks.ports.Loops`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def delivered(
        self, tenant_id: UUID, digests: Collection[int], event_ids: Collection[str], *, since: datetime
    ) -> Mapping[int | str, Sequence[Delivered]]:
        found: dict[int | str, list[Delivered]] = {}
        for chunk in key_lists(digests):
            wanted = {"tenant": tenant_id, "since": since, "marks": chunk}
            for digest, laps, count, first_at, last_at in self._connection.execute(_BY_DIGEST, wanted):
                found.setdefault(digest, []).append(Delivered(laps, count, first_at, last_at))
        for ids in key_lists(event_ids):
            wanted = {"tenant": tenant_id, "since": since, "marks": ids}
            for event_id, laps, at in self._connection.execute(_BY_ID, wanted):
                found[event_id] = [Delivered(laps, 1, at, at)]
        return found

    def going_round(self, tenant_id: UUID, since: datetime) -> Counter[str]:
        rows = self._connection.execute(_GOING_ROUND, {"tenant": tenant_id, "since": since})
        return Counter({row.EventType: row.Events for row in rows})

    def note_laps(self, laps: Mapping[EventRef, int]) -> None:
        rows = [{"tenant": ref.tenant_id, "id": ref.event_id, "laps": count} for ref, count in laps.items()]
        if rows:
            self._connection.execute(_NOTE, in_key_order(rows, "tenant", "id"))

    def hold(self, refs: Collection[EventRef], at: datetime) -> None:
        for tenant_id, ids in by_tenant(list(refs)).items():
            for chunk in key_lists(ids):
                self._connection.execute(_HOLD, {"tenant": tenant_id, "ids": chunk, "at": at})

    def of_types(self, tenant_id: UUID, event_types: Collection[str]) -> dict[str, LoopBrake]:
        return {
            row.EventType: _brake(row)
            for chunk in key_lists(event_types)
            for row in self._connection.execute(_OF_TYPES, {"tenant": tenant_id, "types": chunk})
        }

    def get(self, tenant_id: UUID, loop_brake_id: UUID) -> LoopBrake:
        wanted = select(loop_brakes).where(_b.LoopBrakeId == loop_brake_id, _b.TenantId == tenant_id)
        return _brake(row_of(self._connection, wanted, "loop"))

    def save(self, brake: LoopBrake) -> None:
        values = {
            "State": brake.state,
            "Since": brake.since,
            "LastSeenAt": brake.last_seen_at,
            "Trips": brake.trips,
            "Unprovoked": brake.unprovoked,
            "ProbeEventId": brake.probe_event_id,
            "TrustedUntil": brake.trusted_until,
        }
        stored = update(loop_brakes).where(_b.LoopBrakeId == brake.loop_brake_id).values(values)
        if self._connection.execute(stored).rowcount:
            return
        key = {
            "LoopBrakeId": brake.loop_brake_id,
            "TenantId": brake.tenant_id,
            "EventType": brake.event_type,
        }
        with guarded_by_unique_key():
            self._connection.execute(insert(loop_brakes).values(key | values))

    def page(self, tenant_id: UUID, page: PageRequest) -> Page[LoopBrake]:
        held = select(func.count()).where(*_held(_b.TenantId, _b.EventType)).scalar_subquery()
        ordered = (
            select(loop_brakes, held.label("Held"))
            .where(_b.TenantId == tenant_id)
            .order_by(case((_b.State == LoopState.Released, 1), else_=0), _b.Since.desc(), _b.LoopBrakeId)
        )
        return page_of(self._connection, ordered, page, lambda row: replace(_brake(row), held=row.Held))

    def unsettled(self) -> list[LoopBrake]:
        holds = exists().where(*_held(_b.TenantId, _b.EventType))
        waiting = _b.State.in_((LoopState.Suspected, LoopState.Probed))
        wanted = select(loop_brakes).where(waiting | ((_b.State == LoopState.Released) & holds))
        return [_brake(row) for row in self._connection.execute(wanted)]

    def let_one_pass(self, brake: LoopBrake, now: datetime) -> tuple[LoopBrake, list[EventRef]]:
        held = _held(brake.tenant_id, brake.event_type)
        first = update_first(domain_events, *held, order_by=_e.Sequence, limit=1)
        passed = first.values(FannedOutAt=None, HeldAt=None, AnnouncedAt=now).returning(_e.EventId)
        event_id = self._connection.execute(passed).scalar()
        refs = [] if event_id is None else [EventRef(brake.tenant_id, event_id)]
        return replace(brake, probe_event_id=event_id), refs

    def let_go(self, tenant_id: UUID, event_type: str, now: datetime, limit: int) -> list[EventRef]:
        held = _held(tenant_id, event_type)
        first = update_first(domain_events, *held, order_by=_e.Sequence, limit=limit)
        free = {"FannedOutAt": None, "HeldAt": None, "AnnouncedAt": now, "Laps": 0, "Digest": None}
        returned = first.values(free).returning(_e.Sequence, _e.EventId)
        rows = sorted((sequence, event_id) for sequence, event_id in self._connection.execute(returned))
        return [EventRef(tenant_id, event_id) for _, event_id in rows]

    def discard(self, tenant_id: UUID, event_type: str) -> None:
        discarded = update(domain_events).where(*_held(tenant_id, event_type)).values(HeldAt=None)
        self._connection.execute(discarded)


def _held(tenant_id: Any, event_type: Any) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that IX_DomainEvent_Held serves."""
    return (_e.TenantId == tenant_id, _e.EventType == event_type, _e.HeldAt.is_not(None))


def _brake(row: Any) -> LoopBrake:
    return LoopBrake(
        loop_brake_id=row.LoopBrakeId,
        tenant_id=row.TenantId,
        event_type=row.EventType,
        state=row.State,
        since=row.Since,
        last_seen_at=row.LastSeenAt,
        trips=row.Trips,
        unprovoked=row.Unprovoked,
        probe_event_id=row.ProbeEventId,
        trusted_until=row.TrustedUntil,
    )
