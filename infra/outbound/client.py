"""The one outbound HTTP client: every call to a webhook receiver or a provider leaves through it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domain.core.ports import OutboundError, OutboundResponse
from domain.core.web_address import BadAddress, WebAddress, require_https
from infra.app.settings import Settings
from infra.outbound.guard import AddressGuard, Lookup
from infra.outbound.request import OutboundRequest

if TYPE_CHECKING:
    from infra.outbound.certificates import TlsContexts
    from infra.outbound.pool import ConnectionPool

_SPARE_CONNECTIONS = 64
_CHECK_SECONDS = 10.0


class OutboundClient:
    """Implements the port `OutboundHttp`.

    HTTPS with TLS 1.3 (1.2 where the request allows it), no redirects, cookies or environment proxies. In development
    http and https to loopback are allowed too. One pool of connections per event loop, made on first use; `close`
    before the loop ends.

    `ca_file` (PEM) replaces the system's roots. `lookup` stands in for `socket.getaddrinfo`.
    """

    def __init__(
        self, settings: Settings, *, ca_file: Path | None = None, lookup: Lookup = socket.getaddrinfo
    ) -> None:
        self._development = settings.is_development
        self._max_connections = settings.delivery_concurrency + _SPARE_CONNECTIONS
        self._ca_file = ca_file
        self._guard = AddressGuard(allow_loopback=self._development, lookup=lookup)
        self._pools: dict[asyncio.AbstractEventLoop, ConnectionPool] = {}
        self._contexts: TlsContexts | None = None
        self._opening = threading.Lock()

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, deadline: float
    ) -> OutboundResponse:
        """Post once. Raises OutboundError when no status line came."""
        return await self.send(
            OutboundRequest("POST", url, headers, body, timeout_seconds=deadline, repeatable=True)
        )

    async def send(self, request: OutboundRequest) -> OutboundResponse:
        """Send once, and return what came from the status line on.

        The client sets Host, Content-Length, User-Agent and Accept-Encoding itself and drops such headers, and
        those that steer the connection, from the request. Raises OutboundError.
        """
        pool = await self._pool()
        started = time.perf_counter()
        try:
            answer, sent = await pool.exchange(request, self._admit(request.url))
        except Exception as error:
            failure = _as_outbound(error, started)
            if failure is None:
                raise
            raise failure from error
        return OutboundResponse(
            answer.status,
            answer.headers,
            answer.body,
            _milliseconds_since(started),
            answer.flaw,
            answer.whole,
            sent,
            answer.is_cut,
        )

    async def check(self, url: str) -> None:
        """Resolve the URL's host and apply the guard without connecting. Raises OutboundError."""
        started = time.perf_counter()
        try:
            address = self._admit(url)
            if address.literal is None:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._guard.resolve(address.host, address.port)
        except Exception as error:
            failure = _as_outbound(error, started)
            if failure is None:
                raise
            raise failure from error

    async def close(self) -> None:
        """Close the connections of the running loop and drop those of loops that have ended.

        The client can be used again afterwards."""
        self._drop_ended_loops()
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            pool.abort()
            await asyncio.sleep(0)  # the transports close in the loop's next turn

    async def prepare(self) -> None:
        """Load the libraries and the CA bundle, once for the process: they take longer than a post."""
        if self._contexts is None:
            await asyncio.to_thread(self._load)

    def _load(self) -> TlsContexts:
        import infra.outbound.pool  # noqa: F401
        from infra.outbound.certificates import TlsContexts

        with self._opening:
            if self._contexts is None:
                self._contexts = TlsContexts(self._ca_file)
            return self._contexts

    def _admit(self, url: str) -> WebAddress:
        address = require_https(url, allow_loopback=self._development)
        if address.literal is not None:
            self._guard.admit(address.literal)
        return address

    async def _pool(self) -> ConnectionPool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is not None:
            return pool
        contexts = await asyncio.to_thread(self._load) if self._contexts is None else self._contexts
        from infra.outbound.pool import ConnectionPool

        self._drop_ended_loops()
        pool = ConnectionPool(self._guard, contexts, max_connections=self._max_connections)
        with self._opening:
            return self._pools.setdefault(loop, pool)

    def _drop_ended_loops(self) -> None:
        with self._opening:
            for loop in [loop for loop in self._pools if loop.is_closed()]:
                del self._pools[loop]


def _as_outbound(error: Exception, started: float) -> OutboundError | None:
    """Return the error that the port promises, or None for a defect of ours, which goes on as it is."""
    elapsed = _milliseconds_since(started)
    if isinstance(error, BadAddress):
        return OutboundError("blocked", str(error), elapsed)
    from infra.outbound.failures import describe_failure

    described = describe_failure(error)
    return None if described is None else OutboundError(*described, elapsed)


def _milliseconds_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
