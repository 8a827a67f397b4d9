"""Circuit breaker and retry budget of each provider's host for each tenant, in the memory of one process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

CircuitState = Literal["closed", "open", "half-open"]

#: Failed calls in a row that open a circuit. One success of any of the tenant's integrations on the host closes it.
OPEN_AFTER_FAILURES = 8
OPEN_SECONDS = 15.0
OPEN_SECONDS_MAX = 240.0

#: Retry budget (gRFC A6, "retry throttling"): a retry costs 1, a call that went well gives back 0.1.
RETRY_TOKENS = 20.0
TOKENS_PER_SUCCESS = 0.1

_PAUSES_MAX = 4096
_HOSTS_MAX = 4096


class TenantHost(NamedTuple):
    """A provider's host as one tenant reaches it: what another did to it, or it to another, is no reason here."""

    tenant: str
    host: str


@dataclass(slots=True)
class _Host:
    failures: int = 0
    opened_at: float | None = None
    open_seconds: float = OPEN_SECONDS
    probing: bool = False
    tokens: float = RETRY_TOKENS


@dataclass(slots=True)
class Circuits:
    """Circuit breaker and retry budget per tenant and host, and the pauses that 429 answers asked for.

    Thread-safe; one per process. Only what says that the host is down counts as a failure: no answer, or 5xx. A 401
    or 429 is an answer. A pause belongs to one integration, because vendors count requests per account.
    """

    monotonic: Callable[[], float] = time.monotonic
    _hosts: OrderedDict[TenantHost, _Host] = field(default_factory=OrderedDict)
    _pauses: OrderedDict[tuple[TenantHost, str], float] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        """Return how many hosts and pauses are remembered."""
        return len(self._hosts) + len(self._pauses)

    def state(self, host: TenantHost) -> CircuitState:
        with self._lock:
            found = self._hosts.get(host)
            if found is None or found.opened_at is None:
                return "closed"
            return "half-open" if self._may_probe(found) else "open"

    def admit(self, host: TenantHost) -> float | None:
        """Return None when a call may be made, else the seconds until the next one may.

        Of the calls that come when an open circuit's time is up, one is let through to see whether the host is
        back."""
        with self._lock:
            found = self._known(host)
            if found.opened_at is None:
                return None
            if self._may_probe(found) and not found.probing:
                found.probing = True
                return None
            return max(1.0, found.opened_at + found.open_seconds - self.monotonic())

    def succeeded(self, host: TenantHost) -> None:
        """Note that the host answered."""
        with self._lock:
            found = self._known(host)
            found.failures, found.opened_at, found.probing = 0, None, False
            found.open_seconds = OPEN_SECONDS
            found.tokens = min(RETRY_TOKENS, found.tokens + TOKENS_PER_SUCCESS)

    def failed(self, host: TenantHost) -> None:
        """Note that the host did not answer, or answered 5xx."""
        with self._lock:
            found = self._known(host)
            found.failures += 1
            if found.probing:
                found.open_seconds = min(found.open_seconds * 2, OPEN_SECONDS_MAX)
            if found.probing or (found.opened_at is None and found.failures >= OPEN_AFTER_FAILURES):
                found.opened_at, found.probing = self.monotonic(), False

    def abandoned(self, host: TenantHost) -> None:
        """Note that a call ended without saying anything about the host, such as by cancellation."""
        with self._lock:
            self._known(host).probing = False

    def take_retry(self, host: TenantHost) -> bool:
        """Return whether the host's retry budget allows one more try, and take it.

        While more than half of the budget is spent, the host is in trouble and retries would add to it."""
        with self._lock:
            found = self._known(host)
            if found.tokens <= RETRY_TOKENS / 2:
                return False
            found.tokens -= 1
            return True

    def pause(self, host: TenantHost, account: str, seconds: float) -> None:
        """Note that the provider asked this account to wait."""
        with self._lock:
            self._pauses[(host, account)] = self.monotonic() + seconds
            self._pauses.move_to_end((host, account))
            if len(self._pauses) > _PAUSES_MAX:
                self._pauses.popitem(last=False)

    def paused_for(self, host: TenantHost, account: str) -> float | None:
        """Return the seconds the account still has to wait, None when it need not."""
        with self._lock:
            until = self._pauses.get((host, account))
            if until is None:
                return None
            left = until - self.monotonic()
            if left <= 0:
                del self._pauses[(host, account)]
                return None
            return left

    def _known(self, host: TenantHost) -> _Host:
        """Return what is known of the host; of more than 4,096 the one asked for longest ago is forgotten."""
        found = self._hosts.setdefault(host, _Host())
        self._hosts.move_to_end(host)
        if len(self._hosts) > _HOSTS_MAX:
            self._hosts.popitem(last=False)
        return found

    def _may_probe(self, host: _Host) -> bool:
        return host.opened_at is not None and self.monotonic() >= host.opened_at + host.open_seconds
