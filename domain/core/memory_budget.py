"""How many bytes of requests a process holds at a time: apart, because triggers and the development host both ask."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock

from domain.core.errors import Unavailable


class Busy(Unavailable):
    """The process holds as many bytes of requests as it may; nothing was done."""

    code = "busy"


class MemoryBudget:
    """Bytes that a process lends to whoever sends bodies.

    An owner may hold as much as it leaves free for others: alone half of the budget, one of two a third. What one
    sender fills up is thereby never all of it, and nothing is kept back for those who do not come."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._lent = 0
        self._held: dict[Hashable, int] = {}
        self._lock = Lock()

    @property
    def lent(self) -> int:
        """The bytes that are held now."""
        return self._lent

    @contextmanager
    def holding(self, owner: Hashable, size: int) -> Iterator[None]:
        """Hold `size` bytes within the block. Raises Busy."""
        self.take(owner, size)
        try:
            yield
        finally:
            self.give_back(owner, size)

    def take(self, owner: Hashable, size: int) -> None:
        """Hold `size` bytes more. Raises Busy, and then holds no more than before."""
        with self._lock:
            held = self._held.get(owner, 0)
            if held + size > self._total - self._lent:
                raise Busy(
                    f"This process holds {self._lent:,} of {self._total:,} bytes of requests; try again soon."
                )
            self._held[owner] = held + size
            self._lent += size

    def give_back(self, owner: Hashable, size: int) -> None:
        """Hold `size` bytes less."""
        with self._lock:
            self._lent -= size
            left = self._held.pop(owner, 0) - size
            if left > 0:
                self._held[owner] = left
