"""CPU of one post: the outbound client beside aiohttp's session, which it replaced, in one run.

    python -m bench.posts [posts] [concurrency]

The server answers in a process of its own, so that the CPU counted is the client's. Both arms post the same bytes over
kept connections to loopback, in turns, three times; the best turn of each counts."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

from infra.app.settings import Settings
from infra.outbound.client import OutboundClient

_BODY = b'{"type":"BookingConfirmed","data":{"booking":42,"note":"' + b"x" * 400 + b'"}}'
_HEADERS = {
    "content-type": "application/json",
    "webhook-id": "evt_0123456789",
    "webhook-timestamp": "1764547200",
    "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
}
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: bench\r\nContent-Length: 2\r\n\r\nok"
_ROUNDS = 3

Post = Callable[[], Awaitable[int]]


class _Answering(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._got = b""

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._got.endswith(b'"}}'):
            self._got = b""
            self._transport.write(_ANSWER)  # type: ignore[attr-defined]


def _serve(told: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def _microseconds(post: Post, posts: int, concurrency: int) -> tuple[float, float]:
    """Return CPU microseconds for each post, and posts a second."""

    async def some() -> None:
        for _ in range(posts // concurrency):
            assert await post() == 200

    await asyncio.gather(*(post() for _ in range(concurrency)))  # the connections
    cpu, clock = time.process_time(), time.perf_counter()
    await asyncio.gather(*(some() for _ in range(concurrency)))
    done = posts // concurrency * concurrency
    return (time.process_time() - cpu) / done * 1e6, done / (time.perf_counter() - clock)


async def _compare(port: int, posts: int, concurrency: int) -> None:
    import aiohttp

    url = f"http://127.0.0.1:{port}/hooks/orders?tenant=7"
    client = OutboundClient(Settings(environment="development"))
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def before() -> int:
            limits = aiohttp.ClientTimeout(connect=10, sock_connect=10)
            async with asyncio.timeout(30):
                async with session.post(
                    url, data=_BODY, headers=_HEADERS, allow_redirects=False, timeout=limits
                ) as answer:
                    await answer.read()
                    return answer.status

        async def after() -> int:
            return (await client.post(url, _HEADERS, _BODY, 30.0)).status

        arms: dict[str, Post] = {"aiohttp's session": before, "outbound client": after}
        best: dict[str, tuple[float, float]] = {}
        for _ in range(_ROUNDS):
            for name, post in arms.items():
                found = await _microseconds(post, posts, concurrency)
                best[name] = min(best.get(name, found), found)
    await client.close()
    for name, (microseconds, a_second) in best.items():
        print(f"{name:18} {microseconds:6.0f} us of CPU a post, {a_second:6.0f} posts/s")


def main() -> None:
    posts, concurrency = (int(given) for given in [*sys.argv[1:], "20000", "100"][:2])
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    asyncio.run(_compare(ours.recv(), posts, concurrency))
    server.terminate()


if __name__ == "__main__":
    main()
