"""Slots that tenants share: none waits for the slow work of another, and each gets more while others are idle."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final

#: What a single tenant may hold of what is free, in syncs: jobs last for minutes, and an idle place helps nobody.
EAGER: Final = 3


def may_take(held: int, free: int, *, eagerness: int = 1, kept: int = 1) -> bool:
    """Return whether a tenant that holds so many slots may have another while so many are free.

    The first one always. Then no more than a multiple of what would stay free, so that whoever comes next finds some:
    alone a tenant gets half of all slots (three quarters with an eagerness of 3), and less the more others hold. `kept`
    are for tenants without any."""
    if held == 0:
        return free > 0
    return held < eagerness * (free - kept)


class TenantTurns:
    """Slots of one process, for coroutines of one event loop. Of those who wait, the tenant with the fewest is next."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @property
    def held(self) -> Counter[Hashable]:
        """How many slots each tenant holds."""
        return +self._held

    @asynccontextmanager
    async def turn(self, tenant: Hashable) -> AsyncIterator[None]:
        """Wait for the tenant's turn and hold a slot meanwhile."""
        if tenant in self._waiting or not may_take(self._held[tenant], self._free):
            await self._wait(tenant)
        else:
            self._take(tenant)
        try:
            yield
        finally:
            self._release(tenant)

    async def _wait(self, tenant: Hashable) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled in the moment in which it got its turn: that passes on.
            if not turn.cancelled():
                self._release(tenant)
            raise

    def _take(self, tenant: Hashable) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _release(self, tenant: Hashable) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        while self._waiting and may_take(self._held[following := self._next()], self._free):
            queue = self._waiting[following]
            turn = queue.popleft()
            if not queue:
                del self._waiting[following]
            if not turn.done():  # else whoever waited has given up
                self._take(following)
                turn.set_result(None)

    def _next(self) -> Hashable:
        """Return whose turn it is: who holds the fewest, and of those who came first. None is a tenant like others."""
        return min(self._waiting, key=lambda each: self._held[each])
