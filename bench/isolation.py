"""What one tenant costs another: each figure beside that of the same run without the neighbour.

`python -m bench.isolation [--seconds 10] [--workers 1] [--only hanging,queued]` prints all, or some. A healthy
webhook hears of 20 events a second; what is measured is from raising an event to its arrival at the receiver."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.harness import ROOT, HostProcess, ReceiverProcess, call, receiving, running
from bench.pipeline import payload, subscribe

Rows = list[tuple[str, str]]
_PER_SECOND = 20
_KEY = "bench-key-0123456789"


class Tenant:
    """A tenant of the host with an administrator's token."""

    def __init__(self, host: HostProcess) -> None:
        self.host = host
        self.token = host.token("--tenant", str(uuid4()), "--user", str(uuid4()))

    def subscribe(self, url: str, type_: str, **options: Any) -> None:
        subscribe(self.host, self.token, url, eventTypes=[type_], **options)

    def raise_events(self, type_: str, count: int = 1) -> None:
        """Raise events, at most 500 with a request."""
        for first in range(0, count, 500):
            events = [{"type": type_, "data": payload()} for _ in range(min(500, count - first))]
            status, answer = call("POST", f"{self.host.url}/events", {"events": events}, token=self.token)
            if status != 202:
                raise RuntimeError(f"events were refused: {status} {answer}")


@contextmanager
def raising(tenant: Tenant, types: list[str], per_second: float) -> Iterator[None]:
    """Raise so many events a second of each type in the background for the length of a block."""
    ended = threading.Event()

    def run() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            for type_ in types:
                tenant.raise_events(type_)
            due += 1 / per_second

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def healthy(tenant: Tenant, receiver: ReceiverProcess, until: Callable[[], bool]) -> dict[str, Any]:
    """Raise 20 events a second until the time has come; return their latencies in milliseconds.

    One that has not arrived 30 seconds after the last was raised counts as lost, and raises RuntimeError."""
    receiver.reset()
    raised, started = 0, time.monotonic()
    while not until():
        if (pause := started + raised / _PER_SECOND - time.monotonic()) > 0:
            time.sleep(pause)
        tenant.raise_events("Healthy")
        raised += 1
    deadline = time.monotonic() + 30
    while receiver.counts()["events"] < raised:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {receiver.counts()['events']} of {raised} arrived")
        time.sleep(0.02)
    return receiver.stats()


def lasting(seconds: float) -> Callable[[], bool]:
    """Return a condition that comes true after so many seconds."""
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() >= deadline


def beside(what: str, alone: dict[str, Any], disturbed: dict[str, Any]) -> tuple[str, str]:
    """Return a row that compares 99th percentiles and medians of one run."""
    factor = disturbed["p99"] / max(0.1, alone["p99"])
    return (
        f"healthy webhook beside {what}",
        f"p99 {disturbed['p99']:.0f} ms = {factor:.1f} x the {alone['p99']:.0f} ms without; "
        f"p50 {disturbed['p50']:.0f}, without {alone['p50']:.0f}",
    )


def hanging(host: HostProcess, *, seconds: float) -> Rows:
    """Two webhooks that hang for 30 s, at 20 events a second each, 1,200 events behind already."""
    rows: Rows = []
    with receiving() as well, receiving("--hang") as stuck:
        for whose in ("other tenants", "the same tenant"):
            tenant = Tenant(host)
            tenant.subscribe(f"{well.url}/hook", "Healthy")
            healthy(tenant, well, lasting(1.0))
            alone = healthy(tenant, well, lasting(seconds))
            neighbours = [tenant] if whose == "the same tenant" else [Tenant(host), Tenant(host)]
            with ExitStack() as stack:
                for number in range(2):
                    neighbour, type_ = neighbours[number % len(neighbours)], f"Hanging{number}"
                    neighbour.subscribe(f"{stuck.url}/hook/{number}", type_)
                    neighbour.raise_events(type_, 600)
                    stack.enter_context(raising(neighbour, [type_], _PER_SECOND))
                time.sleep(2.0)
                disturbed = healthy(tenant, well, lasting(seconds))
            rows.append(beside(f"2 that hang ({whose})", alone, disturbed))
    return rows


