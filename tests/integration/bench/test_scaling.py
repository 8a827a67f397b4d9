"""The scaling simulation: its queue against known formulas, its table against the documentation."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from bench.harness import ROOT
from bench.scaling import BURST, PLANS, TOO_SMALL, Servers, row, simulate


def erlang_c_wait(arrival: float, service: float, servers: int) -> float:
    """Mean wait in an M/M/c queue (Erlang C)."""
    load = arrival / service
    tail = load**servers / math.factorial(servers) * servers / (servers - load)
    waiting = tail / (sum(load**n / math.factorial(n) for n in range(servers)) + tail)
    return waiting / (servers * service - arrival)


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.5), (1, 0.8), (4, 0.7), (10, 0.85)])
def test_waits_are_those_of_erlang_c(servers: int, utilisation: float) -> None:
    random, queue, now, waited, jobs = Random(7), Servers(servers), 0.0, 0.0, 150_000
    arrival = servers * utilisation
    for _ in range(jobs):
        now += random.expovariate(arrival)
        seconds = random.expovariate(1.0)
        waited += queue.serve(now, seconds) - seconds - now
    assert waited / jobs == pytest.approx(erlang_c_wait(arrival, 1.0, servers), rel=0.08)


def test_constant_service_waits_half_as_long__pollaczek_khinchine() -> None:
    random, queue, now, waited, jobs = Random(7), Servers(1), 0.0, 0.0, 150_000
    for _ in range(jobs):
        now += random.expovariate(0.8)
        waited += queue.serve(now, 1.0) - 1.0 - now
    assert waited / jobs == pytest.approx(0.8 / (2 * (1 - 0.8)), rel=0.08)


def test_a_closed_station_starts_nothing_until_it_opens() -> None:
    queue = Servers(2, closed=(10.0, 20.0))
    assert [queue.serve(at, 1.0) for at in (5.0, 12.0, 13.0, 14.0)] == [6.0, 21.0, 21.0, 22.0]


def test_busy_in_the_window_is_what_falls_within_it() -> None:
    queue = Servers(1, window=(10.0, 20.0))
    queue.serve(8.0, 4.0)
    queue.serve(19.0, 5.0)
    assert queue.utilisation() == pytest.approx(0.3)


@pytest.mark.parametrize(("factor", "holds"), [(1.3, True), (0.7, False)])
def test_the_computed_ceiling_is_where_the_simulation_breaks(factor: float, holds: bool) -> None:
    peak = PLANS[0].mean_rate * BURST
    plan = replace(PLANS[0], bus=peak * factor * 6 / 0.98, shards=1, sql=9.0)
    assert min(plan.ceilings().values()) == pytest.approx(peak * factor)
    assert (simulate(plan, burst=True).percentile(0.99) < 3) is holds


def test_the_documented_rows_are_what_it_prints() -> None:
    """The two that take a moment to run; the others take longer and are printed by the script."""
    page = (ROOT / "docs" / "scaling.md").read_text()
    for plan in (PLANS[0], TOO_SMALL[0]):
        assert row(plan) in page
    assert all(plan.name in page for plan in (*PLANS, *TOO_SMALL))
