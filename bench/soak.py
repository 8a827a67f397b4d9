"""`make soak`: 10,000 events of 50 subjects while the host is killed ten times at random; then counts every one.

An ordered webhook gets them too, a tenth of whose posts fail; its first successes are compared with the 202s."""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench.harness import HostProcess, call, receiving
from bench.pipeline import subscribe

_BATCH = 100
_STILL = 6
"""Looks, four a second, without a delivery until the clock is moved: sooner, leases of the living would lapse."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the events at a webhook without order, and at an ordered one whose receiver fails now and then.

    - `duplicates` are receipts beyond the first; at most those in flight at a kill can be such.
    - `overtaken` are subjects whose first successes are not in the order of their 202s, or are missing."""

    events: int
    missing: int
    duplicates: int
    interrupted_at_most: int
    statuses: dict[str, int]
    attempts_recorded: int
    attempts_interrupted: int
    overtaken: list[str]
    ordered_posts: int
    ordered_statuses: dict[str, int]
    seconds: float


def survive(
    home: Path,
    *,
    events: int,
    kills: int,
    workers: int,
    rng: random.Random,
    subjects: int = 50,
    fails: float = 0.1,
) -> Outcome:
    """Raise, kill, restart, and wait for the end.

    Then time is moved: two seconds at a look, since the failed ones are tried again after one, and a minute where a
    lease has to run out."""
    started = time.monotonic()
    with receiving() as receiver, receiving("--fails", str(fails)) as failing:
        host = HostProcess(home, workers=workers).start()
        token = host.token("--ttl", "86400")
        policy = {"initialDelaySeconds": 1, "backoffMultiplier": 1, "jitter": False}
        webhooks = [
            subscribe(host, token, f"{receiver.url}/hook"),
            subscribe(host, token, f"{failing.url}/hook", ordering="perSubject", retryPolicy=policy),
        ]
        accepted: list[tuple[str, str]] = []
        kill_at = sorted(rng.sample(range(1, max(2, events // _BATCH)), kills)) if kills else []
        in_flight = 0
        for batch in range(events // _BATCH):
            named = [f"order/{rng.randrange(subjects)}" for _ in range(_BATCH)]
            accepted += zip(named, _raise_until_accepted(host, token, batch, named), strict=True)
            if batch in kill_at:
                time.sleep(rng.uniform(0, 0.2))
                host.kill()
                in_flight += _sending(home, webhooks[0])
                host.start()
        _settle(host, token, webhooks, events)
        statuses, attempts, interrupted = _stored(home, webhooks[0])
        stats = receiver.stats()
        outcome = Outcome(
            events=len(accepted),
            missing=len(set(accepted)) - stats["events"],
            duplicates=stats["requests"] - stats["events"],
            interrupted_at_most=in_flight,
            statuses=statuses,
            attempts_recorded=attempts,
            attempts_interrupted=interrupted,
            overtaken=_overtaken(accepted, failing.order()),
            ordered_posts=failing.counts()["requests"],
            ordered_statuses=_stored(home, webhooks[1])[0],
            seconds=time.monotonic() - started,
        )
        host.stop()
    return outcome


def _overtaken(accepted: Sequence[tuple[str, str]], arrived: Mapping[str, list[str]]) -> list[str]:
    by_subject: dict[str, list[str]] = {}
    for subject, event_id in accepted:
        by_subject.setdefault(subject, []).append(event_id)
    return [subject for subject, ids in by_subject.items() if arrived.get(subject) != ids]


def _raise_until_accepted(host: HostProcess, token: str, batch: int, subjects: Sequence[str]) -> list[str]:
    """Repeat until the host answers 202: raising is idempotent on the id."""
    body = {
        "events": [
            {
                "id": f"event-{batch}-{number}",
                "type": "BookingConfirmed",
                "data": {"n": number},
                "subject": subject,
            }
            for number, subject in enumerate(subjects)
        ]
    }
    for _ in range(100):
        with contextlib.suppress(OSError):
            status, answer = call("POST", f"{host.url}/events", body, token=token)
            if status == 202:
                return list(answer["eventIds"])
        time.sleep(0.05)
    raise RuntimeError("events were not accepted")


def _settle(host: HostProcess, token: str, webhooks: Sequence[str], events: int) -> None:
    """Wait until every delivery was made."""
    path = host.url + "/webhooks/{}/deliveries?pageSize=1&status=Delivered"
    done, since = -1, 0
    for _ in range(960):
        time.sleep(0.25)
        total = sum(call("GET", path.format(webhook), token=token)[1]["total"] for webhook in webhooks)
        if total >= events * len(webhooks):
            return
        since = since + 1 if total == done else 0
        host.advance(60 if since == _STILL else 2)
        since %= _STILL
        done = total
    raise RuntimeError(f"{done} of {events * len(webhooks)} delivered when the time was up")


def _sending(home: Path, webhook: str) -> int:
    """Return how many of a webhook's deliveries were in flight at a kill."""
    return _stored(home, webhook)[0].get("Sending", 0)


def _stored(home: Path, webhook: str) -> tuple[dict[str, int], int, int]:
    """Return a webhook's deliveries by status, its attempts, and how many of these were interrupted."""
    names = ("Pending", "Sending", "Delivered", "Failed", "Retrying", "Expired")
    key = (UUID(webhook).hex,)
    with contextlib.closing(sqlite3.connect(home / "hub.db")) as database:
        statuses = Counter(
            names[row[0]]
            for row in database.execute(
                "SELECT DeliveryStatus FROM WebhookDeliveries WHERE WebhookId = ?", key
            )
        )
        attempts, interrupted = database.execute(
            "SELECT count(*), coalesce(sum(Outcome = 3), 0) FROM WebhookDeliveryAttempts"
            " JOIN WebhookDeliveries USING (WebhookDeliveryId) WHERE WebhookId = ?",
            key,
        ).fetchone()
    return dict(statuses), attempts, interrupted


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.soak")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--subjects", type=int, default=50)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        outcome = survive(
            Path(folder) / "hub",
            events=options.events,
            kills=options.kills,
            workers=options.workers,
            rng=random.Random(options.seed),
            subjects=options.subjects,
        )
    print(outcome)
    all_delivered = {"Delivered": options.events}
    good = outcome.missing == 0 and outcome.statuses == all_delivered == outcome.ordered_statuses
    in_bounds = outcome.duplicates <= outcome.interrupted_at_most and not outcome.overtaken
    raise SystemExit(0 if good and in_bounds else 1)


if __name__ == "__main__":
    main()
