"""Dead letters of the hub's queues: what they are, and sending them again or giving them up."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

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
