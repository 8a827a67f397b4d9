"""Which hours and months a question about usage touches."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.core.errors import ValidationFailed
from domain.journal.usage import UsageCounts, UsagePeriod, start_of_period, usage_range

NOW = datetime(2026, 3, 15, 12, 34, 56, tzinfo=UTC)
HOUR_END, MONTH_END = datetime(2026, 3, 15, 13, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "since", "until", "expected"),
    [
        (UsagePeriod.Hour, None, None, (datetime(2026, 3, 14, 13, tzinfo=UTC), HOUR_END)),
        (UsagePeriod.Month, None, None, (datetime(2025, 4, 1, tzinfo=UTC), MONTH_END)),
        (
            UsagePeriod.Month,
            None,
            datetime(2026, 12, 31, 23, tzinfo=UTC),
            (datetime(2026, 1, 1, tzinfo=UTC), ...),
        ),
        (
            UsagePeriod.Hour,
            datetime(2026, 3, 1, 0, 59, tzinfo=UTC),
            None,
            (datetime(2026, 3, 1, tzinfo=UTC), HOUR_END),
        ),
        (
            UsagePeriod.Month,
            datetime(2024, 2, 29, tzinfo=UTC),
            None,
            (datetime(2024, 2, 1, tzinfo=UTC), MONTH_END),
        ),
        (
            UsagePeriod.Hour,
            None,
            datetime(1970, 1, 1, 1, tzinfo=UTC),
            (datetime(1970, 1, 1, tzinfo=UTC), ...),
        ),
        (UsagePeriod.Month, None, datetime(1970, 3, 1, tzinfo=UTC), (datetime(1970, 1, 1, tzinfo=UTC), ...)),
    ],
)
def test_a_range_begins_with_the_period_that_it_touches(
    period: UsagePeriod, since: datetime | None, until: datetime | None, expected: tuple[datetime, object]
) -> None:
    end = until if expected[1] is ... else expected[1]
    assert usage_range(period, since, until, NOW) == (expected[0], end)


@pytest.mark.parametrize(
    ("since", "until", "pointer"),
    [
        (NOW, datetime(2026, 3, 15, 12, tzinfo=UTC), "/from"),
        (datetime(1969, 12, 31, tzinfo=UTC), None, "/from"),
        (None, datetime(9999, 1, 1, tzinfo=UTC), "/to"),
    ],
)
def test_a_range_that_is_empty_or_out_of_reach_is_refused(
    since: datetime | None, until: datetime | None, pointer: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        usage_range(UsagePeriod.Hour, since, until, NOW)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_periods_begin_in_utc_and_counts_add_up_by_kind() -> None:
    assert start_of_period(NOW, UsagePeriod.Hour) == datetime(2026, 3, 15, 12, tzinfo=UTC)
    assert start_of_period(NOW, UsagePeriod.Month) == datetime(2026, 3, 1, tzinfo=UTC)
    assert UsageCounts(1, 2, 3, 4) + UsageCounts(10, 20, 30, 40) == UsageCounts(11, 22, 33, 44)
