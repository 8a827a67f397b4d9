"""Realtime messages, over WebSockets, against two worker processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from bench.harness import HostProcess, call, running
from tests.loopback.javascript_client import javascript_client
from tests.loopback.signalr_client import Client, connected, negotiated_at
from tests.worlds.azure_services import SWITCH
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    home = tmp_path_factory.mktemp("realtime") / "home"
    with running(home, workers=2) as started:
        yield started


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def negotiated(api: Api, **headers: str) -> tuple[str, str]:
    status, answer = api("POST", "/realtime/negotiate", **headers)
    assert status == 200, answer
    return answer["url"], answer["accessToken"]


def listening(clients: ExitStack, api: Api) -> Client:
    return clients.enter_context(connected(*negotiated(api)))


def test_every_client_of_the_tenant_hears_of_a_delivery_whichever_worker_it_is_connected_to(
    host: HostProcess, api: Api, receiver: Receiver, clients: ExitStack
) -> None:
    webhook = api.webhook(receiver.url, eventTypes=["BookingConfirmed"])
    # With eight connections over two workers, each worker has some, but for 1 time in 128.
    hearing = [listening(clients, api) for _ in range(8)]
    elsewhere = listening(clients, fresh_tenant(host))
    api.raise_event()
    for client in hearing:
        [update] = client.message("deliveryUpdated")
        assert update["webhookId"] == webhook["webhookId"]
        assert (update["deliveryStatus"], update["attemptCount"]) == ("Delivered", 1)
        assert update["httpStatusCode"] == 200
    assert elsewhere.hears_nothing(0.3)


def test_who_may_not_manage_webhooks_hears_of_no_delivery(
    host: HostProcess, receiver: Receiver, clients: ExitStack
) -> None:
    tenant = str(uuid4())
    manager = Api(host, host.token("--tenant", tenant, "--user", str(uuid4())))
    other = Api(
        host, host.token("--tenant", tenant, "--user", str(uuid4()), "--permissions", "integration:manage")
    )
    manager.webhook(receiver.url, eventTypes=["BookingConfirmed"])
    hearing, deaf = listening(clients, manager), listening(clients, other)
    manager.raise_event()
    assert hearing.message("deliveryUpdated")
    assert deaf.hears_nothing(0.3)


def test_revoking_a_key_closes_its_connections_within_a_second__UC_AK_02(
    host: HostProcess, api: Api, receiver: Receiver, clients: ExitStack
) -> None:
    status, key = api("POST", "/apikeys", {"keyName": "Screen", "scopes": ["webhook:manage"]})
    assert status == 201, key
    url, token = negotiated(Api(host, key["key"]))
    opened = [clients.enter_context(connected(url, token)) for _ in range(4)]
    own = listening(clients, api)
    started = time.monotonic()
    assert api("DELETE", f"/apikeys/{key['apiKeyId']}")[0] == 204
    for client in opened:
        assert client.until_closed(1.0)["allowReconnect"] is False
    assert time.monotonic() - started < 1.0
    assert own.hears_nothing(0.1)
    # SignalR Service lets the token in until it expires, but into no group.
    status = negotiated_at(url, token).status_code
    assert status == (200 if os.environ.get(SWITCH) else 401)
    if status == 200:
        late = clients.enter_context(connected(url, token))
        api.webhook(receiver.url, eventTypes=["BookingConfirmed"])
        api.raise_event()
        assert own.message("deliveryUpdated")
        assert late.hears_nothing(0.3)


def test_what_a_key_negotiates_ends_with_the_key(host: HostProcess, api: Api) -> None:
    _, mine = api("POST", "/realtime/negotiate")
    ending = (datetime.fromisoformat(mine["expiresAt"]) - timedelta(minutes=58)).replace(microsecond=0)
    status, key = api(
        "POST",
        "/apikeys",
        {"keyName": "Screen", "scopes": ["webhook:manage"], "expiresAt": ending.isoformat()},
    )
    assert status == 201, key
    _, negotiated = Api(host, key["key"])("POST", "/realtime/negotiate")
    assert ending - timedelta(seconds=2) < datetime.fromisoformat(negotiated["expiresAt"]) <= ending


def test_confirming_a_rotation_closes_the_old_keys_connections(
    host: HostProcess, api: Api, clients: ExitStack
) -> None:
    _, key = api("POST", "/apikeys", {"keyName": "Screen", "scopes": ["webhook:manage"]})
    old = listening(clients, Api(host, key["key"]))
    status, successor = api("POST", f"/apikeys/{key['apiKeyId']}/rotate")
    assert status == 201, successor
    new = listening(clients, Api(host, successor["key"]))
    assert old.hears_nothing(0.2)
    assert api("POST", f"/apikeys/{key['apiKeyId']}/rotate/confirm")[0] == 200
    assert old.until_closed(1.0)["allowReconnect"] is False
    assert new.hears_nothing(0.2)


def test_nobody_negotiates_without_a_credential(host: HostProcess) -> None:
    assert call("POST", f"{host.url}/realtime/negotiate")[0] == 401


def test_a_forged_token_is_not_let_in(api: Api) -> None:
    url, token = negotiated(api)
    forged = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    refused = negotiated_at(url, forged)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert negotiated_at(url.replace("hub=integration", "hub=other"), token).status_code == 401
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus), connect(f"{url.replace('http', 'ws', 1)}&access_token={forged}"):
        pass


def test_a_page_of_another_origin_may_negotiate(api: Api) -> None:
    url, token = negotiated(api)
    origin = "https://console.example"
    preflight = httpx.options(
        url.replace("/client/?", "/client/negotiate?"),
        headers={"Origin": origin, "Access-Control-Request-Headers": "authorization"},
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    answer = negotiated_at(url, token, Origin=origin)
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.json()["availableTransports"] == [{"transport": "WebSockets", "transferFormats": ["Text"]}]


def test_an_unknown_protocol_is_refused_in_the_handshake(api: Api) -> None:
    with (
        pytest.raises(AssertionError, match="messagepack"),
        connected(*negotiated(api), protocol="messagepack"),
    ):
        pass


def test_a_call_of_the_hub_is_refused(api: Api, clients: ExitStack) -> None:
    client = listening(clients, api)
    client.send({"type": 1, "invocationId": "7", "target": "Send", "arguments": []})
    refusal = client.next()
    if os.environ.get(SWITCH):
        assert refusal["type"] == 7, "SignalR Service lets go of a client that calls a method"
    else:
        assert (refusal["type"], refusal["invocationId"]) == (3, "7")
    assert "error" in refusal


def test_a_stopping_host_lets_its_clients_go(tmp_path: Path) -> None:
    with running(tmp_path / "home") as host:
        api = fresh_tenant(host)
        with connected(*negotiated(api)):
            started = time.monotonic()
            assert host.stop() == 0
            assert time.monotonic() - started < 5


def test_the_javascript_client_hears_of_a_delivery(api: Api, receiver: Receiver) -> None:
    api.webhook(receiver.url, eventTypes=["BookingConfirmed"])
    with javascript_client(api.host.url, api.token, "deliveryUpdated") as client:
        api.raise_event()
        [update] = client.payloads(lambda one: one["deliveryStatus"] == "Delivered")
        assert update["httpStatusCode"] == 200
