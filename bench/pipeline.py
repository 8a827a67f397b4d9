"""The delivery pipeline beside a bare loop of the same client posting the same bodies with nothing stored."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.harness import HostProcess, ReceiverProcess, call, receiving, running
from domain.journal.event_types import FROM_PLATFORM
from domain.journal.events import DomainEvent
from domain.webhooks.signing import event_body, new_secret, signed_headers
from infra.app.settings import Settings
from infra.clock import Uuid7Generator
from infra.outbound.client import OutboundClient

_TENANT = Uuid7Generator().new()
_CONCURRENCY = 100


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second, and milliseconds of sender CPU for each."""

    per_second: float
    cpu_ms: float


def payload() -> dict[str, Any]:
    """Return an event's data of an ordinary size (about 250 bytes), stamped with the moment it was made."""
    return {
        "sentAt": time.time(),
        "bookingId": "7e1b0c4e-3a5e-4a58-9e5b-0f6f4a1c2d3e",
        "customer": {"name": "Ada Lovelace", "email": "ada@example.org"},
        "tickets": [{"type": "standard", "price": 4900, "currency": "EUR"}] * 2,
    }


# -- the bare loop ---------------------------------------------------------------------------------------


async def _bare_loop(url: str, seconds: float) -> tuple[int, float]:
    client = OutboundClient(Settings())
    secret = new_secret()
    ids = Uuid7Generator()
    deadline = time.monotonic() + seconds
    count = 0

    async def post() -> None:
        nonlocal count
        while time.monotonic() < deadline:
            now = datetime.now(UTC)
            event = DomainEvent(
                str(ids.new()), _TENANT, "BookingConfirmed", json.dumps(payload()), now, origin=FROM_PLATFORM
            )
            body = event_body(event)
            headers = signed_headers([secret], event.event_id, now, body)
            await client.post(url, headers, body, 30.0)
            count += 1

    started = os.times()
    await asyncio.gather(*(post() for _ in range(_CONCURRENCY)))
    ended = os.times()
    await client.close()
    return count, (ended.user + ended.system) - (started.user + started.system)


def _bare_process(url: str, seconds: float, results: Any) -> None:
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    results.put(runner(_bare_loop(url, seconds)))


def bare_loop(url: str, *, processes: int, seconds: float) -> Rate:
    """Measure what the machine can post when nothing is stored."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_bare_process, args=(url, seconds, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    counted = [results.get(timeout=seconds + 30) for _ in workers]
    for worker in workers:
        worker.join()
    posts = sum(count for count, _ in counted)
    return Rate(posts / seconds, 1000 * sum(cpu for _, cpu in counted) / posts)


# -- the pipeline ----------------------------------------------------------------------------------------


def subscribe(host: HostProcess, token: str, url: str, **options: Any) -> str:
    """Return the id of a verified webhook for every event."""
    status, webhook = call(
        "POST", f"{host.url}/webhooks", {"url": url, "eventTypes": ["*"], **options}, token=token
    )
    if status != 201 or webhook["state"] != "Active":
        raise RuntimeError(f"the webhook was not activated: {status} {webhook}")
    return str(webhook["webhookId"])


def raise_events(host: HostProcess, token: str, count: int) -> None:
    """One request with `count` events."""
    events = [{"type": "BookingConfirmed", "data": payload()} for _ in range(count)]
    status, answer = call("POST", f"{host.url}/events", {"events": events}, token=token)
    if status != 202:
        raise RuntimeError(f"events were refused: {status} {answer}")


@dataclass(frozen=True, slots=True)
class Sustained:
    deliveries: Rate
    latencies: dict[str, float]
    memory_mib: list[float]


def sustained(host: HostProcess, receiver: ReceiverProcess, token: str, *, seconds: float) -> Sustained:
    """Keep at most 8,000 events ahead of the receiver for `seconds`; what arrived."""
    receiver.reset()
    raised = 0
    memory: list[float] = []
    cpu = host.cpu_seconds()
    started = time.monotonic()
    next_sample = started
    while (elapsed := time.monotonic() - started) < seconds:
        arrived = receiver.counts()["requests"]
        if raised - arrived < 8_000:
            raise_events(host, token, 500)
            raised += 500
        else:
            time.sleep(0.02)
        if time.monotonic() >= next_sample:
            memory.append(host.memory_bytes() / 2**20)
            next_sample += seconds / 6
    stats = receiver.stats()
    arrived = stats["requests"]
    spent = host.cpu_seconds() - cpu
    wait_for(receiver, raised, 60)
    return Sustained(
        Rate(arrived / elapsed, 1000 * spent / max(1, arrived)),
        {name: stats[name] for name in ("p50", "p95", "p99")},
        memory,
    )


def wait_for(receiver: ReceiverProcess, events: int, seconds: float) -> dict[str, Any]:
    """Return the receiver's counts once it has seen so many events, or when the time is up."""
    deadline = time.monotonic() + seconds
    while receiver.counts()["events"] < events and time.monotonic() < deadline:
        time.sleep(0.02)
    return receiver.stats()


