"""What the adapter of Azure SignalR Service asks for, request by request."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jwt
import pytest

from domain.core.errors import Unavailable
from domain.core.principal import Principal
from domain.core.realtime import DELIVERY_UPDATED, SYNC_PROGRESS
from infra.app.settings import Settings
from infra.azure.signalr.access import IdentityAccess, KeyAccess
from infra.azure.signalr.factory import azure_signalr
from infra.azure.signalr.realtime import PAUSE_SECONDS, AzureSignalR
from infra.clock import SystemClock
from tests.fixtures.scripted_server import Answer, Recorded, ScriptedServer, route
from tests.loopback.plug import plugged
from tests.worlds.builders import TENANT, USER

KEY = UUID(int=0xC0)
ACCESS_KEY = "a-key-of-the-service-that-is-long-enough-0123456789"
HUB = "/api/hubs/integration_hub"
CALLER = Principal(TENANT, USER, frozenset({"webhook:manage"}), api_key_id=KEY)
Heard = tuple[str, str, list[Any]]


def service() -> ScriptedServer:
    """SignalR Service, as far as it is used."""
    return ScriptedServer(
        [
            route(f"{method} {HUB}/*", Answer(202 if method == "POST" else 200))
            for method in ("POST", "PUT", "DELETE")
        ]
    )


def signalr(server: ScriptedServer) -> AzureSignalR:
    access = KeyAccess(f"Endpoint={server.address};AccessKey={ACCESS_KEY};Version=1.0;")
    return AzureSignalR(access, SystemClock(), window_seconds=0.01)


def sent(server: ScriptedServer) -> list[Recorded]:
    return [request for request in server.requests if request.path.endswith("/:send")]


async def test_a_negotiation_puts_the_user_into_its_groups_and_out_of_the_others() -> None:
    async with service().serving() as server:
        realtime = signalr(server)
        negotiated = await asyncio.to_thread(realtime.negotiate, CALLER)
        user = f"{HUB}/users/key%3A{KEY}/groups/{TENANT}"
        assert sorted(server.lines) == [
            f"DELETE {user}.alertChanged",
            f"DELETE {user}.integrationHealth",
            f"DELETE {user}.syncProgress",
            f"PUT {user}.deliveryUpdated",
        ]
        [put] = [request for request in server.requests if request.method == "PUT"]
        assert put.query == {"api-version": "2024-12-01", "ttl": "3600"}
        audience = f"{server.address}/client/?hub=integration_hub"
        claims = jwt.decode(negotiated.access_token, ACCESS_KEY, algorithms=["HS256"], audience=audience)
        assert negotiated.url == audience
        assert claims["nameid"] == claims["asrs.s.uid"] == f"key:{KEY}"


async def test_every_call_is_signed_for_its_own_address_and_for_minutes() -> None:
    async with service().serving() as server:
        await asyncio.to_thread(signalr(server).close, "key:1")
        assert server.lines == [
            f"DELETE {HUB}/users/key%3A1/groups",
            f"POST {HUB}/users/key%3A1/:closeConnections",
        ]
        for request in server.requests:
            token = request.headers["authorization"].removeprefix("Bearer ")
            claims = jwt.decode(
                token, ACCESS_KEY, algorithms=["HS256"], audience=f"{server.address}{request.path}"
            )
            assert claims["exp"] - claims["iat"] == timedelta(minutes=5).total_seconds()


async def test_messages_to_one_group_are_gathered_into_one_request() -> None:
    async with service().serving() as server:
        access = KeyAccess(f"Endpoint={server.address};AccessKey={ACCESS_KEY}")
        realtime = AzureSignalR(access, SystemClock(), window_seconds=0.2)
        for number in range(300):
            realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": number}, {"n": -number}])
        await asyncio.to_thread(realtime.shut)
        sizes = [len(request.json["arguments"][0]) for request in sent(server)]
        assert sizes == [500, 100]
        assert sent(server)[0].path == f"{HUB}/groups/{TENANT}.deliveryUpdated/:send"


async def test_a_service_that_is_busy_is_asked_once_more_and_one_that_refuses_is_not() -> None:
    async with service().serving() as server:
        server.add(route(f"POST {HUB}/users/key%3A1/:closeConnections", Answer(503), Answer(204)))
        await asyncio.to_thread(signalr(server).close, "key:1")
        assert len(server.requests) == 3
    async with service().serving() as server:
        server.add(route(f"DELETE {HUB}/users/key%3A1/groups", Answer(403)))
        await asyncio.to_thread(signalr(server).close, "key:1")
        assert server.lines[-1] == f"POST {HUB}/users/key%3A1/:closeConnections"
    async with service().serving() as server:
        server.always = Answer(403)
        with pytest.raises(Unavailable, match="403"):
            await asyncio.to_thread(signalr(server).negotiate, CALLER)
        assert len(server.requests) == 1


async def test_a_service_that_hangs_is_waited_for_once_and_by_one_at_a_time() -> None:
    now = [0.0]
    async with service().serving() as server:
        with plugged() as plug:
            plug.target = urlsplit(server.address).port or 0
            access = KeyAccess(f"Endpoint=http://127.0.0.1:{plug.port};AccessKey={ACCESS_KEY}")
            realtime = AzureSignalR(access, SystemClock(), timeout_seconds=0.4, monotonic=lambda: now[0])
            await asyncio.to_thread(realtime.negotiate, CALLER)

            def refused() -> float:
                """Seconds until it was known that the service is away."""
                begun = time.monotonic()
                with pytest.raises(Unavailable, match="SignalR"):
                    realtime.negotiate(CALLER)
                return time.monotonic() - begun

            plug.hold()
            assert 0.3 < await asyncio.to_thread(refused) < 0.7, "no second try"
            assert await asyncio.to_thread(refused) < 0.1, "a pause"
            now[0] += PAUSE_SECONDS
            took = sorted(await asyncio.gather(*(asyncio.to_thread(refused) for _ in range(8))))
            assert took[6] < 0.2 < took[7], "seven did not wait for the one who asked"
            plug.restore()
            now[0] += PAUSE_SECONDS
            await asyncio.to_thread(realtime.negotiate, CALLER)
            await asyncio.to_thread(realtime.shut)


async def test_with_a_managed_identity_the_service_makes_the_clients_token() -> None:
    class Credential:
        def get_token(self, *scopes: str, **_: Any) -> Any:
            assert scopes == ("https://signalr.azure.com/.default",)
            return type("Token", (), {"token": "of-the-identity", "expires_on": 0})()

    async with service().serving() as server:
        server.add(route(f"POST {HUB}/:generateToken", Answer(200, {"token": "made-by-the-service"})))
        access = IdentityAccess(server.address + "/", client_id=None, credential=Credential())  # type: ignore[arg-type]
        negotiated = await asyncio.to_thread(AzureSignalR(access, SystemClock()).negotiate, CALLER)
        assert negotiated.access_token == "made-by-the-service"
        asked = server.requests[-1]
        assert asked.query == {"api-version": "2024-12-01", "userId": f"key:{KEY}", "minutesToExpire": "60"}
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer of-the-identity"}


@pytest.mark.parametrize("text", ["", "Endpoint=https://x.example", "AccessKey=secret-value"])
def test_a_connection_string_without_its_parts_is_refused_unquoted(text: str) -> None:
    with pytest.raises(ValueError, match="Endpoint and AccessKey") as refused:
        KeyAccess(text)
    assert "secret-value" not in str(refused.value)


def test_the_settings_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AzureSignalRConnectionString", "Endpoint=https://x.example;AccessKey=k;Version=1.0;")
    settings = Settings()
    assert "AccessKey" not in repr(settings)
    made = azure_signalr(settings, SystemClock())
    assert made.listening(TENANT, SYNC_PROGRESS)
    made.shut()
