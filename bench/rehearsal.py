"""Days of a hub's life in minutes: `python -m bench.rehearsal FILE` records what its endpoints went through.

The host has receivers that fail as receivers do, and its clock is moved from one event or retry to the next."""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import func, or_, select

from bench.harness import HostProcess, call, running
from bench.pipeline import subscribe
from bench.recorded import attempts_since, recording, write
from domain.webhooks.model import DeliveryStatus
from infra.app.build import build
from infra.app.hub import Hub
from infra.app.settings import Settings
from infra.clock import AdjustableClock
from infra.sql.journal.tables import domain_events
from infra.sql.webhooks.tables import webhook_deliveries

DAY = 86_400.0
_d = webhook_deliveries.c
_LOOKS = 3_000
_STILL_SECONDS = 2.0
"""Until the clock is moved on: a message in hand when it was moved last comes again when its lock has run out."""

#: The status at a moment, in seconds since the beginning; None to hang up without an answer.
Behaviour = Callable[[float], int | None]


def failing(periods: list[tuple[float, float]], status: int | None) -> Behaviour:
    """200 but for the periods."""
    return lambda now: status if any(start <= now < end for start, end in periods) else 200


def limiting(behaviour: Behaviour, takes: int) -> Behaviour:
    """429 beyond so many posts in ten minutes, where `behaviour` would take them."""
    taken: Counter[int] = Counter()

    def answer(now: float) -> int | None:
        status = behaviour(now)
        if status == 200:
            taken[int(now // 600)] += 1
            return 200 if taken[int(now // 600)] <= takes else 429
        return status

    return answer


def behaviours(days: int, random: Random) -> list[Behaviour]:
    """Return how the receivers behave.

    Deployments by day; a nightly restart and a rare long failure of one that hangs up; outages of any length; the
    last with short ones and a limit."""
    deployments = [
        (start, start + random.lognormvariate(5.5, 0.4))
        for day in range(days)
        for start in sorted(day * DAY + random.uniform(9, 17) * 3600 for _ in range(random.choice((2, 3, 4))))
    ]
    nightly = [(day * DAY + 10_800, day * DAY + 10_800 + random.uniform(1200, 2400)) for day in range(days)]
    long = [(start, start + random.uniform(2, 4) * 3600) for start in (1.6 * DAY, 4.4 * DAY)]
    any_length, now = [], 0.0
    while (now := now + random.expovariate(1 / 21_600)) < days * DAY:
        any_length.append((now, now := now + min(14_400, random.lognormvariate(5.7, 1.3))))
    short, now = [], 0.0
    while (now := now + random.expovariate(1 / 10_800)) < days * DAY:
        short.append((now, now := now + random.uniform(60, 420)))
    return [
        failing(deployments, 503),
        failing(nightly + long, None),
        failing(any_length, 500),
        limiting(failing(short, 502), takes=12),
    ]


@contextmanager
def receiving(behaviour: Behaviour, seconds: Callable[[], float]) -> Iterator[str]:
    """Serve a receiver on loopback; the value is its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["content-length"])))
            is_challenge = event["type"] == "webhook.verification"
            status = 200 if is_challenge else behaviour(seconds())
            if status is None:
                self.close_connection = True
                return
            body = json.dumps({"challenge": event["data"]["challenge"]} if is_challenge else {}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1024

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()


def arrivals(days: int, random: Random) -> list[tuple[float, int]]:
    """When events come, and how many at once: one in four minutes, and now and then forty."""
    found, now = [], 0.0
    while (now := now + random.expovariate(1 / 240)) < days * DAY:
        found.append((now, 40 if random.random() < 0.01 else 1))
    return found


class _Watch:
    """The hub's own view of what is left to do."""

    def __init__(self, hub: Hub, clock: AdjustableClock) -> None:
        self._hub = hub
        self._clock = clock

    def settle(self) -> datetime | None:
        """Wait until nothing is to be done now; when the next retry is due. Raises RuntimeError."""
        still = time.monotonic() + _STILL_SECONDS
        for _ in range(_LOOKS):
            with self._hub.database.read() as connection:
                busy = connection.execute(
                    select(func.count()).where(
                        _d.DeliveryStatus.in_(
                            (DeliveryStatus.Pending, DeliveryStatus.Sending, DeliveryStatus.Retrying)
                        ),
                        or_(
                            _d.DeliveryStatus != DeliveryStatus.Retrying, _d.NextRetryAt <= self._clock.now()
                        ),
                    )
                ).scalar()
                due = connection.execute(
                    select(func.min(_d.NextRetryAt)).where(_d.NextRetryAt.is_not(None))
                ).scalar()
                unannounced = connection.execute(
                    select(func.count()).where(domain_events.c.FannedOutAt.is_(None))
                ).scalar()
            if not busy and not unannounced:
                return due
            if time.monotonic() > still:
                self._clock.advance(60)
                still = time.monotonic() + _STILL_SECONDS
            time.sleep(0.01)
        raise RuntimeError("deliveries did not come to rest")


def live(host: HostProcess, hub: Hub, days: int, random: Random) -> list[str]:
    """Lets the days pass; the webhooks' ids in the order of the receivers."""
    clock, token = AdjustableClock(host.home / "clock"), host.token("--ttl", str((days + 2) * 86_400))
    began = clock.now()
    watch = _Watch(hub, clock)

    def seconds() -> float:
        return (clock.now() - began).total_seconds()

    def move(moment: float) -> None:
        if (ahead := moment - seconds()) > 0:
            clock.advance(ahead)

    def rest(until: float) -> None:
        """Every retry that comes before."""
        while (due := watch.settle()) is not None and (at := (due - began).total_seconds()) < until:
            move(at + 0.5)

    with ExitStack() as stack:
        urls = [stack.enter_context(receiving(behaviour, seconds)) for behaviour in behaviours(days, random)]
        webhooks = [subscribe(host, token, url, retryPolicy={"strategy": "adaptive"}) for url in urls]
        for moment, count in arrivals(days, random):
            rest(moment)
            move(moment)
            events = [{"type": "BookingConfirmed", "data": {}}] * count
            status, answer = call("POST", f"{host.url}/events", {"events": events}, token=token)
            if status != 202:
                raise RuntimeError(f"events were refused: {status} {answer}")
        rest((days + 1) * DAY)
    return webhooks


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.rehearsal")
    parser.add_argument("file", type=Path)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "hub") as host:
        hub = build(Settings(home=host.home))
        try:
            began = hub.clock.now() - timedelta(minutes=1)
            live(host, hub, options.days, Random(options.seed))
            found = recording(attempts_since(hub.database, began))
        finally:
            hub.database.close()
    write(found, options.file)
    for endpoint in found:
        print(endpoint["deliveries"], dict(Counter(kind for _, _, kind in endpoint["periods"])))


if __name__ == "__main__":
    main()
