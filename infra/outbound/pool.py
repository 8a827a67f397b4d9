"""The kept connections of one event loop, and how one is opened: name, address guard, TLS floor."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from aiohappyeyeballs import start_connection

from domain.core.acting_for import acting_tenant
from domain.core.web_address import WebAddress
from infra.outbound.certificates import TlsContexts, check_names, is_checked_here
from infra.outbound.connection import Answer, ConnectionBroke, HttpConnection
from infra.outbound.failures import ExchangeFailed
from infra.outbound.guard import AddressGuard, AddressInfo
from infra.outbound.request import OutboundRequest
from infra.version import VERSION

USER_AGENT = f"IntegrationHub-Webhooks/{VERSION}"

_CONNECT_SECONDS: Final = 10.0
_EYEBALLS_SECONDS: Final = 0.25
_NAME_KEPT_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 1.0

# Framing and connection handling (RFC 9110 section 7.6.1) are the client's alone.
_IGNORED_HEADERS: Final = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    )
)
_AFTER_AUTHORITY = re.compile(r"[/?]")
_TOKENS = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_IDEMPOTENT: Final = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT"))
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))

#: Tenant, origin and TLS floor.
_Key = tuple[str, str, ssl.TLSVersion]


class ConnectionPool:
    """Keeps connections of tenants apart, for what one sent may change how a server reads the next request on it.

    By TLS floor too, so that a request that asks for 1.3 never rides on a 1.2 one."""

    def __init__(
        self,
        guard: AddressGuard,
        contexts: TlsContexts,
        *,
        max_connections: int,
    ) -> None:
        self._guard = guard
        self._contexts = contexts
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(max_connections)
        self._idle: OrderedDict[_Key, deque[HttpConnection]] = OrderedDict()
        self._idle_count = 0
        self._idle_most = max_connections
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[Sequence[AddressInfo]]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    async def exchange(self, request: OutboundRequest, address: WebAddress) -> tuple[Answer, dict[str, str]]:
        """Send once; return the answer and the headers sent. Raises what httptools, ssl and socket raise.

        A kept connection that broke before any byte of the answer is replaced once, where repeating is safe."""
        deadline = self._loop.time() + request.timeout_seconds
        origin, authority, target = _parts(address.url)
        message, headers = _message(request, authority, target)
        if self._room.locked():
            async with asyncio.timeout_at(deadline):
                await self._room.acquire()
        else:
            await self._room.acquire()
        try:
            floor = ssl.TLSVersion.TLSv1_2 if request.allow_tls_1_2 else ssl.TLSVersion.TLSv1_3
            key = (acting_tenant() or "", origin, floor)
            connection = self._take(key)
            if connection is not None:
                try:
                    answer = await connection.exchange(message, request, deadline)
                except ConnectionBroke:
                    if not _may_repeat(request):
                        raise
                    connection = None
            if connection is None:
                connection = await self._connect(address, floor, deadline)
                answer = await connection.exchange(message, request, deadline)
            self._keep(key, connection)
            return answer, headers
        finally:
            self._room.release()

    def abort(self) -> None:
        """Close every kept connection. On the pool's own loop."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for kept in self._idle.values():
            for connection in kept:
                connection.abort()
        self._idle.clear()
        self._idle_count = 0

    def _keep(self, key: _Key, connection: HttpConnection) -> None:
        if connection.is_closed:
            return
        self._idle.setdefault(key, deque()).append(connection)
        self._idle.move_to_end(key)
        self._idle_count += 1
        if self._idle_count > self._idle_most:
            self._drop_oldest()
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _take(self, key: _Key) -> HttpConnection | None:
        kept = self._idle.get(key)
        while kept:
            connection = kept.pop()
            self._idle_count -= 1
            if not connection.is_closed and connection.idle_until > self._loop.time():
                return connection
            connection.abort()
        return None

    def _drop_oldest(self) -> None:
        """Close a connection of those that were used longest ago."""
        key, kept = next(iter(self._idle.items()))
        if kept:
            kept.popleft().abort()
            self._idle_count -= 1
        if not kept:
            del self._idle[key]

    def _sweep(self) -> None:
        self._sweeping, now = None, self._loop.time()
        for key, kept in list(self._idle.items()):
            for connection in kept:
                if connection.idle_until <= now:
                    connection.abort()
            left = deque(connection for connection in kept if not connection.is_closed)
            if left:
                self._idle[key] = left
            else:
                del self._idle[key]
        self._idle_count = sum(map(len, self._idle.values()))
        if self._idle:
            self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    async def _connect(self, address: WebAddress, floor: ssl.TLSVersion, deadline: float) -> HttpConnection:
        async with asyncio.timeout_at(min(deadline, self._loop.time() + _CONNECT_SECONDS)):
            opened = await start_connection(
                await self._addresses(address),
                happy_eyeballs_delay=_EYEBALLS_SECONDS,
                interleave=1,
                loop=self._loop,
                socket_factory=self._guard.open_socket,
            )
            connection = HttpConnection(self._loop)
            try:
                if address.scheme == "https":
                    host = address.host.removesuffix(".")
                    is_left = is_checked_here(host)
                    transport, _ = await self._loop.create_connection(
                        lambda: connection,
                        sock=opened,
                        ssl=self._contexts.get(floor, checks_names=not is_left),
                        server_hostname=host,
                    )
                    if is_left:
                        check_names(transport.get_extra_info("peercert"), host)
                else:
                    await self._loop.create_connection(lambda: connection, sock=opened)
            except BaseException as error:
                connection.abort()
                opened.close()
                if isinstance(error, ConnectionError):
                    raise ExchangeFailed(
                        "tls", "The server closed the connection during the TLS handshake"
                    ) from error
                raise
        return connection

    async def _addresses(self, address: WebAddress) -> Sequence[AddressInfo]:
        if address.literal is not None:
            family = socket.AF_INET if address.literal.version == 4 else socket.AF_INET6
            where = (
                (address.host, address.port)
                if family == socket.AF_INET
                else (address.host, address.port, 0, 0)
            )
            return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]
        now, key = self._loop.time(), (address.host, address.port)
        until, asking = self._names.get(key, (0.0, None))
        if asking is None or until <= now or (asking.done() and asking.exception() is not None):
            for old in [name for name, (ends, _) in self._names.items() if ends <= now]:
                del self._names[old]
            asking = self._loop.create_task(self._guard.resolve(*key))
            asking.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._names[key] = (now + _NAME_KEPT_SECONDS, asking)
        return await asyncio.shield(asking)


