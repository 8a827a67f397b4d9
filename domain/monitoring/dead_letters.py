"""Dead letters of the hub's queues: what they are, and sending them again or giving them up."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Protocol

from pydantic import Field, StringConstraints

from domain.core.errors import FieldError, NotFound, ValidationFailed
from domain.core.permissions import PLATFORM_ADMIN
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.core.wire import Command
from domain.journal.audit import AuditEntry, AuditTransaction

#: The queues of `functions/queues.py`, in the order in which they are listed.
QUEUES: Final = ("domain-events", "webhook-deliveries", "sync-jobs", "alerts")
#: Dead letters that one request sends again or gives up.
AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that will not be delivered again unless somebody sends it anew.

    `dead_at` is None where the service does not tell it."""

    sequence_number: int
    message_id: str
    body: bytes
    properties: Mapping[str, str]
    delivery_count: int
    enqueued_at: datetime
    dead_at: datetime | None
    reason: str
    description: str

    @property
    def ids(self) -> dict[str, Any]:
        """The ids that the message carries, by the names they have in it; what else it says is a tenant's."""
        try:
            document = json.loads(self.body)
        except ValueError:
            return {}
        found = dict(_ids(document)) if isinstance(document, dict) else {}
        return dict(list(found.items())[:_IDS_SHOWN])


_IDS_SHOWN = 20
_ID_CHARACTERS = 200


def _ids(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if name.lower().endswith("id") and isinstance(value, str):
            yield name, value[:_ID_CHARACTERS]
        elif name.lower().endswith("ids") and isinstance(value, list):
            yield name, [each[:_ID_CHARACTERS] for each in value[:_IDS_SHOWN] if isinstance(each, str)]


class DeadLetterBox(Protocol):
    """The dead letters of the queues."""

    def dead_letters(self, queue: str, *, after: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        """Return up to `limit` dead letters by sequence number, from the first above `after`. Raises Unavailable."""

    def resend_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> Sequence[DeadLetter]:
        """Send these anew, with a delivery count of 0, and return those that were there.

        After a crash in between one may be both sent and still dead. Raises Unavailable."""

    def discard_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> Sequence[DeadLetter]:
        """Give these up for good, and return those that were there. Raises Unavailable."""


class ChosenLetters(Command):
    """Which dead letters of a queue are meant."""

    sequence_numbers: Annotated[
        list[Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")]],
        Field(min_length=1, max_length=AT_ONCE, description="As the list shows them"),
    ]


@dataclass(frozen=True, slots=True)
class LettersPage:
    """Dead letters with the queues that they are in, and after which one the next page begins."""

    items: Sequence[tuple[str, DeadLetter]]
    next: tuple[str, int] | None


class DeadLetterService:
    """Use cases of `/api/ops/dead-letters`: for people who administer the platform, over all tenants."""

    def __init__(self, transactions: Transactions[AuditTransaction], box: DeadLetterBox) -> None:
        self._transactions = transactions
        self._box = box

    def page(
        self, principal: Principal, queue: str | None, after: tuple[str, int] | None, limit: int
    ) -> LettersPage:
        """Return up to `limit` dead letters of one queue or of all. Raises Forbidden, NotFound, Unavailable."""
        principal.require_of_person(PLATFORM_ADMIN)
        queues = QUEUES if queue is None else (_known(queue),)
        begin, passed = (after[0], after[1]) if after is not None else (queues[0], 0)
        if begin not in queues:
            raise ValidationFailed(
                "The cursor belongs to another list.", [FieldError("/cursor", "Of another list.")]
            )
        items: list[tuple[str, DeadLetter]] = []
        for name in queues[queues.index(begin) :]:
            since = passed if name == begin else 0
            letters = self._box.dead_letters(name, after=since, limit=limit + 1 - len(items))
            items += [(name, letter) for letter in letters]
            if len(items) > limit:
                last_queue, last = items[limit - 1]
                return LettersPage(items[:limit], (last_queue, last.sequence_number))
        return LettersPage(items, None)

    def get(self, principal: Principal, queue: str, sequence_number: int) -> DeadLetter:
        """Return one dead letter. Raises Forbidden, NotFound, Unavailable."""
        principal.require_of_person(PLATFORM_ADMIN)
        for letter in self._box.dead_letters(_known(queue), after=sequence_number - 1, limit=1):
            if letter.sequence_number == sequence_number:
                return letter
        raise NotFound("The queue has no dead letter of this number.")

    def resend(self, principal: Principal, queue: str, chosen: ChosenLetters) -> Sequence[DeadLetter]:
        """Send dead letters anew, and return those that were there. Raises Forbidden, NotFound, Unavailable."""
        numbers = self._decided(principal, "dead-letters.resent", queue, chosen)
        return self._box.resend_dead_letters(queue, numbers)

    def discard(self, principal: Principal, queue: str, chosen: ChosenLetters) -> Sequence[DeadLetter]:
        """Give dead letters up for good, and return those that were there. Raises as `resend` does."""
        numbers = self._decided(principal, "dead-letters.discarded", queue, chosen)
        return self._box.discard_dead_letters(queue, numbers)

    @repeated
    def _decided(
        self, principal: Principal, action: str, queue: str, chosen: ChosenLetters
    ) -> Collection[int]:
        """Record the decision before anything is done: what a queue did cannot be rolled back."""
        principal.require_of_person(PLATFORM_ADMIN)
        numbers = sorted({int(number) for number in chosen.sequence_numbers})
        after = {"sequenceNumbers": [str(number) for number in numbers]}
        with self._transactions.write() as tx:
            entry = AuditEntry(action, "queue", _known(queue), principal, None, after)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return numbers


def _known(queue: str) -> str:
    if queue not in QUEUES:
        raise NotFound(f"There is no such queue; there are {', '.join(QUEUES)}.")
    return queue
