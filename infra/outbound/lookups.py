"""Threads for name look-ups, shared out: a name whose server never answers holds its thread for half a minute."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from domain.core.acting_for import acting_tenant

T = TypeVar("T")

#: Look-ups at a time, and those of one tenant.
LOOKUPS_AT_MOST: Final = 64
LOOKUPS_OF_ONE_AT_MOST: Final = 4
_LABELS = 2


class LookupThreads:
    """Runs look-ups, those of different tenants in turn. Of any event loop.

    A look-up counts until its thread is free, whoever still waits for it. Where nobody said whose it is, names under
    one domain share as one tenant's do."""

    def __init__(self, *, most: int = LOOKUPS_AT_MOST, most_of_one: int = LOOKUPS_OF_ONE_AT_MOST) -> None:
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="outbound-dns")
        self._most_of_one = most_of_one
        self._lock = threading.Lock()
        self._free = most
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[Future[None]]] = {}

    async def ask(self, lookup: Callable[..., Sequence[T]], host: str, *arguments: Any) -> Sequence[T]:
        """Return what `lookup` says of the host."""
        share = acting_tenant() or ".".join(host.rstrip(".").lower().split(".")[-_LABELS:])
        await self._turn(share)
        running = self._threads.submit(lookup, host, *arguments)
        running.add_done_callback(lambda _: self._leave(share))
        return await asyncio.wrap_future(running)

    async def _turn(self, share: str) -> None:
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.setdefault(share, deque()).append(turn)
            self._give()
        try:
            await asyncio.wrap_future(turn)
        except asyncio.CancelledError:
            if not turn.cancel():
                self._leave(share)
            raise

    def _leave(self, share: str) -> None:
        with self._lock:
            self._free += 1
            self._running[share] -= 1
            if not self._running[share]:
                del self._running[share]
            self._give()

    def _give(self) -> None:
        while self._free:
            share = next((name for name in self._waiting if self._running[name] < self._most_of_one), None)
            if share is None:
                return
            waiting = self._waiting.pop(share)
            turn = waiting.popleft()
            if waiting:
                self._waiting[share] = waiting  # behind the others
            if turn.set_running_or_notify_cancel():
                self._free -= 1
                self._running[share] += 1
                turn.set_result(None)
