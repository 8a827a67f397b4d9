"""The end of the realtime connections that keys opened (UC-AK-02 step 6). Whatever ends a key closes them at once;
what that missed is made up for here: the service was away, the process died, or a negotiation was under way."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from domain.ports import Clock
from domain.realtime.model import key_user
from domain.realtime.ports import Realtime
from domain.unit_of_work import UnitsOfWork

#: A negotiation that was under way when its key ended is over by then, however slow the service.
SETTLED: Final = timedelta(minutes=1)
_PER_RUN = 100
#: So many that fail in a row mean that the service is away: the next run tries again. One that is refused alone
#: does not keep the others open.
_MOST_FAILURES = 3


class KeyConnections:
    def __init__(self, units: UnitsOfWork, clock: Clock, realtime: Realtime) -> None:
        self._units = units
        self._clock = clock
        self._realtime = realtime

    def sweep(self) -> int:
        """Close once more what each revoked key opened, until it is known to be closed; returns for how many it
        now is. Idempotent; a bounded number a run."""
        with self._units.read() as unit:
            keys = unit.api_keys.unclosed(self._clock.now() - SETTLED, _PER_RUN)
        closed, failures = [], 0
        for key in keys:
            if self._realtime.close(key_user(key)):
                closed.append(key)
                failures = 0
            else:
                failures += 1
            if failures == _MOST_FAILURES:
                break
        if closed:
            with self._units.write() as unit:
                unit.api_keys.set_closed(closed, self._clock.now())
                unit.commit()
        return len(closed)
