"""Messages on their way: gathered per group, sent by one thread, so that no caller waits for the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from domain.core.realtime import Payload

_MOST_PAYLOADS_A_MESSAGE = 500
_MOST_WAITING = 20_000
_IDLE_SECONDS = 30.0

Deliver = Callable[[str, str, Sequence[Payload]], None]


class MessageSender:
    """A thread that sends messages, gathered by group.

    `deliver(group, kind, payloads)` is called in the thread and must not raise. The thread starts with the first
    message and ends when there has been none for a while. When too much waits, new messages are dropped."""

    def __init__(self, deliver: Deliver, *, window_seconds: float) -> None:
        self._deliver = deliver
        self._window = window_seconds
        self._waiting: dict[tuple[str, str], list[Payload]] = {}
        self._count = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_shut = False

    def put(self, group: str, kind: str, payloads: Sequence[Payload]) -> None:
        """Hand over; never waits."""
        with self._changed:
            if self._is_shut or self._count + len(payloads) > _MOST_WAITING:
                return
            self._waiting.setdefault((group, kind), []).extend(payloads)
            self._count += len(payloads)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="realtime", daemon=True)
                self._thread.start()
            self._changed.notify()

    def shut(self) -> None:
        """Send what waits, and end. Later messages are dropped."""
        with self._changed:
            self._is_shut = True
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while self._await_messages():
            threading.Event().wait(0 if self._is_shut else self._window)
            with self._changed:
                taken, self._waiting, self._count = self._waiting, {}, 0
            for (group, kind), payloads in taken.items():
                for start in range(0, len(payloads), _MOST_PAYLOADS_A_MESSAGE):
                    self._deliver(group, kind, payloads[start : start + _MOST_PAYLOADS_A_MESSAGE])

    def _await_messages(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_shut, _IDLE_SECONDS)
            if not self._waiting:
                self._thread = None
            return bool(self._waiting)
