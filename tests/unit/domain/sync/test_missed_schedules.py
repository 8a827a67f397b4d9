"""Occurrences that were missed, for whatever time, are found without going through them."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.sync.model import SyncDirection, SyncType
from domain.sync.schedules import SyncSchedule

NOBODY = UUID(int=0)
NOW = datetime(2026, 3, 1, 12, 7, 30, 500_000, tzinfo=UTC)


def schedule(due: datetime, *, expression: str | None = None, minutes: int | None = None) -> SyncSchedule:
    return SyncSchedule(
        NOBODY,
        NOBODY,
        SyncType.Incremental,
        SyncDirection.Import,
        expression,
        minutes,
        True,
        due,
        due,
        NOBODY,
    )


@pytest.mark.parametrize(
    "made", [{"expression": "0 */15 * * * *"}, {"expression": "0 0 0 29 2 *"}, {"minutes": 15}]
)
def test_a_schedule_that_stood_still_for_forty_years_is_due_at_once(made: dict[str, str]) -> None:
    since = datetime(1986, 1, 1, tzinfo=UTC)
    began = time.process_time()
    due, following = schedule(since, **made).missed_until(NOW)  # type: ignore[arg-type]
    assert since <= due <= NOW < following
    assert time.process_time() - began < 0.5


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["0 0 * * * *", "30 7 */6 * * *", "0 0 2 * * 1-5", "0 0 0 1 * *", "0 */20 9-17 * * *"]),
    st.integers(0, 400_000),
    st.integers(0, 999_999),
)
def test_they_are_those_that_going_through_them_would_find(expression: str, minutes: int, micro: int) -> None:
    now = NOW.replace(microsecond=micro)
    first = schedule(now, expression=expression).after(now - timedelta(minutes=minutes))
    due, following = first, schedule(first, expression=expression).after(first)
    while following <= now:
        due, following = following, schedule(first, expression=expression).after(following)
    assert schedule(first, expression=expression).missed_until(now) == (due, following)


@pytest.mark.parametrize("minutes", [-1, 0, 1, 29, 30, 31, 59, 60, 61, 100_000])
def test_intervals_go_on_from_where_they_were(minutes: int) -> None:
    due = NOW - timedelta(minutes=minutes)
    latest, following = schedule(due, minutes=30).missed_until(NOW)
    assert latest == due + timedelta(minutes=30) * max(0, minutes // 30)
    assert following == latest + timedelta(minutes=30)
