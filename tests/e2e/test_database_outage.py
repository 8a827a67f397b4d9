"""The database away under load: answers are clear 503s, what was accepted is delivered, and the host recovers by
itself."""

from __future__ import annotations

import json
import os
import threading
import time

import httpx
import jwt
import pytest

from bench.harness import HostProcess, call
from domain.core.ports import QueueMessage
from tests.loopback.database import DatabasePlug
from tests.worlds.azure_services import SWITCH, queue_beside
from tests.worlds.hub_api import Api, Receiver, fresh_tenant
from tests.worlds.load import Load, eventually, ready

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not os.environ.get(SWITCH), reason="takes half a minute: run `make test-azure`"),
]

_OUTAGE_SECONDS = 25.0
"""Long enough for several answers one after another: SQLite takes ten seconds to find that it cannot read."""
_ANSWER_SECONDS = 45.0
"""The longest that one request may take: a connection is opened, a turn is waited for, and a lock."""


class Asked(threading.Thread):
    """A request whose answer is not waited for yet."""

    def __init__(self, api: Api, path: str) -> None:
        super().__init__()
        self._url, self._headers = f"{api.host.url}{path}", {"Authorization": f"Bearer {api.token}"}
        self.start()

    def run(self) -> None:
        self._answer = httpx.get(self._url, headers=self._headers, timeout=60)

    def answer(self) -> httpx.Response:
        self.join()
        return self._answer


def test_events_are_refused_while_the_database_is_away_and_none_that_was_accepted_is_lost(
    own_host: HostProcess, receiver: Receiver
) -> None:
    api = fresh_tenant(own_host)
    api.webhook(receiver.url)
    api.raise_event()
    receiver.wait(1)
    plug = DatabasePlug(own_host.home / "hub.db")
    load = Load(api)
    with load.applied():
        eventually(lambda: len(load.accepted) > 20, "load")
        plug.pull()
        try:
            asked = [Asked(api, "/health/ready"), Asked(api, "/webhooks")]
            begun = time.monotonic()
            assert call("GET", f"{own_host.url}/health/live")[0] == 200
            assert time.monotonic() - begun < 5, "the process is alive, whatever is away"
            queue_beside(own_host.home).send("domain-events", [message_of_another_module(api)])
            load.accepted.append("theirs-1")
            time.sleep(_OUTAGE_SECONDS)
        finally:
            plug.restore()
        readiness, read = (request.answer() for request in asked)
        assert (readiness.status_code, readiness.headers["retry-after"]) == (503, "5")
        states = readiness.json()["dependencies"]
        assert "does not answer" in states["database"]
        assert {states[name] for name in ("queue", "tables", "secrets")} == {"ok"}
        assert (read.status_code, read.headers["retry-after"]) == (503, "5")
        assert read.json()["code"] == "unavailable"
        eventually(lambda: ready(own_host)[0] == 200, "readiness")
        before = len(load.accepted)
        eventually(lambda: len(load.accepted) > before + 20, "intake after the outage")
    assert load.refused, "a request during the outage had to be refused"
    for status, refusal in load.refused:
        assert status == 503
        assert isinstance(refusal, dict)
        assert refusal["code"] == "unavailable"
        assert "try again" in refusal["detail"]
    assert load.slowest < _ANSWER_SECONDS
    own_host.advance(121)  # what was not sent, and what was interrupted, is sent again
    eventually(lambda: not load.missing(receiver), "delivery of every accepted event")


def message_of_another_module(api: Api) -> QueueMessage:
    """An event that does not come through the API."""
    tenant = jwt.decode(api.token, options={"verify_signature": False})["tid"]
    fields = {"id": "theirs-1", "tenantId": tenant, "type": "BookingConfirmed", "data": {"n": 1}}
    return QueueMessage(json.dumps(fields))