def queued(host: HostProcess, *, seconds: float) -> Rows:
    """500 events queued for each of 20 webhooks, while they last."""
    rows: Rows = []
    with receiving() as well, receiving() as busy:
        for whose in ("another tenant", "the same tenant"):
            tenant = Tenant(host)
            neighbour = tenant if whose == "the same tenant" else Tenant(host)
            tenant.subscribe(f"{well.url}/hook", "Healthy")
            for number in range(20):
                neighbour.subscribe(f"{busy.url}/hook/{number}", "Bulk")
            healthy(tenant, well, lasting(1.0))
            alone = healthy(tenant, well, lasting(seconds))
            busy.reset()
            neighbour.raise_events("Bulk", 500)
            started = time.monotonic()
            all_of_them = lambda: busy.counts()["requests"] >= 10_000  # noqa: E731
            disturbed = healthy(tenant, well, all_of_them)
            took = time.monotonic() - started
            what, found = beside(f"20 webhooks x 500 events queued ({whose})", alone, disturbed)
            rows.append((what, f"{found}; the 10,000 took {took:.1f} s"))
    return rows


def integrations(host: HostProcess, *, seconds: float, count: int = 250) -> Rows:
    """Health checks of 250 integrations whose service hangs, all due at once."""
    with receiving() as well, receiving() as service:
        tenant, neighbour = Tenant(host), Tenant(host)
        tenant.subscribe(f"{well.url}/hook", "Healthy")
        for number in range(count):
            configuration = {
                "baseUrl": service.url,
                "auth": "apiKey",
                "apiKey": _KEY,
                "healthPath": f"/health/{number}",
            }
            body = {
                "name": f"Service {number:04}",
                "integrationType": "CustomAPI",
                "provider": "REST",
                "configuration": configuration,
            }
            status, answer = call("POST", f"{host.url}/integrations", body, token=neighbour.token)
            if status != 201 or answer["status"] != "Active":
                raise RuntimeError(f"not active: {status} {answer}")
        healthy(tenant, well, lasting(1.0))
        alone = healthy(tenant, well, lasting(seconds))
        service.stop()
        stuck = subprocess.Popen(
            [sys.executable, "-m", "bench.receiver", str(service.port), "--hang"], cwd=ROOT
        )
        try:
            time.sleep(1.0)
            host.advance(330)
            time.sleep(1.0)
            disturbed = healthy(tenant, well, lasting(seconds))
        finally:
            stuck.terminate()
            stuck.wait(10)
    return [beside(f"{count} integrations that hang", alone, disturbed)]


def slow(host: HostProcess, *, seconds: float) -> Rows:
    """One receiver that answers after 1 s: posts in flight alone, posts a second beside nine that hang."""
    rows: Rows = []
    with receiving("--delay", "1") as late, receiving("--hang") as stuck:
        for number_hanging in (0, 9):
            tenant = Tenant(host)
            tenant.subscribe(f"{late.url}/hook", "Slow")
            with ExitStack() as stack:
                if number_hanging:
                    neighbour = Tenant(host)
                    types = [f"Hanging{number}" for number in range(number_hanging)]
                    for type_ in types:
                        neighbour.subscribe(f"{stuck.url}/{type_}", type_)
                        neighbour.raise_events(type_, 200)
                    stack.enter_context(raising(neighbour, types, 2))
                    time.sleep(1.0)
                late.reset()
                tenant.raise_events("Slow", 6_000)
                counts: list[tuple[float, int]] = []
                started = time.monotonic()
                while (now := time.monotonic()) < started + 10:
                    counts.append((now, late.counts()["requests"]))
                    time.sleep(0.1)
            # Each takes a second: in flight are those that came within the last.
            in_flight = max(
                count - max((before for at, before in counts if at <= now - 1.0), default=0)
                for now, count in counts
            )
            rate = counts[-1][1] / (counts[-1][0] - started)
            name = "alone" if not number_hanging else f"beside {number_hanging} that hang"
            rows.append(
                (
                    f"a receiver that answers after 1 s, {name}",
                    f"{in_flight} in flight within 10 s, {rate:.0f} a second in the mean",
                )
            )
    return rows


PARTS: dict[str, Callable[..., Rows]] = {
    "hanging": hanging,
    "queued": queued,
    "integrations": integrations,
    "slow": slow,
}


def measure(*, workers: int, seconds: float = 10.0, only: tuple[str, ...] = tuple(PARTS)) -> Rows:
    """Rows of (what, result) for the report. Each part has a host of its own."""
    rows: Rows = []
    for name in only:
        with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "hub", workers=workers) as host:
            rows += PARTS[name](host, seconds=seconds)
            host.kill()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.isolation")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default=",".join(PARTS))
    options = parser.parse_args()
    for name in options.only.split(","):
        for what, result in measure(workers=options.workers, seconds=options.seconds, only=(name,)):
            print(f"{what:72} {result}", flush=True)


if __name__ == "__main__":
    main()
