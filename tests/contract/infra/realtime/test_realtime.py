"""Both ways of realtime messages keep one contract, up to the WebSocket of a client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from domain.core.errors import Unavailable
from domain.core.principal import Principal
from domain.core.realtime import DELIVERY_UPDATED, LIFETIME, SYNC_PROGRESS, key_user
from infra.azure.signalr.access import KeyAccess
from infra.azure.signalr.realtime import AzureSignalR
from infra.clock import SystemClock
from infra.embedded.realtime import EmbeddedRealtime
from tests.loopback import signalr
from tests.loopback.plug import plugged
from tests.loopback.signalr_client import Client, connected, negotiated_at
from tests.worlds.builders import OTHER_TENANT, TENANT, USER, FakeClock
from tests.worlds.realtime_benches import KINDS, WINDOW_SECONDS, Bench, azure, bench_of

KEY = UUID(int=0xC0)
CALLER = Principal(TENANT, USER, frozenset({"webhook:manage"}), api_key_id=KEY)
STRANGER = Principal(OTHER_TENANT, uuid4(), frozenset({"webhook:manage", "integration:manage"}))


@pytest.fixture(
    params=[kind if kind == "embedded" else pytest.param(kind, marks=pytest.mark.azure) for kind in KINDS]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with bench_of(request.param, tmp_path) as made:
        yield made


def test_a_negotiation_gives_an_address_of_the_hub_and_a_token_for_an_hour(bench: Bench) -> None:
    negotiated = bench.realtime.negotiate(CALLER)
    assert "/client/?hub=integration" in negotiated.url
    claims = jwt.decode(negotiated.access_token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(negotiated.expires_at.timestamp() - claims["exp"]) <= 1
    assert f"key:{KEY}" in claims.values()


def test_a_client_hears_the_kinds_it_may_hear_of_its_own_tenant(bench: Bench) -> None:
    client, elsewhere = bench.client(CALLER), bench.client(STRANGER)
    bench.realtime.publish(TENANT, SYNC_PROGRESS, [{"n": 0}])
    bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": 1}, {"n": "größe \N{SNOWMAN}"}])
    assert client.message("deliveryUpdated") == [{"n": 1}, {"n": "größe \N{SNOWMAN}"}]
    assert client.hears_nothing(0.2)
    assert elsewhere.hears_nothing(0.1)


def test_every_client_of_a_group_hears_in_the_order_of_publishing(bench: Bench) -> None:
    other = Principal(TENANT, uuid4(), frozenset({"webhook:manage"}))
    clients = [bench.client(CALLER), bench.client(CALLER), bench.client(other)]
    for number in range(20):
        bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": number}])
    for client in clients:
        heard: list[int] = []
        while len(heard) < 20:
            heard += [message["n"] for message in client.message("deliveryUpdated")]
        assert heard == list(range(20))


def test_closing_ends_the_users_connections_and_lets_none_hear_with_what_was_negotiated(bench: Bench) -> None:
    negotiated = bench.realtime.negotiate(CALLER)
    client = bench.stack.enter_context(connected(negotiated.url, negotiated.access_token))
    other = bench.client(replace(CALLER, api_key_id=uuid4()))
    assert bench.realtime.close(key_user(KEY))
    assert client.until_closed(2.0)["allowReconnect"] is False
    late = late_client(bench, negotiated.url, negotiated.access_token)
    bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{}])
    assert other.message("deliveryUpdated") == [{}]
    assert late is None or late.hears_nothing(0.1)


@pytest.mark.parametrize(
    "kind", [each if each == "embedded" else pytest.param(each, marks=pytest.mark.azure) for each in KINDS]
)
def test_nobody_hears_longer_than_the_key_or_token_lasts_that_it_came_with(kind: str, tmp_path: Path) -> None:
    clock = FakeClock()
    ending = clock.now() + timedelta(seconds=90)
    key = replace(CALLER, expires_at=ending)
    user = replace(CALLER, api_key_id=None, expires_at=ending)
    lasting = replace(user, expires_at=ending + timedelta(hours=9))
    with bench_of(kind, tmp_path, clock) as bench:
        other = bench.client(lasting)
        clients = [bench.client(key), bench.client(user)]
        assert bench.realtime.negotiate(key).expires_at == ending
        assert bench.realtime.negotiate(lasting).expires_at == clock.now() + LIFETIME
        for number, (seconds, hear) in enumerate([(89, True), (1, False)]):
            clock.advance(seconds=seconds)
            bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": number}])
            assert other.message("deliveryUpdated") == [{"n": number}]
            for client in clients:
                if hear:
                    assert client.message("deliveryUpdated") == [{"n": number}]
                elif kind == "embedded":
                    assert client.until_closed(2.0)["allowReconnect"] is True
                else:
                    assert client.hears_nothing(0.1)


def late_client(bench: Bench, url: str, token: str) -> Client | None:
    """SignalR Service lets the token in until it expires; the embedded one does not."""
    if negotiated_at(url, token).status_code == 401:
        return None
    return bench.stack.enter_context(connected(url, token))


def test_a_token_that_is_forged_or_for_another_hub_is_not_let_in(bench: Bench) -> None:
    negotiated = bench.realtime.negotiate(CALLER)
    url, token = negotiated.url, negotiated.access_token
    forged = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    assert negotiated_at(url, forged).status_code == 401
    assert negotiated_at(url.replace("hub=", "hub=not_"), token).status_code == 401
    with pytest.raises(AssertionError, match="401"):
        bench.stack.enter_context(connected(url, forged))


def test_a_client_that_calls_a_method_is_not_obeyed(bench: Bench) -> None:
    client, other = bench.client(CALLER), bench.client(CALLER)
    client.send({"type": 1, "invocationId": "7", "target": "deliveryUpdated", "arguments": [[{}]]})
    refusal = client.next()
    assert refusal["type"] in (3, 7), "a completion, or the end"
    assert "error" in refusal
    assert other.hears_nothing(0.1)


@pytest.mark.parametrize("kind", ["embedded", "azure"])
def test_what_cannot_be_reached_loses_messages_and_raises_nothing(kind: str, tmp_path: Path) -> None:
    realtime: EmbeddedRealtime | AzureSignalR
    if kind == "embedded":
        (tmp_path / "realtime.db").mkdir()
        realtime = EmbeddedRealtime(tmp_path, "http://localhost", SystemClock())
    else:
        with signalr.running() as service:
            access = KeyAccess(service.connection_string)
        realtime = AzureSignalR(access, SystemClock(), window_seconds=WINDOW_SECONDS)
    realtime.publish(TENANT, DELIVERY_UPDATED, [{}])
    realtime.close("key:1")
    with pytest.raises(Unavailable):
        realtime.negotiate(CALLER)
    realtime.shut()


# -- SignalR Service alone --------------------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[signalr.SignalRService]:
    with signalr.running() as started:
        yield started


@pytest.mark.azure
@pytest.mark.parametrize("fault", ["throttled", "down"])
def test_a_service_that_is_busy_for_a_moment_costs_nothing(
    service: signalr.SignalRService, fault: str
) -> None:
    with azure(service, KeyAccess(service.connection_string)) as bench:
        setattr(service, fault, 1)
        client = bench.client(CALLER)
        setattr(service, fault, 1)
        bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": 1}])
        assert client.message("deliveryUpdated") == [{"n": 1}]
        assert getattr(service, fault) == 0


@pytest.mark.azure
@pytest.mark.parametrize("answered", [0, 1], ids=["all of it", "the half"])
def test_closing_that_a_service_refuses_is_told_from_closing_that_is_done(
    service: signalr.SignalRService, answered: int, caplog: pytest.LogCaptureFixture
) -> None:
    with azure(service, KeyAccess(service.connection_string)) as bench:
        client = bench.client(CALLER)
        # Each of the two calls is tried twice.
        service.down = 4 - 2 * answered
        assert not bench.realtime.close(key_user(KEY))
        assert "realtime connections not closed" in caplog.text
        service.down = 0
        assert bench.realtime.close(key_user(KEY))
        assert client.until_closed(2.0)["allowReconnect"] is False


@pytest.mark.azure
def test_a_user_who_lost_a_permission_hears_no_more_once_it_negotiates(
    service: signalr.SignalRService,
) -> None:
    with azure(service, KeyAccess(service.connection_string)) as bench:
        client = bench.client(CALLER)
        bench.realtime.negotiate(replace(CALLER, permissions=frozenset({"alerts:read"})))
        bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{}])
        assert client.hears_nothing(0.2)


@pytest.mark.azure
def test_messages_flow_again_after_the_service_was_away() -> None:
    # The service goes by the plug's address, as by its name in DNS.
    with plugged() as plug, signalr.running(endpoint=f"http://127.0.0.1:{plug.port}") as service:
        plug.target = service.port
        with azure(service, KeyAccess(service.connection_string)) as bench:
            client = bench.client(CALLER)
            plug.pull()
            with pytest.raises(ConnectionClosed):
                client.next(2.0)
            begun = time.monotonic()
            bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": 1}])
            assert time.monotonic() - begun < 0.1, "nobody waits for the service"
            with pytest.raises(Unavailable):
                bench.realtime.negotiate(CALLER)
            plug.restore()
            again = bench.client(CALLER)
            bench.realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": 2}])
            # The first is lost with the service, or comes late when it was still on its way.
            came = again.message("deliveryUpdated")[-1]
            if came == {"n": 1}:
                came = again.message("deliveryUpdated")[-1]
            assert came == {"n": 2}


@pytest.mark.azure
@pytest.mark.parametrize("what", ["another key", "another address", "no token"])
def test_the_service_lets_nobody_in_without_its_key_for_the_very_address(
    service: signalr.SignalRService, what: str
) -> None:
    key = service.connection_string.replace(
        "AccessKey=", "AccessKey=x" if what == "another key" else "AccessKey="
    )
    url = f"{service.endpoint}/api/hubs/integration_hub/:send"
    audience = url if what != "another address" else f"{service.endpoint}/api/hubs/other/:send"
    token = KeyAccess(key).service_token(audience, SystemClock().now())
    headers = {} if what == "no token" else {"Authorization": f"Bearer {token}"}
    body = {"target": "deliveryUpdated", "arguments": [[]]}
    answer = httpx.post(url, params={"api-version": "2024-12-01"}, json=body, headers=headers)
    assert answer.status_code == 401


@pytest.mark.azure
def test_a_message_reaches_a_user_or_all_of_a_hub(service: signalr.SignalRService) -> None:
    access = KeyAccess(service.connection_string)
    with azure(service, access) as bench:
        client, other = bench.client(CALLER), bench.client(STRANGER)
        for path in (f"users/key%3A{KEY}/:send", ":send"):
            url = f"{service.endpoint}/api/hubs/integration_hub/{path}"
            headers = {"Authorization": f"Bearer {access.service_token(url, SystemClock().now())}"}
            body = {"target": "told", "arguments": [[path]]}
            answer = httpx.post(url, params={"api-version": "2024-12-01"}, json=body, headers=headers)
            assert answer.status_code == 202
        assert client.message("told") == [f"users/key%3A{KEY}/:send"]
        assert client.message("told") == [":send"]
        assert other.message("told") == [":send"]


def test_a_socket_without_a_token_is_refused(bench: Bench) -> None:
    from websockets.sync.client import connect

    negotiated = bench.realtime.negotiate(CALLER)
    with pytest.raises(InvalidStatus), connect(negotiated.url.replace("http", "ws", 1)):
        pass
