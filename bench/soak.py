"""`make soak`: 10,000 events while the host is killed ten times at random; then counts every one."""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import HostProcess, ReceiverProcess, call, receiving
from bench.pipeline import subscribe

_BATCH = 100
_STILL = 6
"""Looks, four a second, without a delivery until the clock is moved: sooner, leases of the living would lapse."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`duplicates` are receipts beyond the first; at most those in flight at a kill can be such."""

    events: int
    missing: int
    duplicates: int
    interrupted_at_most: int
    statuses: dict[str, int]
    attempts_recorded: int
    attempts_interrupted: int
    seconds: float


def survive(home: Path, *, events: int, kills: int, workers: int, rng: random.Random) -> Outcome:
    """Raise, kill, restart, and wait for the end; time is moved where only a lease has to run out."""
    started = time.monotonic()
    with receiving() as receiver:
        host = HostProcess(home, workers=workers).start()
        token = host.token("--ttl", "86400")
        webhook = subscribe(host, token, f"{receiver.url}/hook")
        accepted: list[str] = []
        kill_at = sorted(rng.sample(range(1, max(2, events // _BATCH)), kills)) if kills else []
        in_flight = 0
        for batch in range(events // _BATCH):
            accepted += _raise_until_accepted(host, token, batch)
            if batch in kill_at:
                time.sleep(rng.uniform(0, 0.2))
                host.kill()
                in_flight += _sending(home)
                host.start()
        host = _settle(host, token, webhook, events)
        stats = receiver.stats()
        outcome = _count(
            home, receiver, stats, accepted, in_flight=in_flight, seconds=time.monotonic() - started
        )
        host.stop()
    return outcome


def _raise_until_accepted(host: HostProcess, token: str, batch: int) -> list[str]:
    """Repeat until the host answers 202: raising is idempotent on the id."""
    body = {
        "events": [
            {"id": f"event-{batch}-{number}", "type": "BookingConfirmed", "data": {"n": number}}
            for number in range(_BATCH)
        ]
    }
    for _ in range(100):
        with contextlib.suppress(OSError):
            status, answer = call("POST", f"{host.url}/events", body, token=token)
            if status == 202:
                return list(answer["eventIds"])
        time.sleep(0.05)
    raise RuntimeError("events were not accepted")


def _settle(host: HostProcess, token: str, webhook: str, events: int) -> HostProcess:
    """Wait until every delivery has ended; leases of killed workers run out as the clock moves."""
    path = f"{host.url}/webhooks/{webhook}/deliveries?pageSize=1&status=Delivered"
    done, since = -1, 0
    for _ in range(240):
        time.sleep(0.25)
        _, page = call("GET", path, token=token)
        if page["total"] >= events:
            return host
        since = since + 1 if page["total"] == done else 0
        if since == _STILL:
            host.advance(60)
            since = 0
        done = page["total"]
    raise RuntimeError(f"{done} of {events} delivered when the time was up")


def _sending(home: Path) -> int:
    """Deliveries in flight at a kill."""
    with contextlib.closing(sqlite3.connect(home / "hub.db")) as database:
        return int(
            database.execute("SELECT count(*) FROM WebhookDeliveries WHERE DeliveryStatus = 1").fetchone()[0]
        )


def _count(
    home: Path,
    receiver: ReceiverProcess,
    stats: dict[str, Any],
    accepted: list[str],
    *,
    in_flight: int,
    seconds: float,
) -> Outcome:
    names = ("Pending", "Sending", "Delivered", "Failed", "Retrying", "Expired")
    with contextlib.closing(sqlite3.connect(home / "hub.db")) as database:
        statuses = Counter(
            names[row[0]] for row in database.execute("SELECT DeliveryStatus FROM WebhookDeliveries")
        )
        attempts, interrupted = database.execute(
            "SELECT count(*), coalesce(sum(Outcome = 3), 0) FROM WebhookDeliveryAttempts"
        ).fetchone()
    return Outcome(
        events=len(accepted),
        missing=len(set(accepted)) - stats["events"],
        duplicates=stats["requests"] - stats["events"],
        interrupted_at_most=in_flight,
        statuses=dict(statuses),
        attempts_recorded=attempts,
        attempts_interrupted=interrupted,
        seconds=seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.soak")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        outcome = survive(
            Path(folder) / "hub",
            events=options.events,
            kills=options.kills,
            workers=options.workers,
            rng=random.Random(options.seed),
        )
    print(outcome)
    good = outcome.missing == 0 and outcome.statuses == {"Delivered": options.events}
    raise SystemExit(0 if good and outcome.duplicates <= outcome.interrupted_at_most else 1)


if __name__ == "__main__":
    main()
