"""The service for the length of a block, and what a test can do to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

from devhost.signalr import Receive, Send, SignalR
from devhost.signalr_connection import ClientConnection
from domain.core.ports import Clock
from infra.clock import SystemClock
from tests.loopback.asgi import Served, listen
from tests.loopback.signalr.rest import API, RestApi
from tests.loopback.signalr.state import State

ACCESS_KEY = "bG9vcGJhY2stYWNjZXNzLWtleS1vZi10aGUtc2VydmljZQ=="
ENTRA_TOKEN = "a-token-of-entra-id-for-signalr"
_NEGOTIATE = "/client/negotiate"


class _ListeningConnection(ClientConnection):
    """In serverless mode a client only listens: the service lets go of one that calls a method."""

    def _refuse(self, invocation: dict[str, Any]) -> None:
        self.close("No server handles invocations of this hub.")


class ClientsApp:
    """An ASGI application of the clients' side alone; the client protocol itself is the development host's."""

    def __init__(self, clients: SignalR) -> None:
        self._clients = clients

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._clients.connect(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        status, fields, content = await self.answer(scope, headers, query, receive)
        fields = {**fields, "content-length": str(len(content))}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": content})

    async def answer(
        self, scope: Mapping[str, Any], headers: Mapping[str, str], query: Mapping[str, str], receive: Receive
    ) -> tuple[int, dict[str, str], bytes]:
        if scope["path"] == _NEGOTIATE:
            return await self._clients.negotiate(scope["method"], headers, query)
        return 404, {}, b""


class SignalRService(ClientsApp):
    """Serves from construction to `close`. `throttled` and `down` are how many of the next REST calls are answered
    429 and 503; `requests` are all of them, as `METHOD /path`."""

    def __init__(self, *, port: int = 0, endpoint: str | None = None, clock: Clock | None = None) -> None:
        """`endpoint` is the address that its clients know it by, where that is not its own."""
        self.throttled = 0
        self.down = 0
        self.requests: list[str] = []
        listening = listen(port)
        self.port: int = listening.getsockname()[1]
        self.endpoint = endpoint or f"http://127.0.0.1:{self.port}"
        clock = clock or SystemClock()
        state = State(self.endpoint, ACCESS_KEY, clock)
        self._api = RestApi(state, self.endpoint, ENTRA_TOKEN)
        super().__init__(SignalR(state, clock, connection=_ListeningConnection))
        self._served = Served(self, listening)

    @property
    def connection_string(self) -> str:
        return f"Endpoint={self.endpoint};AccessKey={ACCESS_KEY};Version=1.0;"

    def close(self) -> None:
        self._served.close()

    async def answer(
        self, scope: Mapping[str, Any], headers: Mapping[str, str], query: Mapping[str, str], receive: Receive
    ) -> tuple[int, dict[str, str], bytes]:
        raw_path = scope["raw_path"].decode("latin-1")
        if not raw_path.startswith(API):
            return await super().answer(scope, headers, query, receive)
        self.requests.append(f"{scope['method']} {raw_path}")
        if self.throttled:
            self.throttled -= 1
            return 429, {"retry-after": "1"}, b""
        if self.down:
            self.down -= 1
            return 503, {}, b""
        body = await _body(receive)
        status, content = self._api.answer(
            scope["method"], raw_path, query, headers.get("authorization", ""), body
        )
        if content is None:
            return status, {}, b""
        return status, {"content-type": "application/json"}, json.dumps(content).encode()


@contextmanager
def running(
    *, port: int = 0, endpoint: str | None = None, clock: Clock | None = None
) -> Iterator[SignalRService]:
    """The service for the length of a block."""
    service = SignalRService(port=port, endpoint=endpoint, clock=clock)
    try:
        yield service
    finally:
        service.close()


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body
