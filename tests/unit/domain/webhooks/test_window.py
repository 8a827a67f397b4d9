"""How many posts one endpoint may have in flight."""

from __future__ import annotations

import pytest

from domain.webhooks.window import FIRST_WINDOW, EndpointWindow


def answered_in_rounds(window: EndpointWindow, rounds: int) -> list[int]:
    """The limits after rounds in each of which the whole window is in flight and answered."""
    limits = []
    for _ in range(rounds):
        many = window.limit(0.0)
        for left in range(many, 0, -1):
            window.answered(max(left, many))
        limits.append(window.limit(0.0))
    return limits


def test_a_window_in_use_doubles_with_each_round_of_answers_up_to_the_most() -> None:
    assert answered_in_rounds(EndpointWindow(1_000), 6) == [64, 128, 256, 512, 1_000, 1_000]


def test_an_endpoint_that_answers_after_a_second_has_500_posts_in_flight_within_10_seconds() -> None:
    assert answered_in_rounds(EndpointWindow(1_000), 9)[-1] >= 500


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = EndpointWindow(1_000)
    for _ in range(10_000):
        window.answered(3)
    assert window.limit(0.0) == FIRST_WINDOW
    assert window.is_untouched


def test_time_outs_of_one_flight_halve_a_window_once_while_others_of_it_are_answered() -> None:
    window = EndpointWindow(1_000, size=512)
    for _ in range(5):
        window.timed_out(began=0.0, now=30.0)
        window.answered(1)
    assert window.limit(0.0) == 256


def test_an_endpoint_whose_posts_all_time_out_has_one_post_at_a_time() -> None:
    window = EndpointWindow(1_000)
    for number in range(FIRST_WINDOW):
        window.timed_out(began=number / 20, now=30 + number / 20)
    assert window.limit(0.0) == 1
    for _ in range(100):
        window.timed_out(began=100.0, now=130.0)
    assert window.limit(0.0) == 1


def test_after_an_outage_a_window_is_soon_half_as_wide_as_before_and_then_widens_slowly() -> None:
    window = EndpointWindow(1_000, size=512)
    for number in range(600):
        window.timed_out(began=0.0, now=30.0 + number)
    assert window.limit(0.0) == 1
    limits = answered_in_rounds(window, 12)
    assert limits[7] >= 256
    assert limits[11] - limits[10] <= 8


@pytest.mark.parametrize(
    ("silent_for", "limit"),
    [(0.0, 400), (4.9, 400), (5.0, 200), (10.0, 100), (45.0, 1), (1e9, 1), (-1.0, 400)],
)
def test_each_five_seconds_without_any_answer_halve_what_is_allowed(silent_for: float, limit: int) -> None:
    assert EndpointWindow(1_000, size=400).limit(silent_for) == limit


def test_a_window_is_never_wider_than_the_setting_allows() -> None:
    assert EndpointWindow(3).limit(0.0) == 3
    assert answered_in_rounds(EndpointWindow(40), 3) == [40, 40, 40]
