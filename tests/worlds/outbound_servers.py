"""Real servers on loopback, and calls to them."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from domain.core.ports import OutboundError, OutboundResponse
from infra.outbound.client import OutboundClient
from infra.outbound.request import OutboundRequest

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on a free loopback port; yields its origin."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
    return head[0], headers, await reader.readexactly(int(headers.get("content-length", 0)))


def answering(*parts: bytes, pause: float = 0.0, once: bool = False) -> Handler:
    """Answers every request with the parts, each after a pause."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            for part in parts:
                await asyncio.sleep(pause)
                writer.write(part)
                await writer.drain()
            if once:
                return

    return handle


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def post(client: OutboundClient, url: str, **options: Any) -> OutboundResponse:
    options = {"body": b"{}", "timeout_seconds": 5.0} | options
    return await client.send(OutboundRequest("POST", url, **options))


async def failing(client: OutboundClient, url: str, **options: Any) -> OutboundError:
    with pytest.raises(OutboundError) as failed:
        await post(client, url, **options)
    assert "127.0.0.1" not in str(failed.value)
    return failed.value
