"""Bursts of credentials that nobody knows (section 10.2): a network that tries one after another."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Lock

from domain.authentication.bursts import Bursts
from domain.authentication.key_usage_watch import network_of
from domain.core.errors import Unavailable
from domain.core.transaction import Transactions
from domain.journal.occurrences import OccurrenceTransaction, occurrence

logger = logging.getLogger("hub.security")


class Strangers:
    """Thread-safe, and never in the way of the caller. Counts are of one process and lost with it; the log has each
    refusal."""

    def __init__(self, transactions: Transactions[OccurrenceTransaction]) -> None:
        self._transactions = transactions
        self._bursts = Bursts()
        self._lock = Lock()
        self._teller: ThreadPoolExecutor | None = None

    def note(self, address: str | None, now: datetime) -> None:
        """One refusal of an unknown credential; the hub's own alert `security-violation` when it makes a burst."""
        network = network_of(address) if address else None
        if network is None:
            return
        count = self._bursts.count(network, now)
        if not count:
            return
        with self._lock:
            # The caller may be an event loop, which must not wait for the database.
            self._teller = self._teller or ThreadPoolExecutor(1, thread_name_prefix="strangers")
        self._teller.submit(self._tell, network, count, now)

    def settle(self) -> None:
        """Wait until what was noted is stored."""
        if self._teller is not None:
            self._teller.submit(lambda: None).result()

    def _tell(self, network: str, count: int, now: datetime) -> None:
        detail = f"{count} credentials that nobody knows were tried from {network} within a minute."
        data = {"subject": network, "detail": detail, "count": count}
        logger.warning("unknown credentials in a burst", extra={"network": network, "refusals": count})
        try:
            with self._transactions.write() as tx:
                tx.occurrences.append(occurrence("security-violation", data, now))
                tx.commit()
        except Unavailable as error:
            logger.warning("alert not stored", extra={"kind": "security-violation", "reason": error.detail})
