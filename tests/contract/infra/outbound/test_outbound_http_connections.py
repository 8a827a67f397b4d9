"""How the outbound client shares, reuses and lets go of connections."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator

import pytest

from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from tests.worlds.outbound_servers import OK, answering, post, serving

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
