"""Events raised one after another while a dependency comes and goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.harness import HostProcess, call
from tests.worlds.hub_api import Api, Receiver

RECOVERY_SECONDS = 60.0
"""An event is looked for 30 seconds after its announcement was lost, every 15 seconds."""


class Load:
    """Raises events one after another until told to stop; keeps every answer."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._stopping = threading.Event()
        self.accepted: list[str] = []
        self.refused: list[tuple[int, object]] = []
        self.slowest = 0.0

    def run(self) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            status, answer = self._api("POST", "/events", {"type": "BookingConfirmed", "data": {"n": 1}})
            self.slowest = max(self.slowest, time.monotonic() - started)
            if status == 202:
                self.accepted.append(answer["eventIds"][0])
            else:
                self.refused.append((status, answer))
            time.sleep(0.05)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """By four clients, for the length of a block."""
        threads = [threading.Thread(target=self.run) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def missing(self, receiver: Receiver) -> set[str]:
        """What was accepted and has not arrived."""
        return set(self.accepted) - {request["headers"]["webhook-id"] for request in receiver.received}


def ready(host: HostProcess) -> tuple[int, object]:
    return call("GET", f"{host.url}/health/ready")


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.1)
