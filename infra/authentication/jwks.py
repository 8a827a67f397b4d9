"""An issuer's keys, held in memory and refreshed when due or when a token names a key not seen before."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from domain.core.errors import Unavailable
from infra.authentication.keys import SigningKey

_log = logging.getLogger(__name__)

_REST_SECONDS = 30.0
_REST_WITHOUT_KEYS_SECONDS = 5.0
_WAIT_SECONDS = 12.0


class CachedKeys:
    """A KeySource over `fetch`, for any number of threads.

    Keys are kept `cache_seconds`. At most one fetch runs at a time and, once keys are held, none starts
    within 30 seconds of the last (5 while there are none), whatever tokens arrive: a storm of made-up key
    ids reaches the issuer no more often than that. Keys already held go on serving while a refresh runs,
    and after it failed. `now` gives monotonic seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, SigningKey]],
        *,
        cache_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._cache_seconds = cache_seconds
        self._now = now
        self._lock = threading.Lock()
        self._keys: Mapping[str, SigningKey] = {}
        self._generation = 0
        self._attempts = 0
        self._failed = True
        self._fetched_at = float("-inf")
        self._attempted_at = float("-inf")

    @property
    def generation(self) -> int:
        return self._generation

    def find(self, kid: str) -> SigningKey | None:
        """Return the key as KeySource does.

        After a failed refresh an id that is not held is Unavailable, not None: it may be the issuer's new key."""
        if self._keys and self._now() - self._fetched_at >= self._cache_seconds:
            self._refresh(wait_seconds=0)
        key = self._keys.get(kid)
        if key is None:
            self._refresh(wait_seconds=_WAIT_SECONDS)
            key = self._keys.get(kid)
        if key is None and self._failed:
            raise Unavailable("The token issuer's keys cannot be fetched; try again shortly.")
        return key

    def _refresh(self, *, wait_seconds: float) -> None:
        seen = self._attempts
        if not self._lock.acquire(timeout=wait_seconds):
            return
        try:
            if self._attempts == seen and not self._resting():
                self._attempt()
        finally:
            self._lock.release()

    def _resting(self) -> bool:
        rest = _REST_SECONDS if self._keys else _REST_WITHOUT_KEYS_SECONDS
        return self._now() - self._attempted_at < rest

    def _attempt(self) -> None:
        self._failed = True
        try:
            self._hold(self._fetch())
        except Unavailable as error:
            _log.warning("The token issuer's keys were not refreshed: %s", error.__cause__ or error)
        finally:
            self._attempted_at = self._now()
            self._attempts += 1

    def _hold(self, keys: Mapping[str, SigningKey]) -> None:
        changed = _material(keys) != _material(self._keys)
        self._keys = keys
        if changed:
            self._generation += 1
        self._fetched_at = self._now()
        self._failed = False


def _material(keys: Mapping[str, SigningKey]) -> dict[str, tuple[str, object, str | None]]:
    return {
        kid: (key.jwk.algorithm_name, key.jwk.key.public_numbers(), key.issuer) for kid, key in keys.items()
    }
