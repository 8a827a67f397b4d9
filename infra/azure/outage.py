"""An outage that one caller at a time finds out about, so that a service which hangs does not fill the process with
those who wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domain.core.errors import Unavailable


class Away(Unavailable):
    """Nobody asked: the service was away a moment ago."""


class Outage:
    """What is known of one service. Thread-safe.

    After a call that failed in a way that `is_away` takes for an outage, calls fail at once with Away for
    `pause_seconds` of `monotonic`; then one at a time asks whether the service is back, and the others go on failing.
    With `in_turn` no two calls are under way at any time, and those who waited for their turn learn from the one
    before them.
    """

    def __init__(
        self,
        service: str,
        is_away: Callable[[Exception], bool],
        *,
        pause_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        in_turn: bool = False,
    ) -> None:
        self._told = f"{service} cannot be reached: it was away a moment ago"
        self._is_away = is_away
        self._pause_seconds = pause_seconds
        self._monotonic = monotonic
        self._in_turn = in_turn
        self._turn = threading.Lock()
        self._until: float | None = None

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around one call. Raises Away without making it; else what the call raises."""
        is_known = self._until is not None
        with self._in_order(is_known):
            if self._until is not None and self._monotonic() < self._until:
                raise Away(self._told)
            try:
                yield
            except Exception as error:
                self._until = self._monotonic() + self._pause_seconds if self._is_away(error) else None
                raise
            self._until = None

    @contextmanager
    def _in_order(self, is_known: bool) -> Iterator[None]:
        if not (is_known or self._in_turn):
            yield
            return
        if not self._turn.acquire(blocking=not is_known):
            raise Away(self._told)
        try:
            yield
        finally:
            self._turn.release()


def is_unanswered(error: Exception) -> bool:
    """Whether it says, of an HTTP service by one of Azure's SDKs, that no answer came at all."""
    from azure.core.exceptions import AzureError, HttpResponseError

    return isinstance(error, AzureError) and not isinstance(error, HttpResponseError)
