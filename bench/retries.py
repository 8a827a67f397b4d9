"""Adaptive retry against the fixed schedule, outages and bursts made up and recorded: `python -m bench.retries`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from pathlib import Path
from random import Random
from typing import NamedTuple

from bench.recorded import ANSWERS, attempts_since, recording, write
from domain.webhooks.model import RetryPolicy
from domain.webhooks.retry_policy import OutageHistory, ReceiverAnswer, decide, is_outage, planned_delay

DAY, DAYS = 86_400.0, 20
EVENTS_A_DAY = 720
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
#: Made by `python -m bench.rehearsal`.
RECORDED = Path(__file__).parent / "recorded.json"


class Outage(NamedTuple):
    """Seconds since the beginning, and what it answers."""

    start: float
    end: float
    answer: ReceiverAnswer = ANSWERS["error"]


Outages = list[Outage]

#: Minutes that published incidents lasted, from their reports.
PUBLISHED = {
    "https://stripe.com/de/rcas/2019-07-10": (27, 93),
    "https://aftermath.sh/open-playback/enc_VIaE4SqjyZiIXJJbB": (44,),
    "https://status.stripo.email/incidents/frz7kpndt461": (8,),
    "https://status.stellate.co/incidents/fds665c7rsxh": (40,),
    "https://status.skeddly.com/incidents/7zly94qglhw4": (263,),
}


@dataclass(frozen=True, slots=True)
class Score:
    """`seconds`: mean from event to delivery, a day for one that never is. Over deliveries that met a failure."""

    met: int
    attempts: float
    seconds: float
    undelivered: int


@dataclass(slots=True)
class Limit:
    """A receiver that takes so many posts in ten minutes of the clock and answers the others 429."""

    takes: int
    says_when: bool
    taken: Counter[int] = field(default_factory=Counter)

    def refusal(self, now: float) -> ReceiverAnswer | None:
        """Its answer while it is full, None when it takes the post."""
        window = int(now // 600)
        if self.taken[window] < self.takes:
            self.taken[window] += 1
            return None
        wait = str(int((window + 1) * 600 - now) + 1)
        return ReceiverAnswer(status=429, retry_after=wait if self.says_when else None)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Outages, and how events come: by chance one at a time, or `burst` at once.

    The receiver `takes` so many in ten minutes, and `says_when` there is room again. `runs` are scored together,
    the more the less the strategies differ: of a few that are never delivered, each counts as a day, and chance
    decides."""

    outages: Callable[[Random], Outages]
    days: float = DAYS
    a_day: float = EVENTS_A_DAY
    burst: int = 1
    takes: int | None = None
    says_when: bool = False
    runs: int = 1


def every(gap: float, lasted: float, *, vary: float = 0.2) -> Callable[[Random], Outages]:
    """Outages that come by chance, `gap` seconds apart on average, each about as long."""

    def made(random: Random) -> Outages:
        found, now = [], 0.0
        while (now := now + random.expovariate(1 / gap)) < DAYS * DAY:
            end = now + lasted * random.uniform(1 - vary, 1 + vary)
            found.append(Outage(now, end))
            now = end
        return found

    return made


def nightly(random: Random) -> Outages:
    return [Outage(day * DAY + 7200, day * DAY + 7200 + random.uniform(3300, 3900)) for day in range(DAYS)]


def mixed(random: Random) -> Outages:
    found, now = [], 0.0
    while (now := now + random.expovariate(1 / 7200)) < DAYS * DAY:
        end = now + random.choice((20, 60, 300, 300, 1800, 7200)) * random.uniform(0.7, 1.3)
        found.append(Outage(now, end))
        now = end
    return found


def published(random: Random) -> Outages:
    minutes = [minute for lasted in PUBLISHED.values() for minute in lasted]
    found, now = [], 0.0
    while (now := now + random.expovariate(1 / (DAY / 2))) < DAYS * DAY:
        end = now + random.choice(minutes) * 60.0
        found.append(Outage(now, end))
        now = end
    return found


def none(random: Random) -> Outages:
    return []


def recorded(path: Path) -> dict[str, Pattern]:
    """Return the endpoints of a recording, each with as many events a day as it had, one at a time by chance."""
    patterns = {}
    for number, endpoint in enumerate(json.loads(path.read_text()), start=1):
        periods = [Outage(start, end, ANSWERS[kind]) for start, end, kind in endpoint["periods"]]
        days = endpoint["seconds"] / DAY
        patterns[f"recorded {number}"] = Pattern(
            lambda random, periods=periods: periods,  # type: ignore[misc]
            days=days,
            a_day=endpoint["deliveries"] / days,
            runs=200,
        )
    return patterns


PATTERNS: dict[str, Pattern] = {
    "blips of 20 s": Pattern(every(3600, 20), runs=10),
    "deployments of 5 min": Pattern(every(14_400, 300), runs=10),
    "30 min": Pattern(every(43_200, 1800)),
    "2 h": Pattern(every(DAY, 7200)),
    "8 h": Pattern(every(2 * DAY, 28_800)),
    "nightly hour": Pattern(nightly),
    # The last ten outages count, and these have 200 and more a day: more days only repeat it.
    "flapping": Pattern(every(90, 45, vary=0.9), days=5, runs=200),
    "flapping slowly": Pattern(every(300, 120, vary=0.9), days=5, runs=200),
    "mixed": Pattern(mixed),
    "published incidents": Pattern(published),
    "bursts, 429": Pattern(none, a_day=240, burst=60, takes=20),
    "bursts, 429 with Retry-After": Pattern(none, a_day=240, burst=60, takes=20, says_when=True),
    "bursts, 429, deployments": Pattern(every(7200, 300), a_day=240, burst=60, takes=20, runs=50),
    **recorded(RECORDED),
}


