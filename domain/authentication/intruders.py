"""Intruders (section 10.2): networks that try credentials that nobody knows are counted, by all processes together."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from threading import Lock
from typing import Final

from domain.authentication.service import AuthenticationResult
from domain.core.errors import ExpiredToken, InvalidToken, Unavailable
from domain.core.ports import Clock
from domain.core.transaction import Transactions, repeated
from domain.journal.bursts import Burst, BurstSource, BurstTransaction
from domain.journal.occurrences import PLATFORM

logger = logging.getLogger("hub.security")

#: Networks that wait to be written at most; the log has the others too.
_WAITING: Final = 1_000


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

    def __init__(self, transactions: Transactions[BurstTransaction], clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        self._lock = Lock()
        self._waiting: dict[str, Burst] = {}
        self._writer: ThreadPoolExecutor | None = None

    def listen(self, result: AuthenticationResult) -> None:
        """Count a refused credential that nobody knows.

        A request without one, a token whose time is over and a key that is known tell of no intruder."""
        is_known = result.principal is not None or (result.verification and result.verification.key)
        if is_known or not isinstance(result.error, InvalidToken) or isinstance(result.error, ExpiredToken):
            return
        network = network_of(result.origin.ip) if result.origin.ip else None
        if network is None:
            return
        now = self._clock.now()
        one = Burst(
            PLATFORM,
            BurstSource.UnknownCredentials,
            network,
            network,
            started_at=now,
            last_at=now,
            count=1,
            source_ip=result.origin.ip,
        )
        with self._lock:
            is_first = not self._waiting
            self._wait(one)
            # The caller may be an event loop, which must not wait for the database.
            self._writer = self._writer or ThreadPoolExecutor(1, thread_name_prefix="intruders")
        if is_first:
            self._writer.submit(self._write)

    def flush(self) -> None:
        """Wait until what was counted so far is stored."""
        if self._writer is not None:
            self._writer.submit(self._write).result()

    def _wait(self, more: Burst) -> None:
        before = self._waiting.get(more.subject)
        if before is not None:
            more = replace(more, started_at=before.started_at, count=before.count + more.count)
        elif len(self._waiting) >= _WAITING:
            return
        self._waiting[more.subject] = more

    def _write(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        try:
            self._store(waiting)
        except Unavailable as error:
            logger.warning("unknown credentials not counted", extra={"reason": error.detail})
            with self._lock:
                newer, self._waiting = self._waiting, waiting
                for burst in newer.values():
                    self._wait(burst)

    @repeated
    def _store(self, bursts: dict[str, Burst]) -> None:
        with self._transactions.write() as tx:
            for _, burst in sorted(bursts.items()):
                tx.bursts.add(burst)
            tx.commit()
