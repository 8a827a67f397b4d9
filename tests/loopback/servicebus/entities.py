"""One queue of the endpoint and what it promises, without a wire.

Source: "Message transfers, locks, and settlement", "Message sequencing and timestamps", "Duplicate detection",
"Dead-letter queues" (Service Bus documentation, Microsoft).
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from proton import Message

MAX_DELIVERIES = "MaxDeliveryCountExceeded"


@dataclass(frozen=True, slots=True)
class QueueRules:
    """What a queue is configured with: seconds a lock lasts, deliveries until a message is dead, seconds in
    which a message id is taken once (0: duplicates pass)."""

    lock_seconds: float = 30.0
    max_deliveries: int = 10
    duplicate_seconds: float = 0.0


@dataclass(slots=True)
class Stored:
    """A message in a queue. `deliveries` counts those that were begun; moments in seconds since 1970."""

    sequence: int
    message: Message
    enqueued_at: float
    state: Literal["active", "deferred", "scheduled"] = "active"
    deliveries: int = 0
    lock: str | None = None
    locked_until: float = 0.0
    dead_reason: str | None = None
    dead_description: str | None = None


class LockLost(Exception):
    """The lock ran out, or was never given."""


class NotThere(Exception):
    """No such message."""


@dataclass
class Entity:
    """A queue, or the dead letters of one (`dead` is None there). `now` moves schedules; locks run on the
    machine's own clock, as receivers compare them with theirs. For one thread."""

    rules: QueueRules
    now: Callable[[], float] = time.time
    dead: Entity | None = None
    messages: dict[int, Stored] = field(default_factory=dict)
    _ready: list[int] = field(default_factory=list)
    _scheduled: list[tuple[float, int]] = field(default_factory=list)
    _locked: dict[str, Stored] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)
    _last: int = 0

    def add(self, message: Message, at: float | None = None) -> int:
        """Take a message, visible from `at`; its sequence number. A repeated id within the window is
        swallowed, and gets the number 0."""
        now = self.now()
        if self.rules.duplicate_seconds and message.id is not None:
            if now - self._seen.get(str(message.id), float("-inf")) < self.rules.duplicate_seconds:
                return 0
            self._seen[str(message.id)] = now
        self._last += 1
        stored = Stored(self._last, message, now)
        self.messages[stored.sequence] = stored
        if at is not None and at > now:
            stored.state, stored.enqueued_at = "scheduled", at
            heapq.heappush(self._scheduled, (at, stored.sequence))
        else:
            heapq.heappush(self._ready, stored.sequence)
        return stored.sequence

    def cancel(self, sequence: int) -> None:
        """Forget a scheduled message. Raises NotThere."""
        if sequence not in self.messages or self.messages[sequence].state != "scheduled":
            raise NotThere
        del self.messages[sequence]

    def take(self) -> Stored | None:
        """Lock the oldest message that is to be had."""
        while self._ready:
            stored = self.messages.get(heapq.heappop(self._ready))
            if stored is not None and stored.state == "active" and stored.lock is None:
                return self._lock(stored)
        return None

    def take_deferred(self, sequence: int) -> Stored:
        """Lock a deferred message. Raises NotThere."""
        stored = self.messages.get(sequence)
        if stored is None or stored.state != "deferred" or stored.lock is not None:
            raise NotThere
        return self._lock(stored)

    def complete(self, lock: str) -> None:
        """Remove the message. Raises LockLost, as everything below that takes a lock."""
        del self.messages[self._unlock(lock).sequence]

    def abandon(self, lock: str) -> None:
        """Give the message back; one delivered too often is dead."""
        self._give_back(self._unlock(lock))

    def release(self, lock: str) -> None:
        """Give back a message that was not looked at: the delivery does not count."""
        stored = self._unlock(lock)
        stored.deliveries -= 1
        self._give_back(stored)

    def defer(self, lock: str) -> None:
        """Put the message aside, to be had by its sequence number alone."""
        self._unlock(lock).state = "deferred"

    def kill(self, lock: str, reason: str | None, description: str | None) -> None:
        """Move the message to the dead letters."""
        self._bury(self._unlock(lock), reason, description)

    def renew(self, lock: str) -> float:
        """Make the lock last from now; until when, in seconds since 1970."""
        stored = self._held(lock)
        stored.locked_until = time.time() + self.rules.lock_seconds
        return stored.locked_until

    def peek(self, sequence: int, count: int) -> list[Stored]:
        """Messages from a sequence number on, whatever their state."""
        return [self.messages[each] for each in sorted(self.messages) if each >= sequence][:count]

    def tick(self) -> bool:
        """Let locks run out and schedules come due; whether anything is to be had."""
        moment = time.time()
        for lock, stored in list(self._locked.items()):
            if stored.locked_until <= moment:
                del self._locked[lock]
                stored.lock = None
                self._give_back(stored)
        now = self.now() if self._scheduled else 0.0
        while self._scheduled and self._scheduled[0][0] <= now:
            _, sequence = heapq.heappop(self._scheduled)
            if sequence in self.messages:
                self.messages[sequence].state = "active"
                heapq.heappush(self._ready, sequence)
        return bool(self._ready)

    def _lock(self, stored: Stored) -> Stored:
        # A lock token is the delivery's tag: 16 bytes, and text for proton's Python binding.
        stored.lock = os.urandom(8).hex()
        stored.locked_until = time.time() + self.rules.lock_seconds
        stored.deliveries += 1
        self._locked[stored.lock] = stored
        return stored

    def _held(self, lock: str) -> Stored:
        stored = self._locked.get(lock)
        if stored is None or stored.locked_until <= time.time():
            raise LockLost
        return stored

    def _unlock(self, lock: str) -> Stored:
        stored = self._held(lock)
        del self._locked[lock]
        stored.lock = None
        return stored

    def _give_back(self, stored: Stored) -> None:
        if self.dead is not None and stored.deliveries >= self.rules.max_deliveries:
            self._bury(stored, MAX_DELIVERIES, f"Delivered {stored.deliveries} times without being completed")
        elif stored.state == "active":
            heapq.heappush(self._ready, stored.sequence)

    def _bury(self, stored: Stored, reason: str | None, description: str | None) -> None:
        if self.dead is None:
            self._give_back(stored)
            return
        del self.messages[stored.sequence]
        number = self.dead.add(stored.message)
        grave = self.dead.messages[number]
        grave.deliveries, grave.dead_reason, grave.dead_description = stored.deliveries, reason, description
