"""Taking the numbers: not more often than a scraper can tell apart."""

from __future__ import annotations

import logging
from datetime import timedelta
from threading import Lock

from domain.errors import Unavailable
from domain.metrics.model import Measures
from domain.metrics.ports import QueueDepths
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork

logger = logging.getLogger("hub.metrics")

#: Several scrapers, or an impatient one, cost the database one reading.
KEPT = timedelta(seconds=5)


class MetricsService:
    def __init__(self, units: UnitsOfWork, queues: QueueDepths, clock: Clock) -> None:
        self._units = units
        self._queues = queues
        self._clock = clock
        self._lock = Lock()
        self._last: Measures | None = None

    def read(self) -> Measures:
        """The numbers of this moment, or of the last few seconds. What is counted is counted since midnight (UTC):
        sums over all that is kept would fall whenever something old is deleted. A queue that does not answer is
        left out. Raises Unavailable when the database does not answer."""
        with self._lock:
            now = self._clock.now()
            if self._last is None or not self._last.taken_at <= now < self._last.taken_at + KEPT:
                midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
                with self._units.read() as unit:
                    stored = unit.metrics.read(since=midnight, now=now)
                self._last = Measures(now, stored, self._messages())
            return self._last

    def _messages(self) -> dict[str, dict[str, int]] | None:
        try:
            return {queue: dict(counts) for queue, counts in self._queues.message_counts().items()}
        except Unavailable as error:
            logger.warning("queues not counted", extra={"error": error.detail})
            return None
