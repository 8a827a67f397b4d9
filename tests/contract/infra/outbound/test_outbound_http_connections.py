"""How the outbound client shares, reuses and lets go of connections."""

import asyncio
import gc
import logging
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.core.ports import OutboundError
from domain.providers.contract import ProviderRequest
from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from infra.outbound.request import OutboundRequest
from infra.outbound.transport import OutboundTransport
from infra.providers._kit.connection import HttpProviderConnection
from tests.worlds.outbound_servers import OK, answering, post, read_request, serving

SETTINGS = Settings(environment="development")


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(SETTINGS)
    yield made
    await made.close()


async def test_connections_are_shared_and_reused(client: OutboundClient) -> None:
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(OK)(reader, writer)

    async with serving(handle) as origin:
        for _ in range(5):
            await post(client, origin)
        assert connections == 1
        await asyncio.gather(*(post(client, origin, timeout_seconds=20) for _ in range(200)))
        assert 1 < connections <= 200


async def test_an_answer_before_the_body_was_taken_does_not_leave_a_poisoned_connection(
    client: OutboundClient,
) -> None:
    lines: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readuntil(b"\r\n")).decode())
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.3)
        await reader.read()

    async with serving(handle) as origin:
        await post(client, origin + "/large", body=b"GET /smuggled HTTP/1.1\r\n\r\n" * 500_000)
        await post(client, origin + "/next")
    assert lines == ["POST /large HTTP/1.1\r\n", "POST /next HTTP/1.1\r\n"]


def test_one_client_serves_many_event_loops_and_lets_go_of_ended_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = OutboundClient(SETTINGS)

    async def once() -> int:
        async with serving(answering(OK)) as origin:
            return (await post(client, origin)).status

    with caplog.at_level(logging.WARNING):
        assert [asyncio.run(once()) for _ in range(3)] == [200] * 3
        asyncio.run(client.close())
        gc.collect()
    assert [record.getMessage() for record in caplog.records if "Unclosed" in record.getMessage()] == []


async def test_a_closed_client_opens_again_on_use(client: OutboundClient) -> None:
    async with serving(answering(OK)) as origin:
        for _ in range(2):
            assert (await post(client, origin)).status == 200
            await client.close()


# Keep-alive


class Keeper:
    """A server that answers, then closes the connection when the next request has come on it, or after `seconds`."""

    def __init__(
        self, *, answers_each: int = 1, head: bytes = b"", seconds: float | None = None, reset: bool = False
    ) -> None:
        self.answers_each, self.head, self.seconds, self.reset = answers_each, head, seconds, reset
        self.lines: list[tuple[int, str]] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        for _ in range(self.answers_each):
            async with asyncio.timeout(self.seconds):
                self.lines.append((number, (await read_request(reader))[0]))
            writer.write(b"HTTP/1.1 200 OK\r\n" + self.head + b"Content-Length: 0\r\n\r\n")
            await writer.drain()
        self.lines.append((number, (await read_request(reader))[0]))
        if self.reset:
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            writer.transport.abort()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_that_breaks_before_any_byte_is_replaced_once_at_once(
    client: OutboundClient, reset: bool
) -> None:
    keeper = Keeper(reset=reset)
    async with serving(keeper) as origin:
        for _ in range(3):
            assert (await client.post(origin + "/hook", {}, b"{}", 5.0)).status == 200
    # Each later post went into a connection that broke, and again on a new one.
    assert [number for number, _ in keeper.lines] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("method", "repeatable", "goes_again"),
    [
        ("POST", None, False),
        ("PATCH", None, False),
        ("POST", False, False),
        ("GET", False, False),
        ("POST", True, True),  # a webhook, or a vendor's idempotency key
        ("GET", None, True),
        ("PUT", None, True),
        ("DELETE", None, True),
        ("PROPFIND", None, True),
    ],
)
async def test_only_what_may_be_sent_twice_goes_again(
    client: OutboundClient, method: str, repeatable: bool | None, goes_again: bool
) -> None:
    keeper = Keeper()
    async with serving(keeper) as origin:
        request = OutboundRequest(method, origin, timeout_seconds=5, repeatable=repeatable)
        await client.send(request)
        if goes_again:
            assert (await client.send(request)).status == 200
        else:
            with pytest.raises(OutboundError, match="closed the connection"):
                await client.send(request)
    assert keeper.connections == 1 + goes_again


