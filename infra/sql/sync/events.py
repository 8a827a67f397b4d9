"""Domain events in the order in which they were stored, for the exports to analytics providers.

No index by tenant: it would cost every event, and exports are few. A slice walks the primary key instead."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select

from domain.journal.event_types import OriginKind
from domain.journal.events import DomainEvent
from domain.sync.ports import EventSlice
from infra.sql.journal.outbox import EVENT_COLUMNS, event_of_row
from infra.sql.journal.tables import domain_events

_e = domain_events.c
#: Rows of all tenants that one slice looks at.
WALKED = 10_000


class SqlSyncEvents:
    """Satisfies `domain.sync.ports.SyncEvents`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after(
        self, tenant_id: UUID, types: Sequence[str], *, after: int, until: datetime, limit: int
    ) -> EventSlice:
        # the primary key, twice: what passed by, then the content of what is wanted
        passing = (
            select(_e.Sequence, _e.CreatedAt, _e.TenantId, _e.EventType, _e.Origin)
            .where(_e.Sequence > after)
            .order_by(_e.Sequence)
            .limit(WALKED)
        )
        rows = self._connection.execute(passing).all()
        last = max((row.Sequence for row in rows if row.CreatedAt <= until), default=after)
        # The number decides, not the moment: clocks of processes differ, and a clock may be set back.
        passed = [row for row in rows if row.Sequence <= last]
        # What a person tried a webhook with has not happened.
        wanted = [
            row.Sequence
            for row in passed
            if row.TenantId == tenant_id and row.EventType in types and row.Origin != OriginKind.Test
        ]
        is_full = len(wanted) > limit
        sequences = wanted[:limit]
        return EventSlice(
            events=self._events(sequences),
            sequences=sequences,
            last=sequences[-1] if is_full else last,
            is_last=not is_full and (len(rows) < WALKED or len(passed) < len(rows)),
        )

    def _events(self, sequences: Sequence[int]) -> list[DomainEvent]:
        statement = select(*EVENT_COLUMNS).where(_e.Sequence.in_(sequences)).order_by(_e.Sequence)
        return [event_of_row(row) for row in self._connection.execute(statement)] if sequences else []