def _may_repeat(request: OutboundRequest) -> bool:
    if request.repeatable is not None:
        return request.repeatable
    return request.method.upper() in _IDEMPOTENT


def _message(request: OutboundRequest, authority: str, target: str) -> tuple[bytes, dict[str, str]]:
    """Return the request's bytes and the headers in them. Raises ValueError for what is not valid HTTP."""
    headers = {"host": authority, "accept": "*/*"}
    for name, value in request.headers.items():
        lowered = name.lower()
        if not _TOKENS.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a header is not valid HTTP")
        if lowered not in _IGNORED_HEADERS:
            headers[lowered] = value
    # Asked for as it is, so that the bound on what is read is the bound on memory.
    headers |= {"user-agent": USER_AGENT, "accept-encoding": "identity"}
    method = request.method.upper()
    if not _TOKENS.fullmatch(method):
        raise ValueError("the method is not valid HTTP")
    if request.body or method in _WITH_BODY:
        headers["content-length"] = str(len(request.body))
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + request.body, headers


@lru_cache(maxsize=4096)
def _parts(url: str) -> tuple[str, str, str]:
    """Return origin, authority and request target of a URL that was admitted.

    The target is path and query as they are written; only what no request line can carry is encoded (RFC 3987)."""
    authority_at = url.index("://") + 3
    found = _AFTER_AUTHORITY.search(url, authority_at)
    end = found.start() if found is not None else len(url)
    target = "".join(
        letter if letter.isascii() else "".join(f"%{byte:02X}" for byte in letter.encode())
        for letter in url[end:]
    )
    return url[:end], url[authority_at:end], target if target.startswith("/") else "/" + target
