"""Fair turns: how a turn is shared out, and when work comes back that found no place.

A queue gives what comes first. So that whoever queued ten thousand pieces of work does not keep others waiting, a
turn takes only some, the same of each tenant that asks, and what there is no place for goes to the end of the queue
with a moment of its own."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, TypeVar
from uuid import UUID

K = TypeVar("K", bound=Hashable)

_SEEN_SECONDS: Final = 10.0
_LONGEST_SECONDS: Final = 3.0


def fair_shares(wanted: Mapping[K, int], total: int) -> dict[K, int]:
    """Share `total` out: everybody gets the same, and what one does not want goes to the others (max-min fairness).

    The result has those who want least first, and nobody who gets nothing."""
    left, shares = max(0, total), {}
    asking = sorted(((key, many) for key, many in wanted.items() if many > 0), key=lambda item: item[1])
    for place, (key, many) in enumerate(asking):
        share = min(many, -(-left // (len(asking) - place)))
        if share:
            shares[key] = share
        left -= share
    return shares


class SharedTurns:
    """Sizes turns, and gives what is left over its moment. Of one process and one queue; without locks.

    - `alone` pieces of work are a turn while one tenant asks, `together` while several did within 10 seconds.
    - `rate` is a number of pieces that no process does in a second: what comes back comes a little too early rather
      than too late, so that no process stands idle beside work.
    - `monotonic` returns seconds."""

    def __init__(self, *, alone: int, together: int, rate: float, monotonic: Callable[[], float]) -> None:
        self._alone = alone
        self._together = together
        self._rate = rate
        self._monotonic = monotonic
        self._seen: dict[UUID, float] = {}
        self._ends: dict[UUID, float] = {}

    def size(self, tenants: Iterable[UUID]) -> int:
        """Return how many pieces a turn takes in which these tenants ask."""
        now = self._monotonic()
        self._seen |= dict.fromkeys(tenants, now)
        self._seen = {tenant: at for tenant, at in self._seen.items() if at > now - _SEEN_SECONDS}
        return self._alone if len(self._seen) <= 1 else self._together

    def later(self, tenant: UUID, work: float) -> float:
        """Return in how many seconds so much work of the tenant is to come back: behind what it put off before.

        The tenants that put work off share the rate; nothing is put off for more than 3 seconds."""
        now = self._monotonic()
        self._ends = {one: end for one, end in self._ends.items() if end > now}
        start = self._ends.get(tenant, now)
        self._ends[tenant] = start
        end = start + work * len(self._ends) / self._rate
        self._ends[tenant] = min(end, now + _LONGEST_SECONDS)
        return start - now