async def test_a_new_connection_that_breaks_is_not_tried_again(client: OutboundClient) -> None:
    keeper = Keeper(answers_each=0)
    async with serving(keeper) as origin:
        with pytest.raises(OutboundError):
            await client.post(origin, {}, b"{}", 5.0)
    assert keeper.connections == 1


async def test_an_answer_that_broke_after_its_first_byte_is_not_asked_for_again(
    client: OutboundClient,
) -> None:
    lines = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await read_request(reader))[0])
        writer.write(OK)
        lines.append((await read_request(reader))[0])
        writer.write(b"H")
        await writer.drain()

    async with serving(handle) as origin:
        await client.post(origin, {}, b"{}", 5.0)
        with pytest.raises(OutboundError):
            await client.post(origin, {}, b"{}", 5.0)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("head", "pause", "connections"),
    [
        (b"", 0.0, 1),
        (b"Connection: close\r\n", 0.0, 2),
        (b"Keep-Alive: timeout=1\r\n", 0.0, 1),
        (b"Keep-Alive: timeout=1, max=100\r\n", 0.7, 2),
        (b'keep-alive: max=5, timeout="1"\r\n', 0.7, 2),
        (b"Keep-Alive: timeout=30\r\n", 0.7, 1),
        (b"Keep-Alive: timeout=0\r\n", 0.0, 2),
    ],
)
async def test_the_time_that_a_server_keeps_a_connection_is_honoured(
    client: OutboundClient, head: bytes, pause: float, connections: int
) -> None:
    keeper = Keeper(answers_each=9, head=head)
    async with serving(keeper) as origin:
        await post(client, origin)
        await asyncio.sleep(pause)
        await post(client, origin)
    assert keeper.connections == connections


async def test_bytes_that_come_on_an_idle_connection_are_no_answer(client: OutboundClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
        await read_request(reader)

    async with serving(handle) as origin:
        assert (await post(client, origin)).status == 200
        await asyncio.sleep(0.15)
        assert (await post(client, origin)).status == 200


# The URL on the wire


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a%3Bb%2cc;d,e@f:g&h=i+j", "/a%3Bb%2cc;d,e@f:g&h=i+j"),
        ("/%7Euser/~user/%41", "/%7Euser/~user/%41"),
        ("/a//b/./c/../d/", "/a//b/./c/../d/"),
        (
            "/x?sp=%2Ftriggers%2frun&sig=a%2Bb+c%20d&empty=&=&",
            "/x?sp=%2Ftriggers%2frun&sig=a%2Bb+c%20d&empty=&=&",
        ),
        ("/x?", "/x?"),
        ("?a=b", "/?a=b"),
        ("", "/"),
        ("/x?a='b'\"c\"<d>{e}|^`[f]", "/x?a='b'\"c\"<d>{e}|^`[f]"),
        ("/%zz%", "/%zz%"),
        ("/a??b?c", "/a??b?c"),
        ("/caf\u00e9?q=\u00fc", "/caf%C3%A9?q=%C3%BC"),
    ],
)
async def test_the_url_called_is_the_url_written_byte_for_byte(
    client: OutboundClient, written: str, sent: str
) -> None:
    keeper = Keeper(answers_each=1)
    async with serving(keeper) as origin:
        await post(client, origin + written)
    assert keeper.lines[0] == (1, f"POST {sent} HTTP/1.1")


async def test_the_transport_of_provider_adapters_sends_the_url_as_it_was_written(
    client: OutboundClient,
) -> None:
    keeper = Keeper(answers_each=1)
    connection = HttpProviderConnection(OutboundTransport(client))
    async with serving(keeper) as origin:
        url = origin + "/cal/a%40b%2Bc;d/%7e.ics?cursor=%2F%3D+x"
        await connection.send(ProviderRequest("GET", url))
    assert keeper.lines[0] == (1, "GET /cal/a%40b%2Bc;d/%7e.ics?cursor=%2F%3D+x HTTP/1.1")


# The first call


async def test_libraries_and_roots_are_loaded_before_the_clock_of_the_first_call_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []
    load = ssl.create_default_context

    def slowly(**options: Any) -> ssl.SSLContext:
        time.sleep(0.3)
        loaded.append(1)
        return load(**options)

    monkeypatch.setattr(ssl, "create_default_context", slowly)
    client = OutboundClient(SETTINGS)
    async with serving(answering(OK)) as origin:
        for _ in range(2):
            response = await client.post(origin, {}, b"{}", 0.25)
            assert (response.status, response.duration_ms < 200) == (200, True)
    await client.close()
    assert len(loaded) == 2  # one for each TLS floor, once
