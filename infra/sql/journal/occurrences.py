"""Occurrences on their way to the queue."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, delete, insert, select

from domain.journal.occurrences import Occurrence
from infra.sql.journal.tables import pending_alerts
from infra.sql.statements import key_lists

_p = pending_alerts.c


class SqlOccurrences:
    """Satisfies `domain.journal.occurrences.Occurrences`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def append(self, occurrence: Occurrence) -> None:
        known = select(_p.AlertId).where(_p.AlertId == occurrence.occurrence_id)
        if self._connection.execute(known).first() is not None:
            return  # reported twice at one moment
        self._connection.execute(
            insert(pending_alerts).values(
                AlertId=occurrence.occurrence_id,
                TenantId=occurrence.tenant_id,
                Kind=occurrence.source,
                Data=occurrence.data,
                CreatedAt=occurrence.at,
            )
        )

    def waiting(self, limit: int) -> list[Occurrence]:
        statement = select(pending_alerts).order_by(_p.CreatedAt, _p.AlertId).limit(limit)
        return [
            Occurrence(row.AlertId, row.TenantId, row.Kind, row.Data, row.CreatedAt)
            for row in self._connection.execute(statement)
        ]

    def remove(self, occurrence_ids: Collection[UUID]) -> None:
        for some in key_lists(occurrence_ids):
            self._connection.execute(delete(pending_alerts).where(_p.AlertId.in_(some)))
