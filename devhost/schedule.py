"""Timer schedules: NCRONTAB expressions and TimeSpans, in UTC.

Source: https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Protocol

_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d+):(\d{1,2}):(\d{1,2})(\.\d{1,7})?")


class Schedule(Protocol):
    def after(self, moment: datetime) -> datetime:
        """Return the first occurrence strictly after `moment`."""


class CronSchedule:
    """An NCRONTAB expression of six fields (seconds first) or five. Raises ValueError when it is neither."""

    def __init__(self, expression: str) -> None:
        from croniter import croniter

        self._expression = expression
        # NCRONTAB wants a day to match both the day of month and the day of week; classic cron either.
        self._options = {"second_at_beginning": True, "day_or": False}
        if len(expression.split()) not in (5, 6) or not croniter.is_valid(
            expression, second_at_beginning=True
        ):
            raise ValueError(f"'{expression}' is not an NCRONTAB expression")
        self._croniter = croniter

    def after(self, moment: datetime) -> datetime:
        following: datetime = self._croniter(self._expression, moment, **self._options).get_next(datetime)
        return following


class IntervalSchedule:
    """A fixed interval, counted from the last run."""

    def __init__(self, interval: timedelta) -> None:
        if interval <= timedelta():
            raise ValueError("A timer's interval must be longer than zero")
        self._interval = interval

    def after(self, moment: datetime) -> datetime:
        return moment + self._interval


def parse_schedule(text: str) -> Schedule:
    """Read a schedule from what stands in a timer binding. Raises ValueError."""
    return IntervalSchedule(parse_timespan(text)) if ":" in text else CronSchedule(text)


def parse_timespan(text: str) -> timedelta:
    """Read `hh:mm:ss` or `d.hh:mm:ss`. Raises ValueError.

    As in the real host, hh of 24 or more means days: `24:00:00` is 24 days."""
    match = _TIMESPAN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a TimeSpan such as 00:05:00")
    days, first, second, third = (int(part or 0) for part in match.groups()[:4])
    if first >= 24 and match[1] is None:
        days, first, second, third = first, second, third, 0
    if first > 23 or second > 59 or third > 59:
        raise ValueError(f"'{text}' is not a TimeSpan such as 00:05:00")
    span = timedelta(days=days, hours=first, minutes=second, seconds=third)
    return span + timedelta(seconds=float(match[5] or 0))
