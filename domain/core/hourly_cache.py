"""What a process reads once an hour."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class Hourly(Generic[T]):
    """Hours are whole, so what is read of those before does not change within the present one. Reading them is what
    costs. Keeps at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._read: dict[Hashable, T] = {}
        self._at: datetime | None = None

    def get(self, key: Hashable, hour: datetime, read: Callable[[], T]) -> T:
        """What `read` gave for the key within this hour."""
        if self._at != hour or len(self._read) >= self._most:
            self._read, self._at = {}, hour
        kept = self._read
        if key not in kept:
            kept[key] = read()
        return kept[key]
