"""Many of a kind within a minute (section 10.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

#: So many refusals within a minute, of one process, are a burst.
BURST: Final = 100
_WINDOW: Final = timedelta(minutes=1)
_TOLD_FOR: Final = timedelta(minutes=10)
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Count:
    began: datetime
    number: int = 0
    told_at: datetime | None = None


class Bursts:
    """Thread-safe. Counts are of one process and lost with it."""

    def __init__(self) -> None:
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()
        self._lock = Lock()

    def count(self, whose: Hashable, now: datetime) -> int:
        """One more; how many it has been within the minute when that is a burst to be told, else 0."""
        with self._lock:
            one = self._counts.get(whose)
            if one is None:
                one = self._counts[whose] = _Count(now)
                if len(self._counts) > _REMEMBERED:
                    self._counts.popitem(last=False)
            elif now - one.began >= _WINDOW:
                one.began, one.number = now, 0
            self._counts.move_to_end(whose)
            one.number += 1
            if one.number < BURST or (one.told_at is not None and now - one.told_at < _TOLD_FOR):
                return 0
            one.told_at = now
            return one.number
