"""Adaptive retry against the fixed schedule over synthetic outages: `python -m bench.retries`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random

from domain.webhooks.adaptive import OutageHistory, adaptive_delay, outage_length
from domain.webhooks.model import RetryPolicy
from domain.webhooks.rules import retry_delay

DAY, DAYS = 86_400.0, 20
EVENTS_A_DAY = 720
Outages = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Score:
    """`seconds`: mean from event to delivery, a day for one that never is. Over deliveries that met a failure."""

    met: int
    attempts: float
    seconds: float
    undelivered: int


def every(gap: float, lasted: float, *, vary: float = 0.2) -> Callable[[Random], Outages]:
    """Outages that come by chance, `gap` seconds apart on average, each about as long."""

    def made(random: Random) -> Outages:
        found, now = [], 0.0
        while (now := now + random.expovariate(1 / gap)) < DAYS * DAY:
            end = now + lasted * random.uniform(1 - vary, 1 + vary)
            found.append((now, end))
            now = end
        return found

    return made


def nightly(random: Random) -> Outages:
    return [(day * DAY + 7200, day * DAY + 7200 + random.uniform(3300, 3900)) for day in range(DAYS)]


def mixed(random: Random) -> Outages:
    found, now = [], 0.0
    while (now := now + random.expovariate(1 / 7200)) < DAYS * DAY:
        end = now + random.choice((20, 60, 300, 300, 1800, 7200)) * random.uniform(0.7, 1.3)
        found.append((now, end))
        now = end
    return found


PATTERNS: dict[str, Callable[[Random], Outages]] = {
    "blips of 20 s": every(3600, 20),
    "deployments of 5 min": every(14_400, 300),
    "30 min": every(43_200, 1800),
    "2 h": every(DAY, 7200),
    "8 h": every(2 * DAY, 28_800),
    "nightly hour": nightly,
    "flapping": every(90, 45, vary=0.9),
    "mixed": mixed,
}


def simulate(outages: Outages, policy: RetryPolicy, *, adaptive: bool, seed: int) -> Score:
    random, history = Random(seed), OutageHistory()
    agenda, now = [], 0.0
    while (now := now + random.expovariate(EVENTS_A_DAY / DAY)) < DAYS * DAY:
        agenda.append((now, len(agenda), now, 0))
    heapify(agenda)
    order, at = len(agenda), 0
    failing_since = last_failed = None
    met: dict[float, int] = {}
    took: list[float] = []
    undelivered = 0
    while agenda:
        now, _, born, used = heappop(agenda)
        while at < len(outages) and outages[at][1] <= now:
            at += 1
        if not (at < len(outages) and outages[at][0] <= now):
            if failing_since is not None and last_failed is not None:
                history = history.learned(outage_length(failing_since, last_failed, now))
                failing_since = None
            if used:
                took.append(now - born)
                met[born] = used + 1
            continue
        failing_since, last_failed = now if failing_since is None else failing_since, now
        met[born] = used + 1
        spread = random.uniform(-1, 1)
        delay = retry_delay(policy, used + 1, spread=spread).total_seconds()
        if adaptive:
            learned = adaptive_delay(
                history,
                failing_for=now - failing_since,
                retries_left=policy.max_retries - used,
                spread=spread,
            )
            delay = delay if learned is None else learned
        if used == policy.max_retries or now + delay >= born + DAY:
            undelivered += 1
            took.append(DAY)
            continue
        order += 1
        heappush(agenda, (now + delay, order, born, used + 1))
    count = max(1, len(met))
    return Score(len(met), sum(met.values()) / count, sum(took) / count, undelivered)


def compared(name: str, seed: int = 1) -> tuple[Score, Score]:
    outages = PATTERNS[name](Random(seed))
    policy = RetryPolicy()
    fixed = simulate(outages, policy, adaptive=False, seed=seed)
    return fixed, simulate(outages, policy, adaptive=True, seed=seed)


def row(name: str, old: Score, new: Score) -> str:
    """A pattern's row of the table."""
    return (
        f"| {name} | {old.attempts:.2f} | {new.attempts:.2f} | {old.seconds:,.0f} | {new.seconds:,.0f} "
        f"| {old.undelivered} of {old.met} | {new.undelivered} of {new.met} |"
    )


def table() -> str:
    rows = [
        "| outages | attempts, fixed | adaptive | seconds, fixed | adaptive | undelivered, fixed | adaptive |"
    ]
    rows.append("|---|---|---|---|---|---|---|")
    rows += [row(name, *compared(name)) for name in PATTERNS]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
