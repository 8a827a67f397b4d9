"""Whose work comes next: tenants in turn, and a place that is kept from those who used up much."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from domain.providers.untrusted import WorkStopped

#: Seconds of work, of late, from which a tenant's next work is heavy; and seconds after which they count half.
HEAVY_SECONDS: Final = 5.0
HALF_LIFE_SECONDS: Final = 60.0
#: Pieces of work of one tenant that wait; one more is refused.
WAITING_AT_MOST: Final = 64
_REMEMBERED = 1_000


class WorkTurns:
    """Gives places to work that waits. Thread-safe.

    - A tenant has one place fewer than there are, so that one is left for others.
    - So have all tenants together whose work was heavy of late: who is not among them waits for none of them.
    - Of several that wait the tenant comes first who used up least of late."""

    def __init__(self, places: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._share = max(1, places - 1)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free = list(reversed(range(places)))
        self._waiting: dict[str, deque[Future[int]]] = {}
        self._running: Counter[str] = Counter()
        self._heavy: set[int] = set()
        self._spent: dict[str, tuple[float, float]] = {}

    def enter(self, tenant: str) -> Future[int]:
        """Return the number of a place, once there is one. Raises WorkStopped (`busy`) for one too many.

        A future that is cancelled waits no more; one that was given a place has to leave it."""
        with self._lock:
            waiting = self._waiting.setdefault(tenant, deque())
            if len(waiting) >= WAITING_AT_MOST:
                raise WorkStopped("busy", "Too much work of this tenant waits to be read already.")
            turn: Future[int] = Future()
            waiting.append(turn)
            self._give()
        return turn

    def leave(self, place: int, tenant: str, seconds: float) -> None:
        """Give a place back that was used for so long."""
        with self._lock:
            self._free.append(place)
            self._heavy.discard(place)
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]
            self._spent[tenant] = (self._of_late(tenant) + seconds, self._monotonic())
            if len(self._spent) > _REMEMBERED:
                self._forget()
            self._give()

    def _give(self) -> None:
        while self._free and (tenant := self._next()) is not None:
            waiting = self._waiting[tenant]
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[tenant]
            if not turn.set_running_or_notify_cancel():
                continue
            place = self._free.pop()  # the one used last: others may end
            self._running[tenant] += 1
            if self._is_heavy(tenant):
                self._heavy.add(place)
            turn.set_result(place)

    def _next(self) -> str | None:
        may = [
            tenant
            for tenant in self._waiting
            if self._running[tenant] < self._share
            and (len(self._heavy) < self._share or not self._is_heavy(tenant))
        ]
        return min(may, key=self._of_late, default=None)

    def _is_heavy(self, tenant: str) -> bool:
        return self._of_late(tenant) >= HEAVY_SECONDS

    def _of_late(self, tenant: str) -> float:
        spent, at = self._spent.get(tenant, (0.0, 0.0))
        return spent * 0.5 ** ((self._monotonic() - at) / HALF_LIFE_SECONDS) if spent else 0.0

    def _forget(self) -> None:
        least = sorted(self._spent, key=self._of_late)
        for tenant in least[: len(least) // 2]:
            del self._spent[tenant]
