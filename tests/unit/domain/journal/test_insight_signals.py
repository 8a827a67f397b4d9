"""Sketches and signals: what is counted, and what may be read of it."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.errors import ValidationFailed
from domain.integrations.health_record import check_tally
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, range_of, start_of
from domain.monitoring.signal_series import points_of
from domain.webhooks.model import Attempt, AttemptOutcome
from domain.webhooks.notices import error_class

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
DURATIONS = st.lists(st.integers(1, 300_000), min_size=1, max_size=200)


@given(DURATIONS, st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_off_by_seven_percent_at_most(values: list[int], share: float) -> None:
    exact = sorted(values)[max(1, -(-int(share * 1000) * len(values) // 1000)) - 1]
    found = Sketch.of(values).percentile(share)
    assert found is not None
    assert abs(found - exact) <= max(1, 0.0751 * exact)


@given(DURATIONS, DURATIONS)
def test_adding_sketches_is_counting_everything_together(one: list[int], other: list[int]) -> None:
    added, together = Sketch.of(one) + Sketch.of(other), Sketch.of(one + other)
    assert added.to_json() == together.to_json()


def test_a_sketch_survives_being_stored_and_stays_small() -> None:
    values = [random.Random(1).randint(1, 300_000) for _ in range(10_000)]
    text = Sketch.of(values).to_json()
    assert Sketch.from_json(text).percentile(0.5) == Sketch.of(values).percentile(0.5)
    assert len(text) < 1_000
    assert Sketch().percentile(0.5) is None


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (None, "timeout: no answer in 30 s", "timeout"),
        (None, "connect: refused", "connect"),
        (None, None, "unknown"),
        (429, "The receiver answered 429.", "throttled"),
        (401, "The receiver answered 401.", "unauthorized"),
        (404, "The receiver answered 404.", "4xx"),
        (503, "The receiver answered 503.", "5xx"),
        (302, "The receiver answered 302.", "3xx"),
    ],
)
def test_failures_are_counted_by_class(status: int | None, message: str | None, expected: str) -> None:
    assert error_class(Attempt(1, AT, 5, AttemptOutcome.Failed, status, None, message)) == expected


def test_a_failed_check_names_its_kind() -> None:
    assert (check_tally(12, None).succeeded, dict(check_tally(12, "timeout").errors)) == (1, {"timeout": 1})


def test_hours_without_a_signal_are_zero_and_a_day_holds_its_hours() -> None:
    def signal(hour: int) -> Signal:
        return Signal(
            UUID(int=1), SubjectKind.Webhook, UUID(int=2), AT.replace(hour=hour, minute=0), Tally(1, 1)
        )

    since = start_of(AT, "hour") - timedelta(hours=2)
    hourly = points_of([signal(7), signal(9)], since, AT, "hour")
    assert [(point.start.hour, point.tally.total) for point in hourly] == [(7, 1), (8, 0), (9, 1)]
    daily = points_of([signal(7), signal(9)], start_of(AT, "day"), AT, "day")
    assert [point.tally.total for point in daily] == [2]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (AT.replace(minute=0), AT.replace(minute=0)),
        (AT, AT - timedelta(1)),
        (AT - timedelta(days=93), AT),
        (None, datetime.min.replace(tzinfo=UTC)),
        (None, datetime.max.replace(tzinfo=UTC)),
        (datetime.max.replace(tzinfo=UTC) - timedelta(days=1), datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_range_that_is_empty_too_long_or_out_of_reach_is_refused(
    since: datetime | None, until: datetime
) -> None:
    for by in ("hour", "day"):
        with pytest.raises(ValidationFailed):
            range_of(by, since, until if by == "hour" else start_of(until, by), AT)
