"""Results of health checks over time, in the table store: a partition for each integration, rows by time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.ports import TableEntity, TableStore, TableWrite

TABLE = "integrationhealth"
_PAGE = 1000
_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class Sample:
    """One check. `failure` is None when it succeeded; `milliseconds` how long the provider took."""

    at: datetime
    milliseconds: int
    failure: str | None = None


class Samples:
    def __init__(self, tables: TableStore, *, retention: timedelta) -> None:
        self._tables = tables
        self._retention = retention

    def add(self, integration_id: UUID, sample: Sample) -> None:
        """Raises Unavailable."""
        properties: dict[str, str | int] = {"ms": sample.milliseconds}
        if sample.failure is not None:
            properties["failure"] = sample.failure
        self._tables.upsert(TABLE, TableEntity(integration_id.hex, _row_key(sample.at), properties))

    def since(self, integration_id: UUID, moment: datetime) -> list[Sample]:
        """Oldest first. Raises Unavailable."""
        return [_sample(entity) for entity in self._entities(integration_id, _row_key(moment), None)]

    def forget_old(self, integration_id: UUID, now: datetime) -> int:
        """Remove what is past its retention; returns how many. Raises Unavailable."""
        old = list(self._entities(integration_id, "", _row_key(now - self._retention)))
        for start in range(0, len(old), _TRANSACTION):
            some = old[start : start + _TRANSACTION]
            self._tables.transact(TABLE, [TableWrite("delete", entity) for entity in some])
        return len(old)

    def _entities(self, integration_id: UUID, row_from: str, row_to: str | None) -> Iterator[TableEntity]:
        while True:
            page = self._tables.query(
                TABLE, integration_id.hex, row_key_from=row_from, row_key_to=row_to, limit=_PAGE
            )
            yield from page
            if len(page) < _PAGE:
                return
            # The smallest key beyond the last one.
            row_from = f"{page[-1].row_key}0"


def _row_key(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")


def _sample(entity: TableEntity) -> Sample:
    at = datetime.strptime(entity.row_key, "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    failure = entity.properties.get("failure")
    return Sample(at, int(str(entity.properties["ms"])), None if failure is None else str(failure))
