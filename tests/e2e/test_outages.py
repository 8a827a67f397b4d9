"""Pulling the plug on a dependency under load: what was accepted is delivered, answers are 503 only where they must
be, and the host recovers by itself. Over the Azure adapters (`make test-azure`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.harness import HostProcess
from bench.sync_world import SyncClient, serving
from infra.azure.signalr.realtime import PAUSE_SECONDS, TIMEOUT_SECONDS
from tests.loopback.plug import Plug
from tests.loopback.signalr_client import connected
from tests.worlds.azure_services import MODEL_SECONDS, SWITCH, AzureServices
from tests.worlds.hub_api import Api, Receiver, fresh_tenant
from tests.worlds.load import Load, eventually, ready
from tests.worlds.refusing_receiver import PATH, listed, refusing

if TYPE_CHECKING:
    from tests.loopback.servicebus import Namespace

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.azure,
    pytest.mark.skipif(not os.environ.get(SWITCH), reason="needs the services' plugs: run `make test-azure`"),
]

_OUTAGE_SECONDS = 4.0
_ANSWER_SECONDS = 15.0
"""The longest that one request may take while a dependency is away."""


@pytest.mark.parametrize(
    ("dependency", "away"),
    [
        ("queue", "pull"),
        ("queue", "hold"),
        ("tables", "pull"),
        ("tables", "hold"),
        ("secrets", "pull"),
        ("secrets", "hold"),
    ],
)
def test_what_is_accepted_while_a_dependency_is_away_is_delivered(
    own_host: HostProcess, receiver: Receiver, azure_services: AzureServices, dependency: str, away: str
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
    _, key = api("POST", "/apikeys", {"keyName": "Screen", "scopes": ["webhook:manage"]})
    load = Load(api)
    with load.applied():
        getattr(plug, away)()
        status, told = ready(own_host)
        assert status == 503
        assert dependency in str(told)
        assert api("GET", "/webhooks")[0] == 200, "a read needs the database alone"
        started = time.monotonic()
        assert Api(own_host, key["key"])("GET", "/webhooks")[0] == 200, "limits are let be"
        assert time.monotonic() - started < _ANSWER_SECONDS
        time.sleep(_OUTAGE_SECONDS)
        plug.restore()
        eventually(lambda: ready(own_host)[0] == 200, "readiness")
        before = len(load.accepted)
        eventually(lambda: len(load.accepted) > before + 20, "intake after the outage")
    assert load.refused == [], "the outbox carries events whatever is away"
    assert load.slowest < _ANSWER_SECONDS
    own_host.advance(61)  # the sweeper sends what was not sent

    eventually(lambda: not load.missing(receiver), "delivery of every accepted event")


@pytest.mark.parametrize("away", [Plug.pull, Plug.hold], ids=["refusing", "hanging"])
def test_realtime_messages_stop_while_signalr_is_away_and_nothing_else_does(
    own_host: HostProcess, receiver: Receiver, azure_services: AzureServices, away: Callable[[Plug], None]
) -> None:
    plug = azure_services.realtime[own_host.home]
    api = fresh_tenant(own_host)
    api.webhook(receiver.url)
    sync = SyncClient(own_host, api.token)
    load = Load(api)
    with serving(2_000, delay=0.05) as source, load.applied(), ExitStack() as clients:
        first = clients.enter_context(connected(*negotiated(api)))
        job_id = sync.start(sync.integration(source.url))
        assert first.next()["type"] == 1
        away(plug)
        started = time.monotonic()
        status, problem = api("POST", "/realtime/negotiate")
        assert (status, problem["code"]) == (503, "unavailable")
        assert time.monotonic() - started < TIMEOUT_SECONDS + 1
        assert "SignalR" in problem["detail"]
        assert ready(own_host)[0] == 200, "realtime messages are a convenience"
        before = len(load.accepted)
        assert sync.ended(job_id)["status"] == "Completed"
        eventually(lambda: len(load.accepted) > before + 20, "intake during the outage")
        eventually(
            lambda: not set(load.accepted[:before]) & load.missing(receiver), "delivery during the outage"
        )
        plug.restore()
        time.sleep(PAUSE_SECONDS)
        again = clients.enter_context(connected(*negotiated(api)))
        assert again.next()["target"] == "deliveryUpdated"
    assert load.refused == []
    assert load.slowest < _ANSWER_SECONDS
    own_host.advance(61)
    eventually(lambda: not load.missing(receiver), "delivery of every accepted event")


@pytest.mark.parametrize("away", [Plug.pull, Plug.hold], ids=["refusing", "hanging"])
def test_recommendations_come_in_the_rules_words_while_the_model_is_away(
    own_host: HostProcess, receiver: Receiver, azure_services: AzureServices, away: Callable[[Plug], None]
) -> None:
    plug = azure_services.models[own_host.home]
    api, _ = refusing(own_host, receiver, webhooks=2)
    assert worded(api) == ["model"] * 2, "entered with the managed identity"
    api.webhook(receiver.url)
    load = Load(api)
    with load.applied():
        away(plug)
        dismissed = listed(api)[0]["recommendationId"]
        assert api("POST", f"{PATH}/{dismissed}/dismiss", {"reason": "Soon."})[0] == 200
        started = time.monotonic()
        assert worded(api) == ["rules"], "a question that was never asked before"
        assert time.monotonic() - started < MODEL_SECONDS + 2
        started = time.monotonic()
        assert worded(api) == ["rules"]
        assert time.monotonic() - started < MODEL_SECONDS, "the failure is remembered, not waited for"
        assert ready(own_host)[0] == 200, "the hub does without a model"
        before = len(load.accepted)
        eventually(lambda: len(load.accepted) > before + 20, "intake during the outage")
        eventually(
            lambda: not set(load.accepted[:before]) & load.missing(receiver), "delivery during the outage"
        )
        plug.restore()
        own_host.advance(31)  # the pause after a failure
        eventually(lambda: worded(api) == ["model"], "the model's words")
    assert load.refused == []
    assert load.slowest < _ANSWER_SECONDS
    eventually(lambda: not load.missing(receiver), "delivery of every accepted event")


def worded(api: Api) -> list[str]:
    """Whose words each open recommendation is in; the model's say so, see `azure_openai.reworded`."""
    shown = listed(api, "?status=Open")
    assert all(
        recommendation["title"].startswith("The model says: ") is (recommendation["wordedBy"] == "model")
        for recommendation in shown
    )
    return [recommendation["wordedBy"] for recommendation in shown]


def negotiated(api: Api) -> tuple[str, str]:
    status, answer = api("POST", "/realtime/negotiate")
    assert status == 200, answer
    return answer["url"], answer["accessToken"]
