"""Echoes: events whose data repeats what was delivered, told by their content, because forwarders drop headers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

#: Characters of data that are read as JSON; of more, an equal text and the ids in it are known again.
_READ_AT_MOST: Final = 64 * 1024
_IDS_AT_MOST: Final = 32
#: The hub's ids have version 7.
_OWN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}(?:\.\d{1,6})?")
_ENVELOPE: Final = frozenset({"type", "timestamp", "id", "data"})


@dataclass(frozen=True, slots=True)
class Marks:
    """What data may have in common with an event that was delivered.

    - `digests`: of all of the data, and of each object that is more than half of it.
    - `event_ids`: ids in the form of the hub's own, and the id in each object that has the form of a delivery."""

    digests: Collection[int] = ()
    event_ids: Collection[str] = ()


def content_digest(data: str) -> int:
    """Return 64 bits that two texts share when they are the same JSON, however it is written."""
    return _read(data)[0]


def marks_of(data: str) -> Marks:
    """Return the marks of an event's data, at most 32 ids."""
    whole, objects, given_ids = _read(data)
    half = len(data) / 2
    digests = {whole, *(digest for digest, size in objects if size > half)}
    own_ids = (found.group() for found in _OWN_ID.finditer(data))
    return Marks(digests, list(dict.fromkeys([*given_ids, *own_ids]))[:_IDS_AT_MOST])


def _read(data: str) -> tuple[int, list[tuple[int, int]], list[str]]:
    """Return the digest of all, (digest, length as compact text) of the objects, and the ids of deliveries in it."""
    objects: list[tuple[int, int]] = []
    given_ids: list[str] = []
    if len(data) <= _READ_AT_MOST:
        try:
            whole, _ = _walk(json.loads(data), objects, given_ids)
        except (ValueError, RecursionError):
            pass
        else:
            return whole, objects, given_ids
    return _digest(data), [], []


def _walk(value: Any, objects: list[tuple[int, int]], given_ids: list[str]) -> tuple[int, int]:
    """Return the digest of a value and its length, whatever the order of its members and the way of its numbers."""
    if isinstance(value, dict):
        members = sorted((name, *_walk(item, objects, given_ids)) for name, item in value.items())
        size = 1 + sum(len(name) + 4 + length for name, _, length in members)
        digest = _digest("{" + ",".join(f"{json.dumps(name)}:{mark}" for name, mark, _ in members))
        objects.append((digest, size))
        if value.keys() >= _ENVELOPE and isinstance(value["id"], str):
            given_ids.append(value["id"])
        return digest, size
    if isinstance(value, list):
        items = [_walk(item, objects, given_ids) for item in value]
        digest = _digest("[" + ",".join(str(mark) for mark, _ in items))
        return digest, 1 + sum(length + 1 for _, length in items)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(value)
    return _digest(text), len(text)


def _digest(text: str) -> int:
    raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, signed=True)
