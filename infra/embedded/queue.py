"""A durable queue on SQLite with the semantics of an Azure Service Bus queue.

It has peek-lock, scheduled messages, delivery counts and dead letters. Duplicate detection is off, as it is there
by default."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from domain.core.ports import Clock, QueueMessage
from domain.monitoring.dead_letters import DeadLetter
from infra.azure.servicebus.limits import MAX_MESSAGE_BYTES, check_size
from infra.embedded.queue_messages import (
    QueueDepth,
    ReceivedMessage,
    claim_order,
    to_dead_letter,
    to_received,
)
from infra.embedded.sqlite import SqliteFile, from_micros, to_micros

__all__ = [
    "MAX_DELIVERY_COUNT_EXCEEDED",
    "MAX_MESSAGE_BYTES",
    "EmbeddedQueue",
    "QueueDepth",
    "ReceivedMessage",
]

MAX_DELIVERY_COUNT_EXCEEDED = "MaxDeliveryCountExceeded"

# `lock_id` is drawn per received batch; NULL means not locked. Each partial index serves one question:
# what is receivable next, and which lock runs out next.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, enqueued_at INTEGER NOT NULL,
    lock_id INTEGER, locked_until INTEGER, delivery_count INTEGER NOT NULL DEFAULT 0,
    message_id TEXT NOT NULL, properties TEXT, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS messages_waiting ON messages (queue, enqueued_at) WHERE lock_id IS NULL;
CREATE INDEX IF NOT EXISTS messages_locked ON messages (queue, locked_until) WHERE lock_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS dead_letters (
    sequence INTEGER PRIMARY KEY, queue TEXT NOT NULL, enqueued_at INTEGER NOT NULL,
    dead_at INTEGER NOT NULL, reason TEXT NOT NULL, description TEXT NOT NULL,
    delivery_count INTEGER NOT NULL, message_id TEXT NOT NULL, properties TEXT, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS dead_letters_by_queue ON dead_letters (queue)
"""

_SEND = "INSERT INTO messages (queue, enqueued_at, message_id, properties, body) VALUES (?, ?, ?, ?, ?)"
_ANY_RECEIVABLE = """
SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND lock_id IS NULL AND enqueued_at <= ?2)
    OR EXISTS (SELECT 1 FROM messages WHERE queue = ?1 AND lock_id IS NOT NULL AND locked_until <= ?2)
"""
_EXPIRED = """
SELECT sequence, delivery_count FROM messages
WHERE queue = ? AND lock_id IS NOT NULL AND locked_until <= ?
"""
_CLAIM = """
UPDATE messages SET lock_id = ?, locked_until = ?, delivery_count = delivery_count + 1
WHERE sequence IN (SELECT sequence FROM messages WHERE queue = ? AND lock_id IS NULL AND enqueued_at <= ?
                   ORDER BY enqueued_at, sequence LIMIT ?)
RETURNING enqueued_at, sequence, message_id, body, properties, delivery_count
"""
_HELD = "sequence = ? AND lock_id = ? AND queue = ? AND locked_until > ?"
_COMPLETE = f"DELETE FROM messages WHERE {_HELD}"  # noqa: S608 - a constant
_RENEW = f"UPDATE messages SET locked_until = ? WHERE {_HELD}"  # noqa: S608 - a constant
_UNLOCK = "UPDATE messages SET lock_id = NULL, locked_until = NULL WHERE sequence = ?"
_BURY = """
INSERT INTO dead_letters (sequence, queue, enqueued_at, dead_at, reason, description, delivery_count,
                          message_id, properties, body)
SELECT sequence, queue, enqueued_at, ?, ?, ?, delivery_count, message_id, properties, body
FROM messages WHERE sequence = ?
"""
_REQUEUE = """
INSERT INTO messages (queue, enqueued_at, message_id, properties, body)
SELECT queue, ?, message_id, properties, body FROM dead_letters WHERE queue = ? AND sequence = ?
"""
_NEXT_DUE = """
SELECT min(due) FROM (
    SELECT min(enqueued_at) AS due FROM messages WHERE queue = ?1 AND lock_id IS NULL
    UNION ALL SELECT min(locked_until) FROM messages WHERE queue = ?1 AND lock_id IS NOT NULL)
"""
_DEAD_LETTERS = """
SELECT sequence, message_id, body, properties, delivery_count, enqueued_at, dead_at, reason, description
FROM dead_letters WHERE queue = ? AND sequence > ? ORDER BY sequence LIMIT ?
"""
_DEAD_LETTER = """
SELECT sequence, message_id, body, properties, delivery_count, enqueued_at, dead_at, reason, description
FROM dead_letters WHERE queue = ? AND sequence = ?
"""
_DEPTHS = """
SELECT queue, sum(enqueued_at <= ?1), sum(enqueued_at > ?1), 0, 0 FROM messages
WHERE lock_id IS NULL GROUP BY queue
UNION ALL
SELECT queue, sum(locked_until <= ?1), 0, sum(locked_until > ?1), 0 FROM messages
WHERE lock_id IS NOT NULL GROUP BY queue
UNION ALL SELECT queue, 0, 0, 0, count(*) FROM dead_letters GROUP BY queue
"""


