"""Health from check results."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.integrations.health_rules import (
    Vitals,
    health_of,
    is_flapping,
    is_slow,
    observe,
    observe_limit,
    percentile,
    read_vitals,
    vitals_text,
)
from domain.integrations.model import HealthStatus
from tests.worlds.builders import START

H = HealthStatus
OK, FAILED = 100, None


def limited(*minutes: int) -> Vitals:
    """Vitals after twelve good checks and requests to wait at these minutes."""
    vitals = after(*(OK,) * 12)
    for minute in minutes:
        vitals = observe_limit(vitals, START + timedelta(minutes=minute))
    return vitals


def after(*results: int | None) -> Vitals:
    vitals = Vitals()
    for result in results:
        vitals = observe(vitals, result)
    return vitals


@pytest.mark.parametrize(
    ("results", "health"),
    [
        ((), H.Unknown),
        ((OK,), H.Healthy),
        ((FAILED,), H.Degraded),
        ((FAILED, FAILED), H.Degraded),
        ((FAILED, FAILED, FAILED), H.Unhealthy),
        ((OK,) * 12 + (FAILED,), H.Healthy),
        ((OK,) * 12 + (FAILED, FAILED), H.Degraded),
        ((OK,) * 12 + (FAILED,) * 3, H.Unhealthy),
        ((OK, FAILED) * 6, H.Degraded),
        ((OK, FAILED, FAILED) * 4, H.Unhealthy),
        ((FAILED,) * 3 + (OK,) * 12, H.Healthy),
        # Nine in ten, and fewer.
        ((OK,) * 5 + (FAILED,) + (OK,) * 4, H.Healthy),
        ((OK,) * 4 + (FAILED,) + (OK,) * 4, H.Degraded),
        # Half of them, and more than half.
        ((OK, FAILED, FAILED, OK), H.Degraded),
        ((FAILED, OK, FAILED, OK, FAILED), H.Unhealthy),
        # Three checks do not tell a rate, four do.
        ((FAILED, OK, OK), H.Healthy),
        ((FAILED, OK, OK, OK), H.Degraded),
        ((FAILED, FAILED, OK), H.Healthy),
        ((FAILED, FAILED, OK, FAILED), H.Unhealthy),
    ],
)
def test_success_decides(results: tuple[int | None, ...], health: H) -> None:
    assert health_of(after(*results)) == health


def test_three_answers_three_times_slower_than_usual_degrade() -> None:
    usual = (200,) * 20
    assert health_of(after(*usual, 900, 900)) == H.Healthy
    assert health_of(after(*usual, 900, 900, 900)) == H.Degraded


@pytest.mark.parametrize(
    ("usual", "limit"), [(100, 600), (250, 750), (1000, 3000)], ids=["half a second", "both", "three times"]
)
def test_slow_is_more_than_three_times_as_long_and_than_half_a_second_more(usual: int, limit: int) -> None:
    def median_of(milliseconds: int) -> Vitals:
        return Vitals((usual,) * 9 + (milliseconds,) * 3, usual, 12)

    assert health_of(median_of(limit)) == H.Healthy
    assert health_of(median_of(limit + 1)) == H.Degraded


def test_nothing_is_slow_before_twelve_answers_say_what_is_usual() -> None:
    assert not is_slow(Vitals((100,) * 8 + (5000,) * 3, 100, 11))
    assert is_slow(Vitals((100,) * 9 + (5000,) * 3, 100, 12))


@pytest.mark.parametrize(
    ("results", "flaps"),
    [
        ((OK,) * 9 + (FAILED, OK, FAILED, OK, FAILED), True),
        ((OK,) * 8 + (FAILED, OK, FAILED, OK), False),
        (((OK,) * 3 + (FAILED,)) * 3, True),
        ((FAILED, OK, FAILED, OK, FAILED), True),
        ((FAILED, OK, FAILED), False),
    ],
)
def test_three_failures_that_are_a_quarter_of_the_hour_are_flapping(
    results: tuple[int | None, ...], flaps: bool
) -> None:
    assert is_flapping(after(*results)) == flaps


def test_slow_is_measured_against_its_own_past_not_a_fixed_limit() -> None:
    assert health_of(after(*(2000,) * 20)) == H.Healthy
    assert health_of(after(*(10,) * 20, 300, 300, 300)) == H.Healthy  # less than half a second more


def test_a_bad_hour_does_not_become_the_usual() -> None:
    vitals = after(*(100,) * 50, *(5000,) * 12)
    assert vitals.baseline_ms < 500 and health_of(vitals) == H.Degraded


def test_a_new_normal_is_accepted_in_time() -> None:
    assert health_of(after(*(100,) * 50, *(800,) * 300)) == H.Healthy


@given(st.lists(st.one_of(st.none(), st.integers(0, 30_000)), max_size=60))
def test_vitals_survive_their_column_and_never_grow(results: list[int | None]) -> None:
    vitals = after(*results)
    assert read_vitals(vitals_text(vitals)) == vitals
    assert len(vitals.recent) <= 12 and len(vitals_text(vitals)) < 300


@given(st.lists(st.integers(0, 10_000), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[int], share: float) -> None:
    found = percentile(sorted(values), share)
    assert found in values
    assert percentile(sorted(values), 1.0) == max(values)


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.5) is None


@pytest.mark.parametrize(
    ("minutes", "is_long"),
    [((0,), False), ((0, 29), False), ((0, 30), True), ((0, 5, 31, 36), True)],
)
def test_a_request_to_wait_is_long_after_30_minutes(minutes: tuple[int, ...], is_long: bool) -> None:
    vitals = limited(*minutes)
    assert (health_of(vitals), vitals.limited_long) == (H.Degraded, is_long)
    assert read_vitals(vitals_text(vitals)) == vitals


@pytest.mark.parametrize("result", [OK, FAILED])
def test_any_other_result_ends_a_row_of_requests_to_wait(result: int | None) -> None:
    vitals = observe(limited(0, 40), result)
    assert (vitals.limited_since, vitals.limited_long) == (None, False)
    assert "limited" not in vitals_text(vitals), "a version that does not know them can read it"


def test_an_hour_of_requests_to_wait_is_degraded_and_not_unhealthy() -> None:
    assert health_of(limited(*range(0, 120, 5))) == H.Degraded
