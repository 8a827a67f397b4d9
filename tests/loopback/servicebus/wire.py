"""Messages as Service Bus reads and writes them in AMQP 1.0.

Source: OASIS AMQP 1.0 part 3; "AMQP 1.0 in Azure Service Bus: protocol guide" (Microsoft).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from proton import Data, Described, Message, symbol, timestamp

from tests.loopback.servicebus.entities import Stored

_DATA_SECTION = b"\x00\x53\x75"
_SHORT, _LONG = 0xA0, 0xB0
_SECTION_STARTS = tuple(bytes((0, 0x53, code)) for code in range(0x70, 0x79))
_SCHEDULED = "x-opt-scheduled-enqueue-time"


def entity_of(address: str | None) -> str:
    """The path of a link's address, in lower case: `amqps://host/Queue` and `queue` are one."""
    if address is None:
        return ""
    path = urlsplit(address).path if "://" in address else address
    return path.strip("/").lower()


def messages_in(payload: bytes) -> list[Message]:
    """What a transfer carries: one message, or the many of a batch (message format 0x80013700).

    The format itself is not shown by proton's Python binding: a batch is known by data sections that each
    hold an encoded message. A single message whose body begins so too is taken for a batch of one.
    """
    parts = list(_data_sections(payload))
    if not parts or not all(part.startswith(_SECTION_STARTS) for part in parts):
        parts = [payload]
    return [_decoded(part) for part in parts]


def scheduled_at(message: Message) -> float | None:
    """Seconds since 1970 at which the sender wants the message to appear, if it says so."""
    moment = (message.annotations or {}).get(_SCHEDULED)
    return None if moment is None else int(moment) / 1000


def encoded(stored: Stored) -> bytes:
    """The message as it is delivered: annotated, with the count of earlier deliveries in its header."""
    message = stored.message
    annotations = dict(message.annotations or {})
    annotations[symbol("x-opt-sequence-number")] = stored.sequence
    annotations[symbol("x-opt-enqueued-time")] = milliseconds(stored.enqueued_at)
    annotations[symbol("x-opt-message-state")] = ("active", "deferred", "scheduled").index(stored.state)
    if stored.lock is not None:
        annotations[symbol("x-opt-locked-until")] = milliseconds(stored.locked_until)
    message.annotations = annotations
    message.delivery_count = max(0, stored.deliveries - 1)
    if stored.dead_reason is not None or stored.dead_description is not None:
        message.properties = {
            **(message.properties or {}),
            "DeadLetterReason": stored.dead_reason or "",
            "DeadLetterErrorDescription": stored.dead_description or "",
        }
    return bytes(message.encode())


def milliseconds(seconds: float) -> timestamp:
    """An AMQP timestamp."""
    return timestamp(int(seconds * 1000))


def token_of(lock: str) -> uuid.UUID:
    """A lock as a UUID: the delivery tag's bytes, little-endian, as .NET writes a Guid."""
    return uuid.UUID(bytes_le=lock.encode())


def lock_of(token: uuid.UUID) -> str:
    """The reverse of `token_of`; a token that no lock can have becomes some text that no lock is."""
    return token.bytes_le.decode("latin-1")


def _decoded(payload: bytes) -> Message:
    message = Message()
    message.decode(payload)
    return message


def _data_sections(payload: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(payload):
        if payload.startswith(_DATA_SECTION, position) and payload[position + 3] in (_SHORT, _LONG):
            width = 1 if payload[position + 3] == _SHORT else 4
            start = position + 4 + width
            end = start + int.from_bytes(payload[position + 4 : start], "big")
            yield payload[start:end]
            position = end
        else:
            position += _other_section(payload[position:])


def _other_section(payload: bytes) -> int:
    data = Data()
    size: int = data.decode(payload)
    data.next()
    section: Any = data.get_object()
    if size <= 0 or not isinstance(section, Described):
        raise ValueError("not an AMQP message")
    return size