def _agenda(pattern: Pattern, random: Random) -> list[tuple[float, int, float, int, int]]:
    """Return attempts to come: when, their order, when the event was born, its number, retries used."""
    born: list[float] = []
    now = 0.0
    while (now := now + random.expovariate(pattern.a_day / pattern.burst / DAY)) < pattern.days * DAY:
        born += [now] * pattern.burst
    return [(moment, number, moment, number, 0) for number, moment in enumerate(born)]


def simulate(pattern: Pattern, outages: Outages, policy: RetryPolicy, *, adaptive: bool, seed: int) -> Score:
    random, history = Random(seed), OutageHistory()
    agenda = _agenda(pattern, random)
    heapify(agenda)
    order, at = len(agenda), 0
    limit = None if pattern.takes is None else Limit(pattern.takes, pattern.says_when)
    failing_since = last_failed = None
    met: dict[int, int] = {}
    took: list[float] = []
    undelivered = 0
    while agenda:
        now, _, born, number, used = heappop(agenda)
        while at < len(outages) and outages[at].end <= now:
            at += 1
        away = at < len(outages) and outages[at].start <= now
        answer = outages[at].answer if away else limit.refusal(now) if limit else None
        if answer is None:
            if failing_since is not None and last_failed is not None:
                history = history.learned(last_failed - failing_since, now - failing_since)
                failing_since = None
            if used:
                took.append(now - born)
                met[number] = used + 1
            continue
        met[number], last_failed = used + 1, now
        spread, learned = random.uniform(-1, 1), None
        if is_outage(answer):
            failing_since = now if failing_since is None else failing_since
        if adaptive:
            learned = planned_delay(
                answer,
                history,
                policy,
                failing_for=0.0 if failing_since is None else now - failing_since,
                age=now - born,
                retries_used=used,
                retries=policy.max_retries,
                spread=spread,
            )
        moment = EPOCH + timedelta(seconds=now)
        decision = decide(
            answer,
            policy=policy,
            retries_used=used,
            platform_cap=policy.max_retries,
            expires_at=EPOCH + timedelta(seconds=born + DAY),
            now=moment,
            spread=spread,
            learned=None if learned is None else timedelta(seconds=learned),
        )
        if decision.retry_at is None:
            undelivered += 1
            took.append(DAY)
            continue
        order += 1
        heappush(agenda, (now + (decision.retry_at - moment).total_seconds(), order, born, number, used + 1))
    count = max(1, len(met))
    return Score(len(met), sum(met.values()) / count, sum(took) / count, undelivered)


def compared(pattern: Pattern, seed: int = 1) -> tuple[Score, Score]:
    """Score the fixed schedule and adaptive retry over the same events and outages."""
    runs: tuple[list[Score], list[Score]] = ([], [])
    for run in range(seed, seed + pattern.runs):
        outages = pattern.outages(Random(run))
        for adaptive, scores in enumerate(runs):
            scores.append(simulate(pattern, outages, RetryPolicy(), adaptive=bool(adaptive), seed=run))
    return together(runs[0]), together(runs[1])


def together(scores: list[Score]) -> Score:
    """One score of all the deliveries that met a failure."""
    met = sum(score.met for score in scores)
    return Score(
        met,
        sum(score.attempts * score.met for score in scores) / met,
        sum(score.seconds * score.met for score in scores) / met,
        sum(score.undelivered for score in scores),
    )


def row(name: str, old: Score, new: Score) -> str:
    """Return a pattern's row of the table."""
    return (
        f"| {name} | {old.attempts:.2f} | {new.attempts:.2f} | {new.attempts / old.attempts:.2f} "
        f"| {old.seconds:,.0f} | {new.seconds:,.0f} | {new.seconds / old.seconds:.2f} "
        f"| {old.undelivered:,} of {old.met:,} | {new.undelivered:,} of {new.met:,} |"
    )


def table(patterns: Mapping[str, Pattern], seed: int = 1) -> str:
    rows = [
        "| outages | attempts, fixed | adaptive | share | seconds, fixed | adaptive | share "
        "| undelivered, fixed | adaptive |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [row(name, *compared(pattern, seed)) for name, pattern in patterns.items()]
    return "\n".join(rows)


def record(path: Path, days: float) -> int:
    """Record the endpoints of the hub that the settings name; how many had outages."""
    from infra.app.build import build
    from infra.app.settings import Settings

    hub = build(Settings())
    try:
        found = recording(attempts_since(hub.database, hub.clock.now() - timedelta(days=days)))
    finally:
        hub.database.close()
    write(found, path)
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.retries")
    parser.add_argument("--recorded", type=Path, metavar="FILE", help="simulate the endpoints of a recording")
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="record the hub's endpoints, without names"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--days", type=float, default=30.0, help="how far back --record looks")
    options = parser.parse_args()
    if options.record:
        print(f"{record(options.record, options.days)} endpoints recorded")
    else:
        patterns = recorded(options.recorded) if options.recorded else PATTERNS
        print(table(patterns, options.seed))


if __name__ == "__main__":
    main()
