"""The best hour of a sync schedule, on loads whose answer is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from domain.journal.signals import Signal, SubjectKind, Tally
from domain.recommendations.facts import ScheduleFacts
from domain.recommendations.model import Confidence, Operation, Period
from domain.recommendations.sync_rules import better_time, fixed_hour, moved_to, run_days
from domain.sync.schedules import PutSchedule
from tests.worlds.builders import TENANT
from tests.worlds.recommendation_facts import NOW, SUBJECT, figures, schedule, tally

TODAY = NOW.replace(hour=0)
Load = Callable[[int, int], Tally]


def facts(
    load: Load, *, days: int = 28, expression: str | None = "0 0 2 * * *", **fields: Any
) -> ScheduleFacts:
    """`load` of the day (0 is Monday) and the hour."""
    first = TODAY - timedelta(days=days)
    moments = [first + timedelta(hours=n) for n in range(days * 24)]
    hours = [
        Signal(TENANT, SubjectKind.Integration, SUBJECT, at, load(at.weekday(), at.hour)) for at in moments
    ]
    return ScheduleFacts(schedule(expression, **fields), Period(first, TODAY), hours)


def checks(milliseconds: int, failed: int = 0) -> Tally:
    return tally(12 - failed, {"unavailable": failed} if failed else {}, latencies=[milliseconds] * 12)


def test_the_hour_in_which_the_provider_answers_soonest_is_named() -> None:
    advice = better_time(facts(lambda day, hour: checks({2: 1000, 5: 300, 6: 500}.get(hour, 900))))
    assert advice is not None and advice.change is not None
    assert advice.change.operation == Operation.PutSyncSchedule
    assert advice.change.body == {
        "expression": "0 0 5 * * *",
        "syncType": "Incremental",
        "direction": "Import",
        "isEnabled": True,
    }
    PutSchedule.model_validate(dict(advice.change.body))
    seen = figures(advice)
    assert (seen["daysCompared"], seen["daysBetter"]) == (28, 28)
    assert seen["timeToAnswerAtPresent"] == pytest.approx(1000, rel=0.07)
    assert seen["timeToAnswerThen"] == pytest.approx(300, rel=0.07)
    assert seen["timeToAnswerLess"] == pytest.approx(70, abs=5)
    assert advice.confidence == Confidence.High


def test_failures_count_as_time() -> None:
    # as quick, but two of three checks fail at 2: three times as long to an answer
    advice = better_time(
        facts(lambda day, hour: checks(400, failed=8 if hour == 2 else 0 if hour == 7 else 6))
    )
    assert advice is not None and advice.change is not None
    assert advice.change.body["expression"] == "0 0 7 * * *"
    assert figures(advice)["timeToAnswerLess"] == pytest.approx(66.7, abs=1)


def test_a_weekly_schedule_is_judged_by_its_own_day() -> None:
    def load(day: int, hour: int) -> Tally:
        return checks(200 if (day, hour) == (0, 4) or (day != 0 and hour == 5) else 1000)

    advice = better_time(facts(load, days=84, expression="0 30 2 * * 1"))
    assert advice is not None and advice.change is not None
    assert advice.change.body["expression"] == "0 30 4 * * 1"
    assert (figures(advice)["daysCompared"], advice.confidence) == (12, Confidence.Low)


@pytest.mark.parametrize(
    ("load", "options"),
    [
        (lambda day, hour: checks(500), {}),
        (lambda day, hour: checks(400 if hour == 5 else 500), {}),
        (lambda day, hour: checks(100 if hour == 5 and day < 5 else 500), {}),
        (lambda day, hour: checks(100 if hour == 5 else 500), {"days": 9}),
        (lambda day, hour: checks(100 if hour == 5 else 500), {"is_enabled": False}),
        (lambda day, hour: checks(100 if hour == 5 else 500), {"expression": None}),
        (lambda day, hour: tally(5, latencies=[100 if hour == 5 else 500] * 5), {}),
    ],
    ids=["even", "hardly better", "not at weekends", "nine days", "off", "interval", "few checks"],
)
def test_what_is_no_better_for_sure_is_not_advised(load: Load, options: dict[str, Any]) -> None:
    assert better_time(facts(load, **options)) is None


def test_the_best_of_noisy_hours_is_not_advised() -> None:
    for seed in range(40):
        draw = random.Random(seed)
        noisy = facts(lambda day, hour, draw=draw: checks(int(draw.lognormvariate(6, 0.6))), days=28)  # type: ignore[misc]
        assert better_time(noisy) is None, seed


def test_expressions_with_one_hour_are_known_and_moved() -> None:
    assert fixed_hour("0 30 2 * * *") == 2
    assert fixed_hour("30 2 * * 1-5") == 2
    for other in ("0 */30 * * * *", "0 0 2,14 * * *", "0 0 2 1 * *", "0 0 2 * 6 *", "nonsense", None):
        assert fixed_hour(other) is None
    assert moved_to("0 30 2 * * 1-5", 14) == "0 30 14 * * 1-5"
    assert moved_to("30 2 * * *", 5) == "30 5 * * *"


def test_the_days_of_a_schedule_are_those_it_names() -> None:
    week = Period(TODAY - timedelta(days=14), TODAY)
    assert len(run_days(schedule("0 0 0 * * *"), week)) == 14
    assert [run_day.weekday() for run_day in run_days(schedule("0 0 2 * * 1"), week)] == [0, 0]
