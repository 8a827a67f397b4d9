"""The client side of Azure SignalR Service, served here: negotiation and the JSON hub protocol over WebSockets.

https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/TransportProtocols.md and HubProtocol.md
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Set
from typing import Any, Protocol
from urllib.parse import parse_qsl

from devhost.signalr_connection import ClientConnection, HandshakeRefused
from domain.core.errors import Unavailable
from domain.core.ports import Clock
from infra.embedded.realtime import CLIENT_PATH, Admitted
from infra.embedded.realtime_store import News

_log = logging.getLogger("devhost.signalr")

_LOOK_SECONDS = 0.02
_PRESENCE_SECONDS = 3.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Watching(Protocol):
    """Follows what is published; see `infra.embedded.realtime_store.Watch`."""

    def look(self) -> News: ...

    def end(self) -> None: ...


class MessageSource(Protocol):
    """Who may connect, and what is there to hear; see `infra.embedded.realtime.EmbeddedRealtime`."""

    def admit(self, token: str, hub: str) -> Admitted | None: ...

    def announce(self, process: str, groups: frozenset[str]) -> None: ...

    def watch(self) -> Watching: ...


class SignalR:
    """The connections of this process. While there are none, nothing runs."""

    def __init__(
        self, realtime: MessageSource, clock: Clock, *, connection: type[ClientConnection] = ClientConnection
    ) -> None:
        self._realtime = realtime
        self._connection = connection
        self._clock = clock
        self._process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._connections: set[ClientConnection] = set()
        self._looking: asyncio.Task[None] | None = None
        self._starting, self._announcing = asyncio.Lock(), asyncio.Lock()

    async def negotiate(
        self, method: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer `POST /client/negotiate`, and a browser's preflight for it, from any origin.

        It is the token, not a cookie, that lets a client in."""
        fields = _cross_origin(headers)
        if method == "OPTIONS":
            return 204, fields, b""
        if method != "POST":
            return 405, {**fields, "allow": "POST, OPTIONS"}, b""
        if await self._admitted(headers.get("authorization"), query) is None:
            return 401, {**fields, "www-authenticate": "Bearer"}, b""
        connection_id = secrets.token_urlsafe(16)
        # With the WebSocket transport the id is for the client's own logs; its token is asked for again.
        answer = {
            "negotiateVersion": 1,
            "connectionId": connection_id,
            "connectionToken": secrets.token_urlsafe(16),
            "availableTransports": [{"transport": "WebSockets", "transferFormats": ["Text"]}],
        }
        return 200, {**fields, "content-type": "application/json"}, json.dumps(answer).encode()

    async def connect(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one WebSocket from its request to its end."""
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        assert (await receive())["type"] == "websocket.connect"
        authorization = headers.get("authorization")
        admitted = await self._admitted(authorization, query)
        if admitted is None or scope["path"].rstrip("/") != CLIENT_PATH.rstrip("/"):
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        connection = self._connection(admitted, self._clock, receive, send)
        await self._start_looking()
        self._connections.add(connection)
        try:
            # It may have been closed between the check and our looking for that.
            if await self._admitted(authorization, query) is None:
                connection.close("Access was revoked.")
            await connection.shake_hands()
            await self._announce()
            await connection.greet()
            await connection.serve()
        except HandshakeRefused as refused:
            _log.info("Handshake refused", extra={"reason": str(refused)})
        finally:
            self._connections.discard(connection)
            if not self._is_heard_here(admitted.groups):
                await self._announce()

    async def _admitted(self, authorization: str | None, query: Mapping[str, str]) -> Admitted | None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            token = query.get("access_token", "")
        return await asyncio.to_thread(self._realtime.admit, token.strip(), query.get("hub", ""))

    def _is_heard_here(self, groups: Set[str]) -> bool:
        return groups <= self._groups()

    def _groups(self) -> frozenset[str]:
        return frozenset().union(*(connection.groups for connection in self._connections))

    async def _announce(self) -> None:
        try:
            async with self._announcing:
                await asyncio.to_thread(self._realtime.announce, self._process, self._groups())
        except Unavailable as error:
            _log.warning("Listeners not announced", extra={"reason": error.detail})

    async def _start_looking(self) -> None:
        async with self._starting:
            if self._looking is None or self._looking.done():
                watch = await asyncio.to_thread(self._realtime.watch)
                self._looking = asyncio.create_task(self._look(watch), name="devhost signalr")

    async def _look(self, watch: Watching) -> None:
        """Deliver what is new while there are connections: asking takes microseconds."""
        loop = asyncio.get_running_loop()
        announced = loop.time()
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                if not self._connections:
                    return
                self._pass_on(watch)
                if loop.time() - announced > _PRESENCE_SECONDS:
                    announced = loop.time()
                    await self._announce()
        finally:
            watch.end()

    def _pass_on(self, watch: Watching) -> None:
        try:
            news = watch.look()
        except sqlite3.Error as error:
            _log.warning("Messages not read", extra={"reason": str(error)})
            return
        for message in news.messages:
            hearing = [connection for connection in self._connections if message.group in connection.groups]
            if hearing:
                frame = f'{{"type":1,"target":"{message.kind}","arguments":[{message.payloads}]}}'
                for connection in hearing:
                    connection.put(frame)
        for user in news.closed:
            for connection in self._connections:
                if connection.user == user:
                    connection.close("Access was revoked.")


def _cross_origin(headers: Mapping[str, str]) -> dict[str, str]:
    """Name the origin, since the client library sends credentials (Fetch standard, CORS protocol)."""
    origin = headers.get("origin")
    if origin is None:
        return {}
    asked = headers.get(
        "access-control-request-headers", "authorization,x-requested-with,x-signalr-user-agent"
    )
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-allow-headers": asked,
        "access-control-allow-methods": "POST, OPTIONS",
        "access-control-max-age": "600",
        "vary": "Origin",
    }
