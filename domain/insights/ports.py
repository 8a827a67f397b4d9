"""Where signals are kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.insights.model import Signal, SubjectKind


class Signals(Protocol):
    """Signals are appended with what they count, in the same transaction, and added up later; what is read is
    complete at any moment, for both parts are read together."""

    def append(self, signals: Sequence[Signal]) -> None:
        """Store them as they are: no row that another transaction may hold is touched."""

    def compact(self, limit: int) -> int:
        """Add up to `limit` appended ones to their hours; returns how many. Each is added once, whoever else
        does the same at the time. Raises Unavailable when another was faster; a repeat goes on."""

    def read(
        self,
        tenant_id: UUID,
        kind: SubjectKind,
        *,
        since: datetime,
        until: datetime,
        subject_id: UUID | None = None,
    ) -> list[Signal]:
        """By subject and hour, in no order; hours that begin at or after `since` and before `until`."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` hours that began before; returns how many."""


class KeyHours(Protocol):
    """Requests with API keys by the hour."""

    def hours(
        self, tenant_id: UUID, api_key_ids: Collection[UUID] | None, *, since: datetime, until: datetime
    ) -> list[Signal]:
        """Of these keys, or of all of the tenant's; hours that begin at or after `since` and before `until`. Raises
        Unavailable."""
