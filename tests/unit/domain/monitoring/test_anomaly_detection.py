"""What the detector finds, what it leaves, and how it explains itself (section 10.2)."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import anomalies_public
from bench.anomalies_scored import Labelled, as_watched, evaluate, in_hindsight, runs
from domain.monitoring.anomalies.detection import WATCHED, HourValue, unusual_hours
from domain.monitoring.anomalies.model import Direction, Metric

HOURS = 28 * 24


def daily(level: float, seed: int = 1) -> list[HourValue | None]:
    """Four weeks of traffic with a rhythm and Poisson-like noise."""
    random = Random(seed)
    counts = [
        max(0, round(random.gauss(mean, math.sqrt(mean))))
        for mean in (level * (1 + 0.6 * math.sin(hour * math.pi / 12)) for hour in range(HOURS))
    ]
    return [HourValue(count, count) for count in counts]


def nightly(runs: int, last: float, seed: int) -> list[HourValue | None]:
    """Return a sync at three in the morning, less busy at weekends, whose last run has `last` times its records."""
    random = Random(seed)
    series: list[HourValue | None] = [None] * ((runs - 1) * 24 + 4)
    for day in range(runs):
        usual = 10_000 * (0.3 if day % 7 >= 5 else 1) * math.exp(random.gauss(0, 0.1))
        series[day * 24 + 3] = HourValue(round(usual * (last if day == runs - 1 else 1)), 1)
    return series


@pytest.mark.parametrize("runs", [14, 20, 28])
def test_a_sync_that_runs_once_a_day_is_watched__BR_DS_01(runs: int) -> None:
    def unusual(last: float) -> list[Direction]:
        found = [unusual_hours(Metric.SyncVolume, nightly(runs, last, seed)) for seed in range(100)]
        return [hour.direction for each in found for hour in each]

    assert unusual(1) == []
    assert unusual(0).count(Direction.Below) >= 95
    assert unusual(10).count(Direction.Above) >= 95


def test_a_silent_hour_by_day_is_unusual_and_by_night_it_is_not() -> None:
    series = daily(40)
    noon, night = HOURS - 18, HOURS - 6
    for index in (noon, night):
        series[index] = HourValue(0, 0)
    assert series[noon - 168].value > 40  # type: ignore[union-attr]
    found = unusual_hours(Metric.Traffic, [*series[:night], *[HourValue(14, 14)] * 6], since=HOURS - 20)
    assert [(hour.index, hour.direction) for hour in found] == [(noon, Direction.Below)]


def test_what_is_expected_is_told_with_what_was_seen() -> None:
    series = daily(400)
    series[-1] = HourValue(2_000, 2_000)
    [found] = unusual_hours(Metric.Traffic, series, since=HOURS - 1)
    expected = found.expected
    assert found.observed == 2_000
    assert expected.low < expected.typical < expected.high < 700
    assert found.score > 20


def test_a_restless_series_needs_more_to_be_unusual() -> None:
    random = Random(3)
    restless = [HourValue(n := round(random.lognormvariate(5, 0.6)), n) for _ in range(HOURS)]
    steady = daily(150)
    restless[-1] = steady[-1] = HourValue(420, 420)
    assert unusual_hours(Metric.Traffic, steady, since=HOURS - 1)
    assert not unusual_hours(Metric.Traffic, restless, since=HOURS - 1)


def test_few_failures_of_few_attempts_are_not_unusual() -> None:
    series: list[HourValue | None] = [HourValue(0.0, 12)] * (HOURS - 1)
    assert not unusual_hours(Metric.ErrorRate, [*series, HourValue(3 / 12, 12)])
    assert not unusual_hours(Metric.ErrorRate, [*series, HourValue(1.0, 4)])
    [found] = unusual_hours(Metric.ErrorRate, [*series, HourValue(10 / 12, 12)])
    assert (found.index, found.direction) == (HOURS - 1, Direction.Above)


def test_fewer_errors_and_faster_answers_are_good_news() -> None:
    errors: list[HourValue | None] = [HourValue(0.5, 200)] * (HOURS - 1)
    assert not unusual_hours(Metric.ErrorRate, [*errors, HourValue(0.0, 200)])
    slow: list[HourValue | None] = [HourValue(2_000, 200)] * (HOURS - 1)
    assert not unusual_hours(Metric.Latency, [*slow, HourValue(20, 200)])
    assert unusual_hours(Metric.Latency, [*slow, HourValue(9_000, 200)])


def test_a_young_series_says_nothing() -> None:
    """Its first weekend would be unusual beside its first weekdays."""
    week: list[HourValue | None] = [HourValue(100, 100)] * 168
    month_of_silence: list[HourValue | None] = [None] * 500
    outlier = HourValue(5_000, 5_000)
    assert unusual_hours(Metric.Traffic, [*month_of_silence, *week[1:], outlier]) == []
    assert unusual_hours(Metric.Traffic, [*month_of_silence, *week, outlier])


def test_with_one_week_an_hour_has_to_be_unusual_beside_it_and_beside_other_days() -> None:
    series = daily(200)[: 14 * 24]
    for index, hour in enumerate(series):
        if hour is not None and index // 24 % 7 >= 5:
            series[index] = HourValue(hour.value // 4, hour.weight // 4)
    series[3 * 24 + 6] = HourValue(0, 0)
    assert unusual_hours(Metric.Traffic, series, since=168) == [], (
        "a second weekend, and the week after an outage"
    )
    series[9 * 24 + 6] = HourValue(0, 0)
    assert [hour.index for hour in unusual_hours(Metric.Traffic, series, since=168)] == [9 * 24 + 6]


def test_days_stand_in_while_there_are_too_few_weeks() -> None:
    ten_days = daily(200)[: 24 * 10]
    ten_days[-1] = HourValue(3_000, 3_000)
    assert [hour.index for hour in unusual_hours(Metric.Traffic, ten_days)] == [24 * 10 - 1]


def test_after_an_outage_the_same_hours_two_weeks_on_are_usual() -> None:
    """Of two weeks an outage is one, and their mean is what neither of them is."""
    three_weeks = daily(200)[: 21 * 24]
    for index in range(8 * 24 + 6, 8 * 24 + 16):
        three_weeks[index] = HourValue(0, 0)
    assert unusual_hours(Metric.Traffic, three_weeks, since=14 * 24) == []
    three_weeks[15 * 24 + 10] = HourValue(0, 0)
    assert [hour.index for hour in unusual_hours(Metric.Traffic, three_weeks, since=14 * 24)] == [
        15 * 24 + 10
    ]


def test_other_days_do_not_make_a_quiet_weekend_unusual() -> None:
    """Two weeks that agree outvote them."""
    three_weeks = daily(200)[: 21 * 24]
    for index, hour in enumerate(three_weeks):
        if hour is not None and index // 24 % 7 >= 5:
            three_weeks[index] = HourValue(hour.value // 4, hour.weight // 4)
    assert unusual_hours(Metric.Traffic, three_weeks, since=19 * 24) == []


@pytest.mark.parametrize("metric", sorted({metric for metrics in WATCHED.values() for metric in metrics}))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_comes_the_explanation_is_in_order(metric: Metric, data: st.DataObject) -> None:
    value = st.floats(0, 1) if metric in (Metric.ErrorRate, Metric.Refusals) else st.floats(0, 1e9)
    samples = st.one_of(st.none(), st.builds(HourValue, value, st.floats(0, 1e6)))
    series = data.draw(st.lists(samples, min_size=0, max_size=40)) * 12
    for hour in unusual_hours(metric, series):
        assert hour.score >= 6
        assert hour.expected.low <= hour.expected.typical <= hour.expected.high
        outside = hour.observed > hour.expected.high or hour.observed < hour.expected.low
        assert outside, "an unusual hour is not within what was expected"


def test_unusual_hours_in_a_row_are_one_report() -> None:
    assert runs([3, 4, 6, 9, 20]) == [range(3, 7), range(9, 10), range(20, 21)]


def test_watching_knows_only_what_came_before() -> None:
    """An hour in the first days is found in hindsight and not by who watches."""
    samples: list[HourValue | None] = [HourValue(100, 100)] * (12 * 24)
    for early_or_late in (3 * 24, 11 * 24):
        samples[early_or_late] = HourValue(900, 900)
    assert in_hindsight(Metric.Traffic, samples) == [3 * 24, 11 * 24]
    assert as_watched(Metric.Traffic, samples) == [11 * 24]


def test_precision_is_of_reports_and_recall_of_labels() -> None:
    samples: list[HourValue | None] = [HourValue(100, 100)] * 48
    series = Labelled(Metric.Traffic, samples, [range(4, 8), range(20, 22)])
    score = evaluate([series], lambda metric, samples: [5, 7, 30, 40])
    assert (score.reported, score.right, score.labels, score.found) == (3, 1, 2, 1)
    assert (score.precision, score.recall) == (1 / 3, 1 / 2)


def test_a_public_series_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anomalies_public, "files", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install --no-deps river==0\.26\.1"):
        anomalies_public.installed()
