"""Wait longer after each failure, and put messages off while a dependency is away.

Otherwise a message that fails is a dead letter after ten tries at once, even in an outage of a minute."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from domain.core.errors import Unavailable
from domain.core.ports import Clock, QueueMessage, QueueSender

logger = logging.getLogger("hub.messages")

#: The property of a message that counts how often it was put off.
POSTPONED: Final = "postponed"
#: With waits of two seconds to five minutes, about a day. What is still refused then is taken for the message's fault.
MOST_TIMES: Final = 300
_FIRST = timedelta(seconds=2)
_LONGEST = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Received:
    body: str
    message_id: str
    properties: Mapping[str, str] = field(default_factory=dict)


def doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    """Return `first`, doubled `times` times (at most ten), but no more than `longest`."""
    return min(first * (1 << min(times, 10)), longest)


def wait_of(times: int) -> timedelta:
    """Return how long a message waits that was put off `times` times before."""
    return doubled(_FIRST, times, _LONGEST)


def times_of(message: Received) -> int:
    """Return how often the message was put off. A value that is no count is 0: anybody may write to a queue."""
    text = message.properties.get(POSTPONED, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


class Postponement:
    """Puts messages back into their queue. Thread-safe."""

    def __init__(self, queue: QueueSender, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    def put_off(self, queue: str, messages: Sequence[Received], reason: Unavailable) -> None:
        """Send copies for later, under the ids of the messages; the caller is then done with the originals.

        Raises Unavailable when the queue is away too, and `reason` when a message was put off too often: the host then
        delivers all of them again, until they are dead letters."""
        times = [times_of(message) for message in messages]
        if any(count >= MOST_TIMES for count in times):
            raise reason
        now = self._clock.now()
        copies = []
        for message, count in zip(messages, times, strict=True):
            properties = {**message.properties, POSTPONED: str(count + 1)}
            copies.append(QueueMessage(message.body, message.message_id, now + wait_of(count), properties))
        self._queue.send(queue, copies)
        logger.warning(
            "messages put off", extra={"queue": queue, "messages": len(messages), "reason": reason.detail}
        )
