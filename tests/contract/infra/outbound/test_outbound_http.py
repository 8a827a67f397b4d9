"""The outbound client against real servers on loopback."""

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from infra.outbound.request import OutboundRequest
from infra.version import VERSION
from tests.worlds.outbound_servers import OK, answering, failing, post, read_request, serving

SETTINGS = Settings(environment="development")


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(SETTINGS)
    yield made
    await made.close()


# What is sent and what comes back


async def test_an_answer_comes_back_with_lower_case_headers_and_its_duration(client: OutboundClient) -> None:
    answer = b"HTTP/1.1 418 Teapot\r\nX-Kind: Tea\r\nVia: a\r\nVia: b\r\nContent-Length: 5\r\n\r\nshort"
    async with serving(answering(answer, pause=0.02)) as origin:
        response = await post(client, origin + "/pot")
    assert (response.status, response.body) == (418, b"short")
    assert response.headers == {"x-kind": "Tea", "via": "a, b", "content-length": "5"}
    assert 20 <= response.duration_ms < 5000


async def exchange_seen(client: OutboundClient, **request: Any) -> tuple[str, dict[str, str], bytes, str]:
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)
        await writer.drain()

    async with serving(handle) as origin:
        await client.send(OutboundRequest(url=origin + "/a%20b?c=d", timeout_seconds=5, **request))
    return *seen[0], origin.removeprefix("http://")


async def test_the_request_on_the_wire_is_framed_by_the_client(client: OutboundClient) -> None:
    smuggled = {
        "Host": "internal",
        "Content-Length": "1",
        "Transfer-Encoding": "chunked",
        "Connection": "close",
    }
    named = {
        "Webhook-Id": "evt_1",
        "User-Agent": "other",
        "Accept-Encoding": "gzip",
        "Expect": "100-continue",
    }
    line, headers, body, netloc = await exchange_seen(
        client, method="POST", body=b'{"a":1}', headers=smuggled | named
    )
    assert (line, body) == ("POST /a%20b?c=d HTTP/1.1", b'{"a":1}')
    assert headers == {
        "host": netloc,
        "content-length": "7",
        "accept": "*/*",
        "accept-encoding": "identity",
        "user-agent": f"IntegrationHub-Webhooks/{VERSION}",
        "webhook-id": "evt_1",
    }


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("POST", "0"), ("PUT", "0")])
async def test_a_request_without_body_says_so(
    client: OutboundClient, method: str, length: str | None
) -> None:
    line, headers, _, _ = await exchange_seen(client, method=method)
    assert line.startswith(method + " ")
    assert headers.get("content-length") == length
    assert "transfer-encoding" not in headers


async def test_cookies_are_not_kept(client: OutboundClient) -> None:
    seen: list[Mapping[str, str]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await read_request(reader))[1])
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with serving(handle) as origin:
        for _ in range(2):  # by name: cookie jars tend to pass over addresses anyway
            await post(client, origin.replace("127.0.0.1", "localhost"))
    assert len(seen) == 2
    assert all("cookie" not in headers for headers in seen)


async def test_environment_proxies_are_ignored(
    client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with serving(answering(OK)) as origin:
        assert (await post(client, origin)).status == 200


async def test_a_redirect_is_an_answer_and_is_not_followed(client: OutboundClient) -> None:
    lines: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            lines.append((await read_request(reader))[0])
            writer.write(b"HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with serving(handle) as origin:
        response = await post(client, origin + "/first")
    assert (response.status, response.headers["location"]) == (307, "/elsewhere")
    assert lines == ["POST /first HTTP/1.1"]


async def test_headers_that_are_not_http_are_refused_without_repeating_them(client: OutboundClient) -> None:
    async with serving(answering(OK)) as origin:
        for value in ("secret\r\nX-Injected: 1", "secret\x00", "secret-é"):
            error = await failing(client, origin, headers={"X-Token": value})
            assert (error.kind, "secret" in str(error)) == ("protocol", False)


# Limits


async def test_the_body_is_cut_at_the_cap_and_the_rest_is_not_read(client: OutboundClient) -> None:
    hung_up = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            hung_up.set()

    async with serving(handle) as origin:
        assert (await post(client, origin)).body == b"x" * 64 * 1024
        await asyncio.wait_for(hung_up.wait(), 5)
        assert (await post(client, origin, max_response_bytes=10)).body == b"x" * 10
        assert (await post(client, origin, max_response_bytes=0)).body == b""


async def test_a_body_of_exactly_the_cap_is_whole_and_one_byte_more_is_cut(client: OutboundClient) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour")) as origin:
        exact = await post(client, origin, max_response_bytes=4)
        assert (exact.body, exact.is_cut, exact.flaw) == (b"four", False, None)
        longer = await post(client, origin, max_response_bytes=3)
        assert (longer.body, longer.is_cut, longer.whole) == (b"fou", True, True)
        assert longer.flaw == "The body is longer than the 3 bytes that are read of it"


async def test_a_compressed_answer_is_undone_to_its_bound(client: OutboundClient) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with serving(answering(head + bomb)) as origin:
        response = await post(client, origin, max_response_bytes=100_000)
    assert response.body == b"\0" * 4096
    assert response.flaw == "The body was undone to 4096 bytes only" and response.is_cut
    exact = gzip.compress(b"\0" * 4096)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(exact)}\r\n\r\n".encode()
    async with serving(answering(head + exact)) as origin:
        response = await post(client, origin)
    assert (response.body, response.flaw, response.is_cut) == (b"\0" * 4096, None, False)


async def test_headers_that_do_not_come_run_into_the_total_timeout(client: OutboundClient) -> None:
    async with serving(answering(OK, pause=30)) as origin:
        error = await failing(client, origin, timeout_seconds=0.2)
    assert error.kind == "timeout"
    assert 200 <= error.duration_ms < 2000


async def test_a_body_that_drips_is_given_up_and_its_status_stands(client: OutboundClient) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with serving(answering(head, *[b"x"] * 1000, pause=0.02)) as origin:
        response = await post(client, origin, timeout_seconds=0.3)
    assert (response.status, response.whole, response.flaw) == (200, False, "The body did not come in time")
    assert 250 <= response.duration_ms < 2000


async def test_a_receiver_that_does_not_take_the_body_runs_into_the_total_timeout(
    client: OutboundClient,
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with serving(handle) as origin:
        error = await failing(client, origin, body=b"x" * 20_000_000, timeout_seconds=0.3)
    assert error.kind == "timeout"


async def test_cancelling_the_caller_cancels_the_request(client: OutboundClient) -> None:
    async with serving(answering(OK, pause=30)) as origin:
        sending = asyncio.create_task(post(client, origin))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


# Broken connections and answers


async def test_a_refused_connection_is_a_connect_failure(client: OutboundClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failing(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert (error.kind, error.detail) == ("connect", "The connection was refused")


async def test_a_reset_in_the_middle_of_an_answer_leaves_its_status(client: OutboundClient) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with serving(handle) as origin:
        response = await post(client, origin)
    assert (response.status, response.body, response.whole) == (200, b"part", False)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"HTTP/1.1 20",
        b"HTTP/1.1 \r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 2",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 999999 What\r\n\r\n",
        b"HTTP/1.1 099 What\r\n\r\n",
        b"<html>200 OK</html>",
        b"\x00\x01\x02\x03" * 100,
        b" " * 100_000,
    ],
)
async def test_an_answer_without_a_final_status_line_is_a_protocol_failure(
    client: OutboundClient, answer: bytes
) -> None:
    async with serving(answering(answer, once=True)) as origin:
        assert (await failing(client, origin)).kind == "protocol"
