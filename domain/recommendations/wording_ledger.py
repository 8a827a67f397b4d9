"""What wording has cost a tenant today, and what a model said before; exact across processes and machines.

All rows of a tenant are in one partition, so that tokens are reserved and the work is claimed in one transaction:
two processes never make the same request at the same time, and together never spend more than the day's budget."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import (
    Clock,
    EntityExists,
    EtagMismatch,
    TableEntity,
    TableStore,
    TableValue,
    TableWrite,
)

T = TypeVar("T")

TABLE: Final = "InsightWording"
_BUDGET_ROW: Final = "budget"
_TRIES: Final = 30
_EAGER_TRIES: Final = 4
#: Longest answer kept: a string property of Azure Tables holds 32 Ki UTF-16 units.
_MAX_KEPT: Final = 16_000


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What is known of a request: the model's answer, or None when the request is not to be made before `until`."""

    answer: str | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to make one request once. `tokens` are reserved in the budget of `day`."""

    tenant_id: UUID
    digest: str
    tokens: int
    day: str


class WordingLedger:
    """Stores budgets and answers; a tenant has 16 places of answers, by the digest's first digit."""

    def __init__(self, tables: TableStore, clock: Clock, *, tokens_per_day: int) -> None:
        self._tables = tables
        self._clock = clock
        self._tokens_per_day = tokens_per_day

    def find(self, tenant_id: UUID, digest: str) -> KeptAnswer | None:
        """Return what is known of a request; None for a new one. Raises Unavailable."""
        return _kept(self._tables.get(TABLE, tenant_id.hex, _place(digest)), digest)

    def claim(
        self, tenant_id: UUID, digest: str, tokens: int, *, lease: timedelta
    ) -> Ticket | Literal["busy", "spent"]:
        """Reserve tokens of today's budget, and keep others from the request for `lease`. Raises Unavailable.

        `busy`: another makes the request or an answer exists. `spent`: the budget is too small."""

        def attempt() -> Ticket | Literal["busy", "spent"]:
            now = self._clock.now()
            place = self._tables.get(TABLE, tenant_id.hex, _place(digest))
            known = _kept(place, digest)
            if known is not None and (known.answer is not None or known.until > now):
                return "busy"
            budget = self._tables.get(TABLE, tenant_id.hex, _BUDGET_ROW)
            used = _used(budget, now) + tokens
            if used > self._tokens_per_day:
                return "spent"
            claimed: _Change = (
                _place(digest),
                place,
                {"question": digest, "answer": "", "until": now + lease},
            )
            self._write(tenant_id, [(_BUDGET_ROW, budget, {"day": _day(now), "tokens": used}), claimed])
            return Ticket(tenant_id, digest, tokens, _day(now))

        return _persistently(attempt)

    def settle(
        self, ticket: Ticket, *, spent: int, answer: str | None, pause: timedelta = timedelta(0)
    ) -> None:
        """Replace reserved tokens by those spent, and keep the answer, or pause the request.

        Raises Unavailable: then the reserved tokens stay spent."""
        kept = answer if answer is not None and len(answer) <= _MAX_KEPT else ""

        def attempt() -> None:
            now = self._clock.now()
            budget = self._tables.get(TABLE, ticket.tenant_id.hex, _BUDGET_ROW)
            row = _place(ticket.digest)
            place = self._tables.get(TABLE, ticket.tenant_id.hex, row)
            changes: list[_Change] = [
                (row, place, {"question": ticket.digest, "answer": kept, "until": now + pause})
            ]
            if budget is not None and budget.properties["day"] == ticket.day:
                used = int(str(budget.properties["tokens"])) - ticket.tokens + spent
                changes.append((_BUDGET_ROW, budget, {"day": ticket.day, "tokens": max(0, used)}))
            self._write(ticket.tenant_id, changes)

        _persistently(attempt)

    def spent_today(self, tenant_id: UUID) -> int:
        """Return the tokens spent or reserved since midnight (UTC). Raises Unavailable."""
        return _used(self._tables.get(TABLE, tenant_id.hex, _BUDGET_ROW), self._clock.now())

    def _write(self, tenant_id: UUID, changes: Sequence[_Change]) -> None:
        writes = [
            TableWrite("insert", TableEntity(tenant_id.hex, row, properties))
            if known is None
            else TableWrite("replace", TableEntity(tenant_id.hex, row, properties), known.etag)
            for row, known, properties in changes
        ]
        self._tables.transact(TABLE, writes)


_Change = tuple[str, TableEntity | None, dict[str, TableValue]]


def _persistently(attempt: Callable[[], T]) -> T:
    for count in range(_TRIES):
        try:
            return attempt()
        except (EntityExists, EtagMismatch):
            if count >= _EAGER_TRIES:
                time.sleep(random.uniform(0, 0.005 * count))  # noqa: S311 - spreads load, guards nothing
    raise Unavailable("The tenant's wording is being worked on from too many places at once.")


def _kept(place: TableEntity | None, digest: str) -> KeptAnswer | None:
    if place is None or place.properties["question"] != digest:
        return None
    until = place.properties["until"]
    assert isinstance(until, datetime)
    return KeptAnswer(str(place.properties["answer"]) or None, until)


def _used(budget: TableEntity | None, now: datetime) -> int:
    if budget is None or budget.properties["day"] != _day(now):
        return 0
    return int(str(budget.properties["tokens"]))


def _place(digest: str) -> str:
    return f"words-{digest[0]}"


def _day(now: datetime) -> str:
    return now.date().isoformat()