def paced(
    host: HostProcess, receiver: ReceiverProcess, token: str, *, per_second: int, seconds: float
) -> dict[str, Any]:
    """Event-to-receipt latency when events come one request at a time at a steady rate."""
    receiver.reset()
    total = int(per_second * seconds)
    started = time.monotonic()
    for number in range(total):
        due = started + number / per_second
        if (pause := due - time.monotonic()) > 0:
            time.sleep(pause)
        raise_events(host, token, 1)
    return wait_for(receiver, total, 30)


def measure(*, workers: int, seconds: float) -> list[tuple[str, str]]:
    """Rows of (what, result) for the report."""
    rows: list[tuple[str, str]] = []
    with receiving() as receiver, tempfile.TemporaryDirectory() as folder:
        bare, single = (
            bare_loop(f"{receiver.url}/bare", processes=processes, seconds=max(5.0, seconds / 6))
            for processes in (workers, 1)
        )
        for processes, loop in ((workers, bare), (1, single)):
            found = f"{loop.per_second:,.0f} posts/s, {loop.cpu_ms:.2f} ms CPU each"
            rows.append((f"bare loop, processes: {processes}", found))
        with running(Path(folder) / "hub", workers=workers) as host:
            token = host.token()
            subscribe(host, token, f"{receiver.url}/hook")
            receiver.reset()
            raise_events(host, token, 500)
            wait_for(receiver, 500, 30)
            result = sustained(host, receiver, token, seconds=seconds)
            rate = result.deliveries
            rows.append(
                (
                    f"deliveries sustained for {seconds:.0f} s, WORKERS={workers}",
                    f"{rate.per_second:,.0f}/s = {rate.per_second / bare.per_second:.0%} of as many bare loops, "
                    f"{rate.per_second / single.per_second:.0%} of one, {rate.cpu_ms:.2f} ms CPU each",
                )
            )
            rows.append(
                ("memory over the run, MiB", ", ".join(f"{value:.0f}" for value in result.memory_mib))
            )
            rows.append(("event to receipt when saturated, ms", _percentiles(result.latencies)))
            rows.append(
                (
                    "event to receipt at 100 events/s, ms",
                    _percentiles(paced(host, receiver, token, per_second=100, seconds=10)),
                )
            )
            rows.append(("bare post to receipt, ms", _percentiles(_bare_latency(receiver))))
    return rows


def _bare_latency(receiver: ReceiverProcess) -> dict[str, Any]:
    receiver.reset()
    for _ in range(1000):
        call("POST", f"{receiver.url}/bare", payload())
    return receiver.stats()


def _percentiles(stats: dict[str, Any]) -> str:
    return ", ".join(f"{name} {stats[name]:.1f}" for name in ("p50", "p95", "p99"))
