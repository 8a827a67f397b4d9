"""Events accepted a second, beside the same requests against a bare receiver that stores nothing."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from pathlib import Path

from bench.harness import receiving, running
from bench.pipeline import payload

_CLIENTS = 16


async def _post_for(url: str, token: str, body: bytes, seconds: float) -> float:
    """Return requests a second of 16 keep-alive connections."""
    import aiohttp

    count = 0
    deadline = time.monotonic() + seconds
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CLIENTS), headers=headers
    ) as session:

        async def client() -> None:
            nonlocal count
            while time.monotonic() < deadline:
                async with session.post(url, data=body) as response:
                    await response.read()
                    if response.status not in (200, 202):
                        raise RuntimeError(f"refused: {response.status}")
                count += 1

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return count / seconds


def measure(*, workers: int, seconds: float) -> list[tuple[str, str]]:
    """Rows of (what, result) for the report."""
    rows: list[tuple[str, str]] = []
    with (
        receiving() as receiver,
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "hub", workers=workers) as host,
    ):
        token = host.token()
        for size in (1, 100):
            events = [{"type": "BookingConfirmed", "data": payload()} for _ in range(size)]
            body = json.dumps(events[0] if size == 1 else {"events": events}).encode()
            bare = asyncio.run(_post_for(f"{receiver.url}/bare", token, body, seconds))
            ours = asyncio.run(_post_for(f"{host.url}/events", token, body, seconds))
            rows.append(
                (
                    f"events accepted, {size} a request, WORKERS={workers}",
                    f"{ours * size:,.0f}/s = {ours / bare:.0%} of the bare receiver's {bare * size:,.0f}/s",
                )
            )
    return rows
