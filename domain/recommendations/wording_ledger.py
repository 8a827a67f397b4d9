"""What wording has cost a tenant today, and what a model said before: right across processes and machines.

All of a tenant's is in one partition, so that tokens are set aside and the work is claimed in one transaction: two
processes never ask the same thing at the same time, and together never spend more than the day's budget."""

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
    """What is known of a question: the model's answer, or (None) that it is not to be asked before `until`."""

    answer: str | None
    until: datetime


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to ask one question, once. `tokens` are set aside in the budget of `day`."""

    tenant_id: UUID
    question: str
    tokens: int
    day: str


class WordingLedger:
    """Questions are known by a digest in hex. Answers are kept in 16 places a tenant, by the digest's first digit: a
    new one takes the place of an old one, so nothing has to be cleaned up."""

    def __init__(self, tables: TableStore, clock: Clock, *, tokens_per_day: int) -> None:
        """`tokens_per_day`: of each tenant, per day in UTC."""
        self._tables = tables
        self._clock = clock
        self._tokens_per_day = tokens_per_day

    def find(self, tenant_id: UUID, question: str) -> KeptAnswer | None:
        """Raises Unavailable."""
        return _kept(self._tables.get(TABLE, tenant_id.hex, _place(question)), question)

    def claim(
        self, tenant_id: UUID, question: str, tokens: int, *, lease: timedelta
    ) -> Ticket | Literal["busy", "spent"]:
        """Set tokens of today's budget aside and keep others from asking the question for as long as `lease`.
        `busy`: another does, or there is an answer by now; `spent`: the budget does not have that many left. Raises
        Unavailable."""

        def attempt() -> Ticket | Literal["busy", "spent"]:
            now = self._clock.now()
            place = self._tables.get(TABLE, tenant_id.hex, _place(question))
            known = _kept(place, question)
            if known is not None and (known.answer is not None or known.until > now):
                return "busy"
            budget = self._tables.get(TABLE, tenant_id.hex, _BUDGET_ROW)
            used = _used(budget, now) + tokens
            if used > self._tokens_per_day:
                return "spent"
            self._write(
                tenant_id,
                [
                    (_BUDGET_ROW, budget, {"day": _day(now), "tokens": used}),
                    (_place(question), place, {"question": question, "answer": "", "until": now + lease}),
                ],
            )
            return Ticket(tenant_id, question, tokens, _day(now))

        return _persistently(attempt)

    def settle(
        self, ticket: Ticket, *, spent: int, answer: str | None, pause: timedelta = timedelta(0)
    ) -> None:
        """Count what was spent in place of what was set aside, and keep the answer; without one the question is not
        to be asked again for as long as `pause`. Raises Unavailable: then what was set aside stays spent."""
        kept = answer if answer is not None and len(answer) <= _MAX_KEPT else ""

        def attempt() -> None:
            now = self._clock.now()
            budget = self._tables.get(TABLE, ticket.tenant_id.hex, _BUDGET_ROW)
            row = _place(ticket.question)
            place = self._tables.get(TABLE, ticket.tenant_id.hex, row)
            changes: list[_Change] = [
                (row, place, {"question": ticket.question, "answer": kept, "until": now + pause})
            ]
            if budget is not None and budget.properties["day"] == ticket.day:
                used = int(str(budget.properties["tokens"])) - ticket.tokens + spent
                changes.append((_BUDGET_ROW, budget, {"day": ticket.day, "tokens": max(0, used)}))
            self._write(ticket.tenant_id, changes)

        _persistently(attempt)

    def spent_today(self, tenant_id: UUID) -> int:
        """Tokens spent or set aside since midnight. Raises Unavailable."""
        return _used(self._tables.get(TABLE, tenant_id.hex, _BUDGET_ROW), self._clock.now())

    def _write(self, tenant_id: UUID, changes: Sequence[_Change]) -> None:
        """Raises EntityExists or EtagMismatch when another was faster."""
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


def _kept(place: TableEntity | None, question: str) -> KeptAnswer | None:
    if place is None or place.properties["question"] != question:
        return None
    until = place.properties["until"]
    assert isinstance(until, datetime)
    return KeptAnswer(str(place.properties["answer"]) or None, until)


def _used(budget: TableEntity | None, now: datetime) -> int:
    if budget is None or budget.properties["day"] != _day(now):
        return 0
    return int(str(budget.properties["tokens"]))


def _place(question: str) -> str:
    return f"words-{question[0]}"


def _day(now: datetime) -> str:
    return now.date().isoformat()
