"""Recurrence rules as Microsoft Graph has them, and those that it cannot express."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.providers.contract import ProviderFailure
from infra.providers.outlook_calendar.recurrence import graph_recurrence

#: A Thursday.
START = datetime(2026, 3, 5, 18, tzinfo=UTC)
FROM = {"startDate": "2026-03-05"}
NO_END = {"type": "noEnd", **FROM}


@pytest.mark.parametrize(
    ("rule", "pattern", "span"),
    [
        ("FREQ=DAILY;INTERVAL=3", {"type": "daily", "interval": 3}, NO_END),
        (
            "FREQ=DAILY;BYDAY=MO,FR;COUNT=4",
            {"type": "weekly", "interval": 1, "daysOfWeek": ["monday", "friday"], "firstDayOfWeek": "monday"},
            {"type": "numbered", **FROM, "numberOfOccurrences": 4},
        ),
        (
            "FREQ=WEEKLY",
            {"type": "weekly", "interval": 1, "daysOfWeek": ["thursday"], "firstDayOfWeek": "monday"},
            NO_END,
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=TH,SU;WKST=SU",
            {
                "type": "weekly",
                "interval": 2,
                "daysOfWeek": ["thursday", "sunday"],
                "firstDayOfWeek": "sunday",
            },
            NO_END,
        ),
        ("FREQ=MONTHLY", {"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 5}, NO_END),
        ("FREQ=MONTHLY;BYMONTHDAY=28", {"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 28}, NO_END),
        (
            "FREQ=MONTHLY;BYDAY=1TH",
            {"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["thursday"], "index": "first"},
            NO_END,
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
            {
                "type": "relativeMonthly",
                "interval": 1,
                "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
                "index": "last",
            },
            NO_END,
        ),
        (
            "FREQ=YEARLY",
            {"type": "absoluteYearly", "interval": 1, "dayOfMonth": 5, "month": 3},
            NO_END,
        ),
        (
            "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH",
            {
                "type": "relativeYearly",
                "interval": 1,
                "daysOfWeek": ["thursday"],
                "index": "fourth",
                "month": 11,
            },
            NO_END,
        ),
        (
            "FREQ=DAILY;UNTIL=20260310T180000Z",
            {"type": "daily", "interval": 1},
            {"type": "endDate", **FROM, "endDate": "2026-03-10"},
        ),
        # That day's event would begin after the end.
        (
            "FREQ=DAILY;UNTIL=20260310T175959Z",
            {"type": "daily", "interval": 1},
            {"type": "endDate", **FROM, "endDate": "2026-03-09"},
        ),
        (
            "FREQ=DAILY;UNTIL=20260310",
            {"type": "daily", "interval": 1},
            {"type": "endDate", **FROM, "endDate": "2026-03-10"},
        ),
    ],
)
def test_a_rule_becomes_a_pattern_and_a_range(
    rule: str, pattern: dict[str, Any], span: dict[str, Any]
) -> None:
    assert graph_recurrence([f"RRULE:{rule}"], START, ZoneInfo("UTC")) == {"pattern": pattern, "range": span}


def test_days_are_those_of_the_zone_that_the_series_is_meant_in() -> None:
    late = datetime(2026, 3, 5, 23, 30, tzinfo=UTC)
    made = graph_recurrence(["RRULE:FREQ=WEEKLY;UNTIL=20260312T233000Z"], late, ZoneInfo("Europe/Berlin"))
    assert made is not None
    assert made["pattern"]["daysOfWeek"] == ["friday"]
    assert made["range"] == {"type": "endDate", "startDate": "2026-03-06", "endDate": "2026-03-13"}


def test_whole_days_repeat_too_and_no_rule_is_none() -> None:
    made = graph_recurrence(["RRULE:FREQ=YEARLY"], date(2026, 12, 24), ZoneInfo("UTC"))
    assert made is not None
    assert made["pattern"]["month"] == 12
    assert graph_recurrence([], START, ZoneInfo("UTC")) is None


@pytest.mark.parametrize(
    "rules",
    [
        ["RRULE:FREQ=HOURLY"],
        ["RRULE:FREQ=WEEKLY;BYHOUR=9"],
        ["RRULE:FREQ=WEEKLY;BYDAY=1MO"],
        ["RRULE:FREQ=DAILY;INTERVAL=2;BYDAY=MO"],
        ["RRULE:FREQ=MONTHLY;BYMONTHDAY=31"],
        ["RRULE:FREQ=MONTHLY;BYMONTHDAY=-1"],
        ["RRULE:FREQ=MONTHLY;BYMONTHDAY=1,15"],
        ["RRULE:FREQ=MONTHLY;BYDAY=5MO"],
        ["RRULE:FREQ=MONTHLY;BYDAY=1MO,1TU"],
        ["RRULE:FREQ=MONTHLY;BYSETPOS=1"],
        ["RRULE:FREQ=MONTHLY;BYDAY=MO"],
        ["RRULE:FREQ=MONTHLY;BYDAY=MO;BYMONTHDAY=13"],
        ["RRULE:FREQ=YEARLY;BYDAY=1MO"],
        ["RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29"],
        ["RRULE:FREQ=YEARLY;BYMONTH=1,7"],
        ["RRULE:FREQ=YEARLY;BYWEEKNO=20"],
        ["RRULE:FREQ=WEEKLY;COUNT=2;UNTIL=20260401"],
        ["RRULE:FREQ=WEEKLY", "EXDATE:20260312T180000Z"],
        ["RRULE:FREQ=WEEKLY", "RRULE:FREQ=DAILY"],
        ["RDATE:20260312T180000Z"],
        ["RRULE:nonsense"],
        [f"RRULE:FREQ=WEEKLY;BYDAY={','.join(['MO'] * 350)}"],
    ],
)
def test_what_graph_cannot_express_is_refused_and_not_left_out(rules: list[str]) -> None:
    with pytest.raises(ProviderFailure) as refused:
        graph_recurrence(rules, START, ZoneInfo("UTC"))
    assert refused.value.kind == "rejected"


def test_a_rule_without_end_is_refused_before_it_is_read() -> None:
    began = time.process_time()
    with pytest.raises(ProviderFailure, match="a rule of more than 1,000 characters"):
        graph_recurrence([f"RRULE:FREQ=WEEKLY;BYDAY={'MO,' * 80_000}MO"], START, ZoneInfo("UTC"))
    assert time.process_time() - began < 0.2
