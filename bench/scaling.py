"""How far the pipeline scales, simulated: `python -m bench.scaling` prints the tables of docs/scaling.md.

A discrete-event simulation: arrivals, the outbox and fan-out in SQL, Service Bus, the workers' posts with their
retries, the results in SQL. Seconds everywhere. The capacities are inputs; docs/scaling.md names their sources."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from random import Random

MONTH_SECONDS = 30 * 86_400
#: Log written for a delivery by accepting and fanning out, and by claiming and recording; assumed, not measured.
ACCEPT_KB, RECORD_KB = 4.0, 4.0
#: Sent, received, completed, once on each of two queues (as in bench/cost.py).
BUS_OPERATIONS = 6
POST_MEAN, POST_SIGMA = 0.3, 0.8
FAILED_SHARE = 0.02
FIRST_RETRY, MULTIPLIER, RETRIES = 60.0, 2.0, 5
SQL_ROUND_TRIP, BUS_HOP = 0.010, 0.015
BURST, BURST_SECONDS = 10, 30.0
HORIZON = 300.0
OUTAGE = (60.0, 120.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is bought. `bus` in operations a second, `sql` in MB of log a second for each shard."""

    name: str
    a_month: float
    bus: float
    shards: int
    sql: float
    instances: int
    concurrency: int = 64

    @property
    def mean_rate(self) -> float:
        return self.a_month / MONTH_SECONDS

    def ceilings(self) -> dict[str, float]:
        """Deliveries a second at which each component is full, retries counted."""
        attempts = 1 / (1 - FAILED_SHARE)
        return {
            "SQL": self.shards * self.sql * 1000 / (ACCEPT_KB + RECORD_KB * attempts),
            "Service Bus": self.bus / (BUS_OPERATIONS * attempts),
            "workers": self.instances * self.concurrency / (POST_MEAN * attempts),
        }


@dataclass(slots=True)
class Servers:
    """`count` servers and one queue, first come first served. Jobs are offered in the order they arrive."""

    count: int
    window: tuple[float, float] = (0.0, math.inf)
    closed: tuple[float, float] = (-1.0, -1.0)
    busy: float = 0.0
    free: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = [0.0] * self.count
        heapify(self.free)

    def serve(self, now: float, seconds: float) -> float:
        """When a job that arrives `now` and takes `seconds` is done."""
        start = max(now, heappop(self.free))
        if self.closed[0] <= start < self.closed[1]:
            start = self.closed[1]
        end = start + seconds
        heappush(self.free, end)
        self.busy += max(0.0, min(end, self.window[1]) - max(start, self.window[0]))
        return end

    def utilisation(self) -> float:
        return self.busy / (self.count * (self.window[1] - self.window[0]))


