"""Tokens verified a moment ago: a signature check costs more than everything else a small request does."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from domain.core.principal import Principal

_KEEP_SECONDS = 60.0
_SIZE = 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    principal: Principal
    until: float
    generation: int


class VerifiedTokens:
    """At most 1,024 principals by the SHA-256 of their token, the least recently used dropped first.

    Holds no token. An entry serves for 60 seconds, never past the token's `exp`, and only while the key set
    has the generation under which the token was verified. Times are seconds since the epoch.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, token: str, *, now: float, generation: int) -> Principal | None:
        digest = _digest(token)
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            # An entry that seems to last longer than any may was kept before the clock was set back.
            if not now < entry.until <= now + _KEEP_SECONDS or entry.generation != generation:
                del self._entries[digest]
                return None
            self._entries.move_to_end(digest)
            return entry.principal

    def put(self, token: str, principal: Principal, *, now: float, expires: int, generation: int) -> None:
        entry = _Entry(principal, min(now + _KEEP_SECONDS, expires), generation)
        with self._lock:
            self._entries[_digest(token)] = entry
            if len(self._entries) > _SIZE:
                self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
