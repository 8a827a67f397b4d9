"""What the embedded queue hands out, and how it is read from its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from domain.monitoring.dead_letters import DeadLetter
from infra.embedded.sqlite import from_micros

_NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})

ClaimedRow = tuple[int, int, str, bytes, str | None, int]
"""enqueued_at, sequence, message id, body, properties, delivery count; times in microseconds."""


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message under lock until `locked_until`. `delivery_count` is 1 at the first delivery."""

    sequence_number: int
    message_id: str
    body: bytes
    properties: Mapping[str, str]
    delivery_count: int
    enqueued_at: datetime
    locked_until: datetime
    lock_token: str


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages of one queue: receivable now, scheduled for later, under lock, dead-lettered."""

    active: int
    scheduled: int
    locked: int
    dead: int


def claim_order(row: ClaimedRow) -> tuple[int, int]:
    """Oldest first."""
    return row[0], row[1]


def to_received(row: ClaimedRow, lock_id: int, locked_until: datetime) -> ReceivedMessage:
    enqueued_at, sequence, message_id, body, properties, count = row
    token = f"{sequence:016x}{lock_id:016x}"
    return ReceivedMessage(
        sequence,
        message_id,
        body,
        _properties(properties),
        count,
        from_micros(enqueued_at),
        locked_until,
        token,
    )


def to_dead_letter(row: tuple[int, str, bytes, str | None, int, int, int, str, str]) -> DeadLetter:
    sequence, message_id, body, properties, count, enqueued_at, dead_at, reason, description = row
    return DeadLetter(
        sequence,
        message_id,
        body,
        _properties(properties),
        count,
        from_micros(enqueued_at),
        from_micros(dead_at),
        reason,
        description,
    )


def _properties(stored: str | None) -> Mapping[str, str]:
    return json.loads(stored) if stored else _NO_PROPERTIES
