"""Intruders (section 10.2): bursts of refusals, and the alert about a network that tries many credentials."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from threading import Lock
from typing import Final

from domain.authentication.service import AuthenticationResult
from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.transaction import Transactions
from domain.journal.occurrences import OccurrenceTransaction, occurrence

logger = logging.getLogger("hub.security")

#: So many refusals within a minute, of one process, are a burst.
BURST: Final = 100
_WINDOW: Final = timedelta(minutes=1)
#: How long further bursts of the same origin are not reported.
_REPORTED_FOR: Final = timedelta(minutes=10)
_REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Count:
    began: datetime
    number: int = 0
    reported_at: datetime | None = None


class Bursts:
    """Counts refusals by origin. Thread-safe; the counts are those of one process and lost with it."""

    def __init__(self) -> None:
        self._counts: OrderedDict[Hashable, _Count] = OrderedDict()
        self._lock = Lock()

    def count(self, origin: Hashable, now: datetime) -> int:
        """Count one more. Return how many came within the minute when that is a burst to report, else 0."""
        with self._lock:
            count = self._counts.get(origin)
            if count is None:
                count = self._counts[origin] = _Count(now)
                if len(self._counts) > _REMEMBERED:
                    self._counts.popitem(last=False)
            elif now - count.began >= _WINDOW:
                count.began, count.number = now, 0
            self._counts.move_to_end(origin)
            count.number += 1
            is_reported = count.reported_at is not None and now - count.reported_at < _REPORTED_FOR
            if count.number < BURST or is_reported:
                return 0
            count.reported_at = now
            return count.number


@lru_cache(maxsize=4096)
def network_of(address: str) -> str | None:
    """Return the network of an address: /24 of IPv4, /48 of IPv6; None for text that is no address."""
    try:
        length = 24 if ip_address(address).version == 4 else 48
        return str(ip_network(f"{address}/{length}", strict=False))
    except ValueError:
        return None


class IntruderWatch:
    """Listens to the results of authentication. Thread-safe, and never waits for the database."""

    def __init__(self, transactions: Transactions[OccurrenceTransaction], clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        self._bursts = Bursts()
        self._lock = Lock()
        self._writer: ThreadPoolExecutor | None = None

    def listen(self, result: AuthenticationResult) -> None:
        """Count a refused credential that nobody knows, and raise the alert `security-violation` at a burst."""
        is_known = result.principal is not None or (result.verification and result.verification.key)
        network = network_of(result.origin.ip) if result.origin.ip and not is_known else None
        if network is None:
            return
        now = self._clock.now()
        count = self._bursts.count(network, now)
        if not count:
            return
        with self._lock:
            # The caller may be an event loop, which must not wait for the database.
            self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="intruders")
        self._writer.submit(self._store, network, count, now)

    def flush(self) -> None:
        """Wait until the alerts raised so far are stored."""
        if self._writer is not None:
            self._writer.submit(lambda: None).result()

    def _store(self, network: str, count: int, now: datetime) -> None:
        detail = f"{count} credentials that nobody knows were tried from {network} within a minute."
        data = {"subject": network, "detail": detail, "count": count}
        logger.warning("unknown credentials in a burst", extra={"network": network, "refusals": count})
        try:
            with self._transactions.write() as tx:
                tx.occurrences.append(occurrence("security-violation", data, now))
                tx.commit()
        except Unavailable as error:
            logger.warning("alert not stored", extra={"kind": "security-violation", "reason": error.detail})
