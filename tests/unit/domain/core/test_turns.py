"""How a turn is shared out, how large it is, and when the rest comes back."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.turns import SharedTurns, fair_shares

A, B, C = (UUID(int=number) for number in (1, 2, 3))


class Seconds:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("wanted", "total", "shares"),
    [
        ({"a": 10}, 64, {"a": 10}),
        ({"a": 5_000}, 64, {"a": 64}),
        ({"a": 5_000, "b": 5_000}, 64, {"a": 32, "b": 32}),
        ({"a": 5_000, "b": 1}, 64, {"b": 1, "a": 63}),
        ({"a": 5_000, "b": 10, "c": 40}, 64, {"b": 10, "c": 27, "a": 27}),
        ({"a": 5, "b": 5, "c": 5}, 2, {"a": 1, "b": 1}),
        ({"a": 0, "b": 7}, 64, {"b": 7}),
        ({"a": 7}, 0, {}),
        ({}, 64, {}),
    ],
)
def test_everybody_gets_the_same_and_what_one_does_not_want_goes_to_the_others(
    wanted: dict[str, int], total: int, shares: dict[str, int]
) -> None:
    assert list(fair_shares(wanted, total).items()) == list(shares.items())


@given(st.dictionaries(st.integers(), st.integers(0, 1_000), max_size=40), st.integers(0, 2_000))
def test_shares_are_max_min_fair_and_waste_nothing(wanted: dict[int, int], total: int) -> None:
    shares = fair_shares(wanted, total)
    assert sum(shares.values()) == min(total, sum(wanted.values()))
    assert all(share <= wanted[key] for key, share in shares.items())
    most = max(shares.values(), default=0)
    for key, many in wanted.items():
        if (
            shares.get(key, 0) < many
        ):  # whoever got less than asked for got as much as anybody, but for rounding
            assert shares.get(key, 0) >= most - 1


def test_a_turn_is_large_while_one_tenant_asks_and_small_while_others_did_within_ten_seconds() -> None:
    clock = Seconds()
    turns = SharedTurns(alone=256, together=64, rate=1_000, monotonic=clock)
    assert turns.size([A]) == 256
    assert turns.size([A, B]) == 64
    clock.now += 9
    assert turns.size([A]) == 64
    clock.now += 2
    assert turns.size([A]) == 256


def test_what_is_put_off_comes_back_one_after_another_at_the_rate_that_tenants_share() -> None:
    clock = Seconds()
    turns = SharedTurns(alone=1, together=1, rate=1_000, monotonic=clock)
    assert [turns.later(A, 100) for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    assert turns.later(B, 100) == 0.0  # nobody waits for what others put off
    assert turns.later(B, 100) == pytest.approx(0.2)  # two share the rate
    clock.now += 10
    assert turns.later(C, 100) == 0.0
    assert turns.later(C, 100) == pytest.approx(0.1)


def test_nothing_is_put_off_for_long() -> None:
    turns = SharedTurns(alone=1, together=1, rate=1_000, monotonic=Seconds())
    assert max(turns.later(A, 1_000) for _ in range(100)) == pytest.approx(3.0)
