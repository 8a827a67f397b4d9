"""A compressed answer held the event loop while it was undone; one of empty members for minutes a megabyte."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from domain.core.ports import OutboundResponse
from domain.providers.codings import MEMBERS_AT_MOST, undone
from infra.outbound.client import OutboundClient
from infra.outbound.request import OutboundRequest
from tests.worlds.builders import settings_at
from tests.worlds.heartbeat import beating

MEBIBYTE = 1024 * 1024
EMPTY = gzip.compress(b"")


@asynccontextmanager
async def answering(body: bytes, coding: str) -> AsyncIterator[str]:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def fetched(home: Path, body: bytes, coding: str) -> OutboundResponse:
    most = 64 * MEBIBYTE
    client = OutboundClient(settings_at(home, environment="development"))
    await client.prepare()
    try:
        async with answering(body, coding) as url, beating() as heartbeat:
            request = OutboundRequest(
                "GET", url, max_response_bytes=most, max_undone_bytes=most, body_seconds=30
            )
            found = await asyncio.wait_for(client.send(request), 30)
    finally:
        await client.close()
    assert heartbeat.is_steady, heartbeat
    return found


async def test_an_answer_that_swells_a_thousandfold_is_undone_beside_the_loop(tmp_path: Path) -> None:
    found = await fetched(tmp_path, gzip.compress(b"\0" * (65 * MEBIBYTE)), "gzip")
    assert len(found.body) == 64 * MEBIBYTE
    assert found.is_cut


async def test_members_without_content_are_undone_up_to_a_number(tmp_path: Path) -> None:
    found = await fetched(tmp_path, EMPTY * 200_000, "gzip")
    assert (found.body, found.whole, found.flaw) == (b"", False, "The body's gzip coding is broken")


async def test_codings_over_codings_are_not_undone(tmp_path: Path) -> None:
    body = b"x"
    for _ in range(4):
        body = gzip.compress(body)
    found = await fetched(tmp_path, body, "gzip, gzip, gzip, gzip")
    assert (found.body, found.whole, found.flaw) == (body, False, "The body has too many codings")
    assert (await fetched(tmp_path, gzip.decompress(body), "gzip, gzip,gzip")).body == b"x"


def test_a_body_of_as_many_members_as_allowed_is_undone_and_one_more_is_not() -> None:
    member = gzip.compress(b"ab")
    began = time.process_time()
    assert undone("gzip", member * MEMBERS_AT_MOST, MEBIBYTE) == (b"ab" * MEMBERS_AT_MOST, True)
    assert undone("gzip", member * (MEMBERS_AT_MOST + 1), MEBIBYTE) == (b"ab" * MEMBERS_AT_MOST, False)
    assert undone("gzip", member * MEMBERS_AT_MOST + b"tail", MEBIBYTE) == (b"ab" * MEMBERS_AT_MOST, True)
    assert time.process_time() - began < 1
