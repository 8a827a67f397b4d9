"""Pulling the plug on a dependency under load: what was accepted is delivered, answers are 503 only where they must
be, and the host recovers by itself. Over the Azure adapters (`make test-azure`)."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.harness import HostProcess, call
from tests.e2e.azure import SWITCH, AzureServices
from tests.e2e.conftest import Api, Receiver, fresh_tenant
from tests.loopback.plug import Plug

if TYPE_CHECKING:
    from tests.loopback.servicebus import Namespace

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.azure,
    pytest.mark.skipif(not os.environ.get(SWITCH), reason="needs the services' plugs: run `make test-azure`"),
]

_OUTAGE_SECONDS = 4.0
_RECOVERY_SECONDS = 60.0
"""An event is looked for 30 seconds after its announcement was lost, every 15 seconds."""
_ANSWER_SECONDS = 15.0
"""The longest that one request may take while a dependency is away."""


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
        threads = [threading.Thread(target=self.run) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()


def ready(host: HostProcess) -> tuple[int, object]:
    return call("GET", f"{host.url}/health/ready")


@pytest.mark.parametrize("dependency", ["queue", "tables", "secrets"])
def test_what_is_accepted_while_a_dependency_is_away_is_delivered(
    own_host: HostProcess, receiver: Receiver, azure_services: AzureServices, dependency: str
) -> None:
    plugs: dict[str, Mapping[Path, Namespace | Plug]] = {
        "queue": azure_services.namespaces,
        "tables": azure_services.tables,
        "secrets": azure_services.vaults,
    }
    plug = plugs[dependency][own_host.home]
    api = fresh_tenant(own_host)
    api.webhook(receiver.url)
    api.raise_event()
    receiver.wait(1)
    load = Load(api)
    with load.applied():
        plug.pull()
        status, told = ready(own_host)
        assert status == 503
        assert dependency in str(told)
        assert api("GET", "/webhooks")[0] == 200, "a read needs the database alone"
        time.sleep(_OUTAGE_SECONDS)
        plug.restore()
        _eventually(lambda: ready(own_host)[0] == 200, "readiness")
        before = len(load.accepted)
        _eventually(lambda: len(load.accepted) > before + 20, "intake after the outage")
    assert load.refused == [], "the outbox carries events whatever is away"
    assert load.slowest < _ANSWER_SECONDS
    own_host.advance(61)  # the sweeper sends what was not sent

    def missing() -> set[str]:
        return set(load.accepted) - {request["headers"]["webhook-id"] for request in receiver.received}

    _eventually(lambda: not missing(), "delivery of every accepted event")


def _eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _RECOVERY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.1)
