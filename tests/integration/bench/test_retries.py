"""Adaptive retry over simulated and documented outages, as docs/delivery.md publishes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import sqrt
from statistics import fmean

import pytest

from bench.harness import ROOT
from bench.retries import PATTERNS, Score, compared, row

DAY = timedelta(hours=24)


def within_chance(fixed: Score, adaptive: Score) -> bool:
    """No more undelivered than by the schedule, but for three standard deviations of the difference."""
    return adaptive.undelivered <= fixed.undelivered + 3 * sqrt(fixed.undelivered + adaptive.undelivered)


#: Fewer runs than the documented table has, which take minutes; of the others 10 at most.
RUNS = {"flapping": 4, "flapping slowly": 4, "bursts, 429, deployments": 4}


@pytest.fixture(scope="module")
def scores() -> dict[str, tuple[Score, Score]]:
    return {
        name: compared(replace(pattern, runs=min(pattern.runs, RUNS.get(name, 10))))
        for name, pattern in PATTERNS.items()
    }


def test_the_documented_rows_are_what_it_prints(scores: dict[str, tuple[Score, Score]]) -> None:
    """Those of the patterns that are run as often here."""
    page = (ROOT / "docs" / "delivery.md").read_text()
    for name, pair in scores.items():
        if PATTERNS[name].runs <= RUNS.get(name, 10):
            assert f"\n{row(name, *pair)}\n" in page


def test_no_documented_pattern_loses_more_than_a_tenth() -> None:
    page = (ROOT / "docs" / "delivery.md").read_text()
    rows = {
        cells[1].strip(): cells
        for cells in (line.split("|") for line in page.splitlines())
        if len(cells) == 11
    }
    shares = [[float(rows[name][column]) for column in (4, 7)] for name in PATTERNS]
    assert max(max(share) for share in shares) <= 1.1
    attempts, seconds = (fmean(column) for column in zip(*shares, strict=True))
    assert attempts < 0.85
    assert seconds < 0.7


def delivered_seconds(score: Score) -> float:
    arrived = score.met - score.undelivered
    return (score.seconds * score.met - DAY.total_seconds() * score.undelivered) / arrived


def test_it_loses_at_most_a_tenth_on_any_pattern(scores: dict[str, tuple[Score, Score]]) -> None:
    """Where few are never delivered, and each counts as a day, some runs tell no more than chance; the page has the
    shares over many."""
    for name, (fixed, adaptive) in scores.items():
        assert adaptive.attempts <= fixed.attempts * 1.1, name
        assert within_chance(fixed, adaptive), name
        if name in RUNS:
            assert delivered_seconds(adaptive) <= delivered_seconds(fixed) * 1.1, name
        else:
            assert adaptive.seconds <= fixed.seconds * 1.1, name


def test_refusals_of_a_burst_teach_nothing(scores: dict[str, tuple[Score, Score]]) -> None:
    for name in ("bursts, 429", "bursts, 429 with Retry-After"):
        fixed, adaptive = scores[name]
        assert fixed.met > 1000
        assert adaptive == fixed


def test_a_receiver_that_says_when_is_asked_less_often(scores: dict[str, tuple[Score, Score]]) -> None:
    told, untold = scores["bursts, 429 with Retry-After"][1], scores["bursts, 429"][1]
    assert told.attempts < untold.attempts


def test_in_the_mean_it_wins_on_attempts_and_on_time(scores: dict[str, tuple[Score, Score]]) -> None:
    """Each pattern counts the same: the mean of the ratios, so that long outages do not decide alone."""
    pairs = scores.values()
    assert fmean(adaptive.attempts / fixed.attempts for fixed, adaptive in pairs) < 0.85
    assert fmean(adaptive.seconds / fixed.seconds for fixed, adaptive in pairs) < 0.7
