"""Bursts of credentials that nobody knows (section 10.2): a network that tries one after another."""

from __future__ import annotations

import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from domain.alerts.occurring import occurrence
from domain.anomalies.uses import network_of
from domain.errors import Unavailable
from domain.unit_of_work import UnitsOfWork

logger = logging.getLogger("hub.security")

#: Refusals from one network within a minute, of one process, that are a burst.
BURST: Final = 100
_WINDOW: Final = timedelta(minutes=1)
_TOLD_FOR: Final = timedelta(minutes=10)
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Count:
    began: datetime
    refusals: int = 0
    told_at: datetime | None = None


class Strangers:
    """Thread-safe, and never in the way of the caller. Counts are of one process and lost with it; the log has each
    refusal."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._lock = Lock()
        self._teller: ThreadPoolExecutor | None = None

    def note(self, address: str | None, now: datetime) -> None:
        """One refusal of an unknown credential; the hub's own alert `security-violation` when it makes a burst."""
        network = network_of(address) if address else None
        if network is None:
            return
        with self._lock:
            count = self._counted(network, now)
            if count < BURST:
                return
            # The caller may be an event loop, which must not wait for the database.
            self._teller = self._teller or ThreadPoolExecutor(1, thread_name_prefix="strangers")
        self._teller.submit(self._tell, network, count, now)

    def settle(self) -> None:
        """Wait until what was noted is stored."""
        if self._teller is not None:
            self._teller.submit(lambda: None).result()

    def _counted(self, network: str, now: datetime) -> int:
        """How many it has been within the minute, when that is to be told; else 0."""
        one = self._counts.get(network)
        if one is None:
            one = self._counts[network] = _Count(now)
            if len(self._counts) > _REMEMBERED:
                self._counts.popitem(last=False)
        elif now - one.began >= _WINDOW:
            one.began, one.refusals = now, 0
        self._counts.move_to_end(network)
        one.refusals += 1
        if one.refusals < BURST or (one.told_at is not None and now - one.told_at < _TOLD_FOR):
            return 0
        one.told_at = now
        return one.refusals

    def _tell(self, network: str, count: int, now: datetime) -> None:
        detail = f"{count} credentials that nobody knows were tried from {network} within a minute."
        data = {"subject": network, "detail": detail, "count": count}
        logger.warning("unknown credentials in a burst", extra={"network": network, "refusals": count})
        try:
            with self._units.write() as unit:
                unit.occurrences.append(occurrence("security-violation", data, now))
                unit.commit()
        except Unavailable as error:
            logger.warning("alert not stored", extra={"kind": "security-violation", "reason": error.detail})