class EmbeddedQueue:
    """All queues in one SQLite file; safe for many threads and processes. Implements QueueSender.

    Delivery is at least once and ordered by (enqueued_at, sequence); a message abandoned, or whose lock
    ran out, returns to its old place. A message delivered `max_delivery_count` times without being
    completed is dead-lettered. Settling counts only locks still held: an expired one is lost, as in
    Service Bus. Queues exist by being named. Every method raises Unavailable when the file does not answer.
    """

    def __init__(self, path: Path, clock: Clock, *, max_delivery_count: int = 10) -> None:
        self._file = SqliteFile(path, _SCHEMA)
        self._clock = clock
        self._max_delivery_count = max_delivery_count
        # Set inside the transaction, so that `changed`, which needs the same lock, cannot lose it.
        self._local_change = True
        self._seen_version: int | None = None

    def send(self, queue: str, messages: Sequence[QueueMessage]) -> None:
        """Store all messages in one transaction. Raises ValueError when one is over 256 KB."""
        now = self._now()
        rows = [_row(queue, message, now) for message in messages]
        if not rows:
            return
        with self._file.transaction() as connection:
            connection.executemany(_SEND, rows)
            self._local_change = True

    def receive(self, queue: str, max_messages: int, *, lock_seconds: float = 60.0) -> list[ReceivedMessage]:
        """Lock and return up to `max_messages` messages, oldest first, without waiting for any."""
        now = self._now()
        with self._file.writer() as connection:
            # Looking first spares an idle queue the write lock, which other processes want.
            if not connection.execute(_ANY_RECEIVABLE, (queue, now)).fetchone()[0]:
                return []
            lock_id, locked_until = secrets.randbits(63), now + int(lock_seconds * 1_000_000)
            with self._file.transaction():
                self._release_expired(connection, queue, now)
                claim = (lock_id, locked_until, queue, now, max_messages)
                rows = connection.execute(_CLAIM, claim).fetchall()
        rows.sort(key=claim_order)
        until = from_micros(locked_until)
        return [to_received(row, lock_id, until) for row in rows]

    def complete(self, queue: str, lock_tokens: Sequence[str]) -> int:
        """Remove the messages for good. Returns how many of the locks were still held."""
        now = self._now()
        with self._file.transaction() as connection:
            return max(0, connection.executemany(_COMPLETE, _held(queue, lock_tokens, now)).rowcount)

    def renew(self, queue: str, lock_tokens: Sequence[str], *, lock_seconds: float = 60.0) -> int:
        """Make the locks last `lock_seconds` from now. Returns how many were still held."""
        now = self._now()
        until = now + int(lock_seconds * 1_000_000)
        with self._file.transaction() as connection:
            rows = [(until, *held) for held in _held(queue, lock_tokens, now)]
            return max(0, connection.executemany(_RENEW, rows).rowcount)

    def abandon(self, queue: str, lock_tokens: Sequence[str]) -> int:
        """Make the messages receivable at once, and return how many of the locks were still held.

        Those delivered too often are dead-lettered with reason MaxDeliveryCountExceeded."""
        now = self._now()
        with self._file.transaction() as connection:
            held = self._still_held(connection, queue, lock_tokens, now)
            self._return(connection, held, now)
            self._local_change = True
        return len(held)

    def dead_letter(
        self, queue: str, lock_tokens: Sequence[str], *, reason: str, description: str = ""
    ) -> int:
        """Move the messages to the dead letters. Returns how many of the locks were still held."""
        now = self._now()
        with self._file.transaction() as connection:
            held = self._still_held(connection, queue, lock_tokens, now)
            _bury(connection, [sequence for sequence, _ in held], now, reason=reason, description=description)
        return len(held)

    def changed(self) -> bool:
        """Return whether a message may have become receivable since the last call by something that was done.

        That is a send, an abandon, a requeue, or any write of another process; `next_due` tells what time alone
        brings. For one polling loop: each call forgets what it reports."""
        with self._file.writer() as connection:
            version: int = connection.execute("PRAGMA data_version").fetchone()[0]
            changed = self._local_change or version != self._seen_version
            self._local_change, self._seen_version = False, version
        return changed

    def next_due(self, queue: str) -> datetime | None:
        """Return the earliest moment at which a message can be received, or None for an empty queue.

        That is when a waiting message becomes visible or a lock expires; in the past when one is receivable now."""
        with self._file.reader() as connection:
            due = connection.execute(_NEXT_DUE, (queue,)).fetchone()[0]
        return None if due is None else from_micros(due)

    def depths(self) -> dict[str, QueueDepth]:
        """Return the depth of every queue that holds anything. Reads all messages' index entries."""
        totals: dict[str, list[int]] = {}
        with self._file.reader() as connection:
            for queue, *counts in connection.execute(_DEPTHS, (self._now(),)):
                total = totals.setdefault(queue, [0, 0, 0, 0])
                totals[queue] = [a + b for a, b in zip(total, counts, strict=True)]
        return {queue: QueueDepth(*total) for queue, total in totals.items()}

    def message_counts(self) -> dict[str, dict[str, int]]:
        """Return `depths` by the names of the states. Raises Unavailable."""
        return {queue: asdict(depth) for queue, depth in self.depths().items()}

    def dead_letter_counts(self) -> dict[str, int]:
        """How many dead letters each queue has that has any. Raises Unavailable."""
        with self._file.reader() as connection:
            return dict(connection.execute("SELECT queue, COUNT(*) FROM dead_letters GROUP BY queue"))

    def dead_letters(self, queue: str, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Return up to `limit` dead letters, from the first whose sequence number is above `after`."""
        with self._file.reader() as connection:
            rows = connection.execute(_DEAD_LETTERS, (queue, after, limit)).fetchall()
        return [to_dead_letter(row) for row in rows]

    def resend_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> list[DeadLetter]:
        """Send these anew, with a delivery count of 0, and return those that were there."""
        return self._taken(queue, sequence_numbers, is_sent=True)

    def discard_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> list[DeadLetter]:
        """Give these up for good, and return those that were there."""
        return self._taken(queue, sequence_numbers, is_sent=False)

    def _taken(self, queue: str, sequence_numbers: Collection[int], *, is_sent: bool) -> list[DeadLetter]:
        taken: list[DeadLetter] = []
        with self._file.transaction() as connection:
            for sequence in sorted(sequence_numbers):
                row = connection.execute(_DEAD_LETTER, (queue, sequence)).fetchone()
                if row is None:
                    continue
                if is_sent:
                    connection.execute(_REQUEUE, (self._now(), queue, sequence))
                connection.execute("DELETE FROM dead_letters WHERE sequence = ?", (sequence,))
                taken.append(to_dead_letter(row))
            self._local_change = self._local_change or (is_sent and bool(taken))
        return taken

    def ping(self) -> None:
        """Read from the file. Raises Unavailable if it does not answer."""
        self._file.ping()

    def close(self) -> None:
        """Close the file. Locks still held run out by themselves."""
        self._file.close()

    def _now(self) -> int:
        return to_micros(self._clock.now())

    def _release_expired(self, connection: sqlite3.Connection, queue: str, now: int) -> None:
        expired = connection.execute(_EXPIRED, (queue, now)).fetchall()
        if expired:
            self._return(connection, expired, now)

    def _return(self, connection: sqlite3.Connection, held: Iterable[tuple[int, int]], now: int) -> None:
        spent: list[int] = []
        again: list[int] = []
        for sequence, count in held:
            (spent if count >= self._max_delivery_count else again).append(sequence)
        connection.executemany(_UNLOCK, [(sequence,) for sequence in again])
        description = f"Delivered {self._max_delivery_count} times without being completed"
        _bury(connection, spent, now, reason=MAX_DELIVERY_COUNT_EXCEEDED, description=description)

    def _still_held(
        self, connection: sqlite3.Connection, queue: str, lock_tokens: Sequence[str], now: int
    ) -> list[tuple[int, int]]:
        query = f"SELECT sequence, delivery_count FROM messages WHERE {_HELD}"  # noqa: S608 - a constant
        found = (connection.execute(query, held).fetchone() for held in _held(queue, lock_tokens, now))
        return [row for row in found if row is not None]


def _row(queue: str, message: QueueMessage, now: int) -> tuple[str, int, str, str | None, bytes]:
    body = message.body.encode()
    properties = json.dumps(dict(message.properties)) if message.properties else None
    check_size(body, message.properties)
    enqueued_at = now if message.scheduled_at is None else max(now, to_micros(message.scheduled_at))
    message_id = os.urandom(16).hex() if message.message_id is None else message.message_id
    return queue, enqueued_at, message_id, properties, body


def _held(queue: str, lock_tokens: Sequence[str], now: int) -> list[tuple[int, int, str, int]]:
    # A token is the sequence number and the lock id in hexadecimal, 16 digits each: a row is found by its
    # primary key, and no index over tokens has to be kept.
    try:
        return [(int(token[:16], 16), int(token[16:], 16), queue, now) for token in lock_tokens]
    except ValueError as error:
        raise ValueError("Not a lock token of this queue") from error


def _bury(
    connection: sqlite3.Connection, sequences: list[int], now: int, *, reason: str, description: str
) -> None:
    connection.executemany(_BURY, [(now, reason, description, sequence) for sequence in sequences])
    connection.executemany("DELETE FROM messages WHERE sequence = ?", [(sequence,) for sequence in sequences])
