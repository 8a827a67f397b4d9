"""An outage that one caller at a time finds out about.

A service that hangs does not fill the process with callers that wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from domain.core.errors import Unavailable

IsAway = Callable[[Exception], bool]


class Away(Unavailable):
    """The service was not asked, because it was away a moment ago. `met` is the error of the last call."""

    def __init__(self, detail: str, met: Exception | None = None) -> None:
        super().__init__(detail)
        self.met = met


class Outage:
    """What is known of one service. Thread-safe.

    - After a call that failed in a way that `is_away` takes for an outage, calls fail at once with Away for
      `pause_seconds` of `monotonic`. Then one caller at a time asks whether the service is back; the others go on
      failing.
    - With `in_turn` no two calls are under way at any time, and a caller that waited for its turn learns from the call
      before it.
    """

    def __init__(
        self,
        service: str,
        is_away: IsAway,
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
        self._known: tuple[float, Exception] | None = None

    @contextmanager
    def asked(self, is_away: IsAway | None = None) -> Iterator[bool]:
        """Surround one call; the value is whether an outage was known before it. `is_away` replaces the one given.

        Raises Away without making the call, else what the call raises."""
        known = self._known
        with self._in_order(known):
            if self._known is not None and self._monotonic() < self._known[0]:
                raise Away(self._told, self._known[1])
            try:
                yield known is not None
            except Exception as error:
                away = (is_away or self._is_away)(error)
                self._known = (self._monotonic() + self._pause_seconds, error) if away else None
                raise
            self._known = None

    @contextmanager
    def _in_order(self, known: tuple[float, Exception] | None) -> Iterator[None]:
        if known is None and not self._in_turn:
            yield
            return
        if not self._turn.acquire(blocking=known is None):
            raise Away(self._told, known[1] if known is not None else None)
        try:
            yield
        finally:
            self._turn.release()


def is_unanswered(error: Exception) -> bool:
    """Whether the error of one of Azure's SDKs for HTTP services says that no answer came at all."""
    from azure.core.exceptions import AzureError, HttpResponseError

    return isinstance(error, AzureError) and not isinstance(error, HttpResponseError)
