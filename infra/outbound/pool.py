"""The connections of one event loop, over aiohttp's connector."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import httpx
from aiohttp import AddrInfoType, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL as YarlURL  # noqa: N811 - told apart from httpx.URL

from domain.core.web_address import BadAddress, WebAddress
from infra.outbound.guard import AddressGuard
from infra.outbound.request import OutboundRequest, parsed_url
from infra.version import VERSION

USER_AGENT = f"IntegrationHub-Webhooks/{VERSION}"

_CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 16 * 1024
_DNS_CACHE_SECONDS = 10
# Below the 5 s after which common servers (Node.js, uvicorn) close an idle connection: a POST sent into a
# connection that is being closed is lost and cannot safely be repeated.
_KEEPALIVE_SECONDS = 4.0

_DEFAULT_HEADERS = {"accept": "*/*"}
# Answers are never decompressed, so that the cap on bytes read is the cap on memory.
_FIXED_HEADERS = {"user-agent": USER_AGENT, "accept-encoding": "identity"}
# Framing and connection handling (RFC 9110 section 7.6.1) are the client's alone.
_IGNORED_HEADERS = frozenset(
    (
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
    )
)


class GuardedResolver(AbstractResolver):
    """Hands the connector only addresses the guard admitted, numeric, so that nothing resolves again."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=answered_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for answered_family, _, protocol, _, address in await self._guard.resolve(host, port, family)
        ]

    async def close(self) -> None:
        """Do nothing: the guard outlives the connector."""


class ConnectionPool:
    """Keeps connections apart by TLS floor, so that a request that asks for 1.3 never rides on a 1.2 one."""

    def __init__(self, guard: AddressGuard, *, max_connections: int, ca_file: Path | None) -> None:
        self._guard = guard
        self._max_connections = max_connections
        self._ca_file = ca_file
        self._sessions: dict[ssl.TLSVersion, ClientSession] = {}

    async def exchange(
        self, request: OutboundRequest, address: WebAddress
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send once and read at most `request.max_response_bytes`; the rest is dropped with its connection.

        Returns status, headers and body. Raises whatever httpx, aiohttp, ssl and socket raise. The caller
        bounds the total time.
        """
        connect_seconds = min(_CONNECT_SECONDS, request.timeout_seconds)
        response = await self._session(request.allow_tls_1_2).request(
            request.method.upper(),
            _parsed(address.url, address.host),
            headers=_headers(request.headers),
            data=request.body or None,
            allow_redirects=False,
            auto_decompress=False,
            timeout=ClientTimeout(connect=connect_seconds, sock_connect=connect_seconds),
        )
        async with response:
            body = await _read_capped(response, request.max_response_bytes)
        return response.status, dict(httpx.Headers(response.raw_headers)), body

    async def close(self) -> None:
        """Close every connection. On the pool's own loop."""
        sessions = tuple(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    def abandon(self) -> None:
        """Let go of a pool whose loop is closed: there is nothing left to wait for, so one step closes it."""
        closing = self.close()
        with contextlib.suppress(StopIteration):
            closing.send(None)
        closing.close()

    def _session(self, allow_tls_1_2: bool) -> ClientSession:
        floor = ssl.TLSVersion.TLSv1_2 if allow_tls_1_2 else ssl.TLSVersion.TLSv1_3
        session = self._sessions.get(floor)
        if session is None:
            session = self._sessions[floor] = self._open(floor)
        return session

    def _open(self, floor: ssl.TLSVersion) -> ClientSession:
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = floor
        context.set_alpn_protocols(["http/1.1"])
        return ClientSession(
            connector=TCPConnector(
                ssl=context,
                resolver=GuardedResolver(self._guard),
                ttl_dns_cache=_DNS_CACHE_SECONDS,
                socket_factory=self._open_socket,
                limit=self._max_connections,
                keepalive_timeout=_KEEPALIVE_SECONDS,
            ),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("content-type",),
            trust_env=False,
        )

    def _open_socket(self, answer: AddrInfoType) -> socket.socket:
        return self._guard.open_socket(answer)


@lru_cache(maxsize=4096)
def _parsed(url: str, host: str) -> YarlURL:
    """Return the URL as aiohttp takes it, encoded as httpx encodes it.

    Every parser on the way (ours, httpx's, aiohttp's) must see the host that the guard saw."""
    encoded = parsed_url(url)
    parsed = YarlURL(str(encoded))
    if encoded.raw_host.decode("ascii") != host or parsed.raw_host != host:
        raise BadAddress("The URL's host is ambiguous")
    return parsed


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """Return the headers to send. Raises ValueError (UnicodeEncodeError) for a name or value that is not ASCII."""
    headers = dict(_DEFAULT_HEADERS)
    for name, value in given.items():
        name.encode("ascii")
        value.encode("ascii")
        lowered = name.lower()
        if lowered not in _IGNORED_HEADERS:
            headers[lowered] = value
    headers.update(_FIXED_HEADERS)
    return headers


async def _read_capped(response: ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) >= limit:
            break
    return bytes(body[:limit])
