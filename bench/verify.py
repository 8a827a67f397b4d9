"""How fast keys are verified, beside the cheapest request there is, in the same run.

`python -m bench.verify` starts a host of two workers; `run` measures a host that is up. A raw HTTP/1.1 client on
keep-alive connections, because any client library would be the bottleneck."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from bench.harness import HostProcess, call

CONNECTIONS = 64
KEYS = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests a second, latencies in milliseconds, and how many answers were not as expected."""

    per_second: float
    p50_ms: float
    p99_ms: float
    wrong: int


async def run(
    base_url: str, token: str, *, seconds: float = 5.0, keys: int = KEYS
) -> tuple[Measured, Measured]:
    """Return what was measured as (live, verify).

    `base_url` ends in /api; the token's tenant gets `keys` keys of 10,000 requests an hour, revoked at the end."""
    issued = await asyncio.to_thread(_issue, base_url, token, keys)
    verify = [
        _request(
            base_url,
            "POST",
            "/apikeys/verify",
            token=token,
            body={"key": key["key"], "scopes": ["events:read"]},
        )
        for key in issued
    ]
    live = _request(base_url, "GET", "/health/live", token=None, body=None)
    await _load(base_url, [live], b"live", 0.5)
    await _load(base_url, verify, b'"valid":true', 0.5)
    measured = (
        await _load(base_url, [live], b"live", seconds),
        await _load(base_url, verify, b'"valid":true', seconds),
    )
    for key in issued:
        await asyncio.to_thread(
            call, "DELETE", f"{base_url}/apikeys/{key['apiKeyId']}?reason=benchmark", token=token
        )
    return measured


def measure(*, workers: int, seconds: float) -> Iterator[tuple[str, str]]:
    """Lines for `make bench`."""
    with tempfile.TemporaryDirectory() as directory:
        host = HostProcess(Path(directory) / "home", workers=workers).start()
        try:
            live, verify = asyncio.run(run(host.url, host.token(), seconds=seconds))
        finally:
            host.stop()
    yield f"live, {workers} workers, {CONNECTIONS} connections", shown(live)
    yield f"verify, {KEYS} keys", shown(verify)
    yield "verify / live", f"{verify.per_second / live.per_second:.0%}"


def shown(measured: Measured) -> str:
    wrong = f", {measured.wrong} WRONG" if measured.wrong else ""
    return f"{measured.per_second:,.0f} requests/s, p50 {measured.p50_ms:.1f} ms, p99 {measured.p99_ms:.1f} ms{wrong}"


def _issue(base_url: str, token: str, keys: int) -> list[dict[str, str]]:
    body = {"keyName": "benchmark", "scopes": ["events:read"], "rateLimitPerHour": 10_000}
    issued = [call("POST", f"{base_url}/apikeys", body, token=token) for _ in range(keys)]
    assert all(status == 201 for status, _ in issued), issued[0]
    return [key for _, key in issued]


def _request(base_url: str, method: str, path: str, *, token: str | None, body: object) -> bytes:
    url = urlsplit(base_url + path)
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {url.path} HTTP/1.1", f"host: {url.netloc}", f"content-length: {len(content)}"]
    if token:
        lines.append(f"authorization: Bearer {token}")
    if content:
        lines.append("content-type: application/json")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def _load(base_url: str, requests: list[bytes], expected: bytes, seconds: float) -> Measured:
    latencies: list[float] = []
    wrong = 0
    end = time.perf_counter() + seconds
    url = urlsplit(base_url)

    async def one(turn: Iterator[bytes]) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        while (started := time.perf_counter()) < end:
            writer.write(next(turn))
            head = await reader.readuntil(b"\r\n\r\n")
            at = head.index(b"content-length: ") + 16
            body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
            latencies.append(time.perf_counter() - started)
            wrong += expected not in body
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(
        *(
            one(cycle(requests[at % len(requests) :] + requests[: at % len(requests)]))
            for at in range(CONNECTIONS)
        )
    )
    elapsed = time.perf_counter() - started
    cuts = quantiles(latencies, n=100)
    return Measured(len(latencies) / elapsed, cuts[49] * 1000, cuts[98] * 1000, wrong)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.verify")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    for what, result in measure(workers=options.workers, seconds=options.seconds):
        print(f"{what:58} {result}", flush=True)


if __name__ == "__main__":
    main()
