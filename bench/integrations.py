"""1,000 active integrations: the list's response times and a whole round of health checks.

`python -m bench.integrations` prints both beside what section 9.1 and BR-IM-03 ask for."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from bench.harness import HostProcess, call, receiving, running
from domain.integrations.health import HealthMonitor, HealthRun
from infra.app.build import build
from infra.app.hub import Hub
from infra.app.settings import Settings
from infra.outbound.client import OutboundClient

_KEY = "bench-key-0123456789"


class _Later:
    """A clock that can be set some minutes ahead."""

    minutes = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(minutes=self.minutes)


def _body(number: int, url: str) -> dict[str, Any]:
    configuration = {"baseUrl": url, "auth": "apiKey", "apiKey": _KEY, "healthPath": "/health"}
    return {
        "name": f"Service {number:04}",
        "integrationType": "CustomAPI",
        "provider": "REST",
        "configuration": configuration,
    }


async def _create(host: HostProcess, token: str, count: int, url: str) -> float:
    """Integrations created, validated and activated a second."""
    import aiohttp

    numbers = iter(range(count))
    headers = {"authorization": f"Bearer {token}"}
    started = time.perf_counter()
    async with aiohttp.ClientSession(headers=headers) as session:

        async def client() -> None:
            for number in numbers:
                async with session.post(f"{host.url}/integrations", json=_body(number, url)) as response:
                    answer = await response.json()
                    if response.status != 201 or answer["status"] != "Active":
                        raise RuntimeError(f"not active: {response.status} {json.dumps(answer)[:500]}")

        await asyncio.gather(*(client() for _ in range(8)))
    return count / (time.perf_counter() - started)


def _list_times(host: HostProcess, token: str, query: str, requests: int) -> list[float]:
    """Milliseconds of each request, sorted."""
    times = []
    for number in range(requests):
        started = time.perf_counter()
        status, page = call("GET", f"{host.url}/integrations?page={number % 5 + 1}&{query}", token=token)
        times.append((time.perf_counter() - started) * 1000)
        if status != 200 or not page["items"]:
            raise RuntimeError(f"list failed: {status}")
    return sorted(times)


def _row(times: list[float]) -> str:
    return f"p50 {times[len(times) // 2]:.0f} ms, p95 {times[int(len(times) * 0.95)]:.0f} ms (at most 200)"


@contextmanager
def _hub_of(host: HostProcess, clock: _Later) -> Iterator[Hub]:
    """Build the hub over the host's state, in this process."""
    hub = build(Settings(home=host.home), clock=clock)
    try:
        yield hub
    finally:
        hub.database.close()


def _round(hub: Hub) -> tuple[float, HealthRun]:
    """Seconds of one round, and what it found."""

    async def run() -> tuple[float, HealthRun]:
        started = time.perf_counter()
        run = await hub.use(HealthMonitor).check_due()
        elapsed = time.perf_counter() - started
        await cast(OutboundClient, hub.http).close()
        return elapsed, run

    return asyncio.run(run())


def measure(*, count: int = 1000) -> list[tuple[str, str]]:
    """Rows of (what, result) for the report."""
    rows: list[tuple[str, str]] = []
    with (
        receiving() as receiver,
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "hub", workers=1) as host,
    ):
        token = host.token()
        rate = asyncio.run(_create(host, token, count, receiver.url))
        rows.append((f"{count} integrations created and validated", f"{rate:,.0f}/s"))
        for size in (50, 200):
            times = _list_times(host, token, f"pageSize={size}", 200)
            rows.append((f"list of {count}, pageSize={size}, WORKERS=1", _row(times)))
        times = _list_times(host, token, "q=service%200&sort=-name", 100)
        rows.append((f"list of {count}, searched and sorted, WORKERS=1", _row(times)))
        clock = _Later()
        with _hub_of(host, clock) as hub:
            for number, what in enumerate(("first round", "steady round")):
                clock.minutes = number * 5
                elapsed, run = _round(hub)
                if run.checked != count:
                    raise RuntimeError(f"{run.checked} checked, not {count}")
                found = ", ".join(f"{name} {many}" for name, many in run.outcomes.items())
                rows.append(
                    (f"health of {count}, 100 in flight, {what}", f"{elapsed:.1f} s (at most 30); {found}")
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.integrations")
    parser.add_argument("--count", type=int, default=1000)
    for what, result in measure(count=parser.parse_args().count):
        print(f"{what:58} {result}", flush=True)


if __name__ == "__main__":
    main()