@dataclass(frozen=True, slots=True)
class Run:
    """What one run showed.

    - `latencies`: from the event to its first attempt's recorded result, sorted.
    - `drained`: seconds after the outage until a new event is delivered as if there had been none."""

    latencies: list[float]
    busy: dict[str, float]
    drained: float

    def percentile(self, share: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def arrivals(rate: float, burst: tuple[float, float] | None, random: Random) -> Iterator[float]:
    """Poisson, ten times as many during the burst: candidates at the highest rate, thinned."""
    highest = rate * (BURST if burst else 1)
    now = random.expovariate(highest)
    while now < HORIZON:
        inside = burst is not None and burst[0] <= now < burst[1]
        if random.random() < (rate * (BURST if inside else 1)) / highest:
            yield now
        now += random.expovariate(highest)


def simulate(plan: Plan, *, burst: bool, outage: bool = False, seed: int = 1) -> Run:
    random = Random(seed)
    peak = (OUTAGE[0], OUTAGE[0] + BURST_SECONDS) if burst else None
    window = peak or (0.0, HORIZON)
    sql = [Servers(1, window) for _ in range(plan.shards)]
    bus = Servers(1, window)
    workers = Servers(plan.instances * plan.concurrency, window, OUTAGE if outage else (-1.0, -1.0))
    mu = math.log(POST_MEAN) - POST_SIGMA**2 / 2
    #: (time, order, stage, when the event came, shard, attempt)
    agenda = [
        (at, n, 0, at, n % plan.shards, 0) for n, at in enumerate(arrivals(plan.mean_rate, peak, random))
    ]
    order = len(agenda)
    firsts: list[tuple[float, float]] = []
    while agenda:
        now, _, stage, born, shard, attempt = heappop(agenda)
        if stage == 0:
            then = sql[shard].serve(now, ACCEPT_KB / (plan.sql * 1000)) + SQL_ROUND_TRIP
        elif stage == 1:
            then = bus.serve(now, BUS_OPERATIONS / plan.bus) + 2 * BUS_HOP
        elif stage == 2:
            then = workers.serve(now, random.lognormvariate(mu, POST_SIGMA))
        else:
            then = sql[shard].serve(now, RECORD_KB / (plan.sql * 1000)) + SQL_ROUND_TRIP
            if attempt == 0:
                firsts.append((born, then - born))
            if random.random() >= FAILED_SHARE or attempt == RETRIES:
                continue
            then, stage, attempt = then + FIRST_RETRY * MULTIPLIER**attempt, 0, attempt + 1
        order += 1
        heappush(agenda, (then, order, stage + 1, born, shard, attempt))
    busy = {
        "SQL": sum(database.utilisation() for database in sql) / plan.shards,
        "Service Bus": bus.utilisation(),
        "workers": workers.utilisation(),
    }
    return Run(sorted(late for _, late in firsts), busy, _drained(firsts) if outage else 0.0)


def _drained(firsts: list[tuple[float, float]]) -> float:
    """From the end of the outage to the last moment at which something that came before it was still waiting."""
    held = [born + late for born, late in firsts if born < OUTAGE[1] <= born + late]
    return max(held) - OUTAGE[1] if held else 0.0


#: Standard: 1,000 operations a second. Premium: 4,000 a messaging unit, assumed. SQL: General Purpose by vCores.
PLANS = (
    Plan("10 M: Standard, 1 x 2 vCores, 2 instances", 10e6, bus=1000, shards=1, sql=9, instances=2),
    Plan("100 M: Premium 1 MU, 1 x 4 vCores, 4 instances", 100e6, bus=4000, shards=1, sql=18, instances=4),
    Plan("1 B: Premium 8 MU, 2 x 8 vCores, 30 instances", 1e9, bus=32_000, shards=2, sql=36, instances=30),
)
#: One step too small each: what gives way first.
TOO_SMALL = (
    replace(PLANS[1], name="100 M on Standard", bus=1000.0),
    replace(PLANS[2], name="1 B on one SQL database of 4 vCores", shards=1, sql=18.0),
    replace(PLANS[2], name="1 B on 10 instances", instances=10),
)


def row(plan: Plan) -> str:
    run = simulate(plan, burst=True)
    drained = simulate(plan, burst=False, outage=True).drained
    first = min(plan.ceilings(), key=plan.ceilings().__getitem__)
    cells = [
        plan.name,
        f"{plan.mean_rate:,.0f} / {BURST * plan.mean_rate:,.0f}",
        *(f"{run.percentile(share):.2f}" for share in (0.50, 0.95, 0.99)),
        *(f"{run.busy[name]:.0%}" for name in ("SQL", "Service Bus", "workers")),
        f"{drained:.1f}",
        f"{plan.ceilings()[first]:,.0f}/s, {first}",
    ]
    return f"| {' | '.join(cells)} |"


def table(plans: tuple[Plan, ...]) -> str:
    """Markdown: seconds for latencies and drain, utilisation during the burst, where it breaks."""
    head = (
        "| a month: what is bought | mean / peak a second | p50 | p95 | p99 | SQL | bus | workers "
        "| drain | full at |"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|---|---|---|", *map(row, plans)])


def report() -> str:
    return f"{table(PLANS)}\n\nOne step too small:\n\n{table(TOO_SMALL)}\n"


if __name__ == "__main__":
    print(report())
