"""Predictions on series whose truth is known: noise, habits, and declines with a moment at which they end."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from math import pi, sin
from statistics import median
from typing import Any

import pytest

from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.recommendations.model import Confidence
from domain.recommendations.prediction import UNHEALTHY_RATE, failure_predicted, forecast, rise, trend_of
from tests.worlds.recommendation_facts import CHECKS, NOW, declining, figures, integration_facts, tally


def series(probability: Callable[[float], float], seed: int, hours: int = 9 * 24) -> dict[datetime, float]:
    """Draw the share of failures in each hour; `probability` takes hours from now."""
    draw = random.Random(seed)
    shares: dict[datetime, float] = {}
    for n in range(1, hours + 1):
        p = min(1.0, max(0.0, probability(0.5 - n)))
        shares[NOW - timedelta(hours=n)] = sum(draw.random() < p for _ in range(CHECKS)) / CHECKS
    return shares


# -- the statistics ---------------------------------------------------------------------------------------


def test_a_straight_line_is_its_own_trend() -> None:
    found = trend_of([(float(x), 3.0 + 2.0 * x) for x in range(10)])
    assert (found.slope, found.low, found.high, found.error) == (2, 2, 2, 0)
    assert found.at(20) == 43


def test_a_third_of_nonsense_does_not_move_the_trend() -> None:
    points = [(float(x), 1000.0 if x % 4 == 1 else 2.0 * x) for x in range(20)]
    assert trend_of(points).slope == pytest.approx(2, abs=0.5)


def test_the_order_of_values_tells_a_rise_from_chance() -> None:
    # Kendall's S of 10 rising values is 45, its variance 125
    assert rise([float(x) for x in range(10)]) == pytest.approx(44 / 125**0.5)
    assert rise([float(-x) for x in range(10)]) == pytest.approx(-44 / 125**0.5)
    assert rise([1.0] * 10) == 0
    # all but two tied: the variance without ties is 125, their 8 take 8*7*21/18 of it
    assert rise([0.0] * 8 + [1.0, 2.0]) == pytest.approx(16 / (125 - 8 * 7 * 21 / 18) ** 0.5)


# -- noise and habits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2, 0.4])
def test_noise_is_not_predicted_from(share: float) -> None:
    alarms = [forecast(series(lambda x: share, seed), NOW, UNHEALTHY_RATE) for seed in range(300)]
    assert sum(alarm is not None for alarm in alarms) <= 3


@pytest.mark.parametrize("phase", range(0, 24, 3))
def test_a_daily_habit_is_not_predicted_from(phase: int) -> None:
    def busy(x: float) -> float:
        return 0.35 * max(0.0, sin(2 * pi * (x + phase) / 24))

    alarms = [forecast(series(busy, seed), NOW, UNHEALTHY_RATE) for seed in range(40)]
    assert sum(alarm is not None for alarm in alarms) <= 1


def test_a_bad_hour_that_is_over_is_not_predicted_from() -> None:
    shares = {**series(lambda x: 0.01, 1), NOW - timedelta(hours=2): 1.0, NOW - timedelta(hours=3): 1.0}
    assert forecast(shares, NOW, UNHEALTHY_RATE) is None


def test_a_recovery_is_not_predicted_from() -> None:
    assert forecast(series(lambda x: min(0.45, -x * 0.02), 2), NOW, UNHEALTHY_RATE) is None


# -- declines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("since", "slope"), [(12, 0.03), (18, 0.02), (24, 0.015), (36, 0.01)], ids=str)
def test_a_decline_is_predicted_with_the_moment_at_which_it_ends(since: int, slope: float) -> None:
    truth = (UNHEALTHY_RATE - 0.01) / slope - since
    found = [
        prediction
        for seed in range(100)
        if (
            prediction := forecast(
                series(lambda x: 0.01 + slope * max(0.0, x + since), seed), NOW, UNHEALTHY_RATE
            )
        )
    ]
    assert len(found) >= 85
    assert median(prediction.lead for prediction in found) == pytest.approx(truth, rel=0.2)
    within = [
        prediction for prediction in found if prediction.earliest <= truth <= (prediction.latest or 1e9)
    ]
    assert len(within) >= 0.75 * len(found)


def test_a_slow_decline_that_does_not_get_there_in_three_days_is_not_predicted() -> None:
    found = [
        forecast(series(lambda x: 0.05 + 0.001 * max(0.0, x + 48), seed), NOW, UNHEALTHY_RATE)
        for seed in range(50)
    ]
    assert sum(prediction is not None for prediction in found) <= 2


# -- advice -----------------------------------------------------------------------------------------------


def test_a_decline_is_told_with_its_evidence_and_lead_time() -> None:
    advice = failure_predicted(integration_facts([tally(CHECKS)] * 24 * 7 + declining()))
    assert advice is not None and advice.change is None
    seen = figures(advice)
    # a twelfth more every 8 hours: 0.0104 an hour; from about 45 % to half
    assert seen["risePerHour"] == pytest.approx(1.04, rel=0.15)
    assert seen["threshold"] == 50
    assert 3 <= seen["leadTime"] <= 16
    assert seen["leadTimeEarliest"] <= seen["leadTime"] <= seen["leadTimeLatest"]
    assert advice.confidence in (Confidence.Medium, Confidence.High)


@pytest.mark.parametrize(
    "fields",
    [{"health_status": HealthStatus.Unhealthy}, {"status": IntegrationStatus.Suspended}],
    ids=["fails already", "not active"],
)
def test_what_has_failed_is_not_predicted(fields: dict[str, Any]) -> None:
    assert failure_predicted(integration_facts(declining(), **fields)) is None


def test_ten_failures_are_the_least() -> None:
    few = [tally(CHECKS)] * 39 + [tally(CHECKS - 1, {"unavailable": 1})] * 9
    assert failure_predicted(integration_facts(few)) is None


def test_hours_with_few_checks_are_not_counted() -> None:
    sparse = [tally(5 - min(5, n // 8), {"unavailable": min(5, n // 8)}) for n in range(48)]
    assert failure_predicted(integration_facts(sparse)) is None


def test_answers_that_take_ever_longer_are_told_before_they_time_out() -> None:
    # from half a second, a second more every two hours: 24.5 s now, and 25 s is where a check ends
    slow = [tally(CHECKS, latencies=[500 + 500 * n] * CHECKS) for n in range(44)]
    advice = failure_predicted(integration_facts(slow))
    assert advice is not None
    seen = figures(advice)
    assert seen["threshold"] == 25_000
    assert seen["risePerHour"] == pytest.approx(500, rel=0.15)
    assert 0 < seen["leadTime"] < 12


def test_answers_that_vary_are_not_told() -> None:
    draw = random.Random(3)
    noisy = [tally(CHECKS, latencies=[draw.randint(300, 2_000) for _ in range(CHECKS)]) for _ in range(48)]
    assert failure_predicted(integration_facts(noisy)) is None
