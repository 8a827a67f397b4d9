"""Who comes next among the tenants whose work waits."""

from concurrent.futures import Future

import pytest

from domain.providers.untrusted import WorkStopped
from infra.untrusted.turns import HALF_LIFE_SECONDS, HEAVY_SECONDS, WAITING_AT_MOST, WorkTurns


class Moments:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def enter(turns: WorkTurns, tenants: str) -> list[Future[int]]:
    return [turns.enter(tenant) for tenant in tenants]


def test_one_tenant_leaves_a_place_to_others() -> None:
    turns = WorkTurns(3)
    first, second, third = enter(turns, "aaa")
    assert (first.done(), second.done(), third.done()) == (True, True, False)
    assert turns.enter("b").done()
    turns.leave(first.result(), "a", 0.1)
    assert third.done()


def test_the_only_place_is_given_to_whoever_waits() -> None:
    turns = WorkTurns(1)
    first, second = enter(turns, "ab")
    assert not second.done()
    turns.leave(first.result(), "a", 30.0)
    assert second.done()


def test_tenants_whose_work_was_heavy_share_what_is_left_by_the_others() -> None:
    moments = Moments()
    turns = WorkTurns(2, monotonic=moments)
    for attacker in "xyz":
        turns.leave(turns.enter(attacker).result(), attacker, HEAVY_SECONDS)
    waiting = enter(turns, "xyz")
    assert [turn.done() for turn in waiting] == [True, False, False]
    light = turns.enter("b")
    assert light.done()
    turns.leave(light.result(), "b", 0.1)
    assert [turn.done() for turn in waiting] == [True, False, False]
    moments.now = HALF_LIFE_SECONDS
    turns.leave(turns.enter("c").result(), "c", 0.1)
    assert sum(turn.done() for turn in waiting) == 2  # what they used up of late became less


def test_the_tenant_that_used_least_of_late_comes_first() -> None:
    turns = WorkTurns(2)
    turns.leave(turns.enter("a").result(), "a", 3.0)
    turns.leave(turns.enter("b").result(), "b", 1.0)
    holding = enter(turns, "cd")
    waiting = {tenant: turns.enter(tenant) for tenant in "abe"}
    order = []
    for turn, tenant in zip(holding, "cd", strict=True):
        turns.leave(turn.result(), tenant, 9.0)
        order += [name for name, waits in waiting.items() if waits.done() and name not in order]
    assert order == ["e", "b"]


def test_work_that_is_given_up_takes_no_place() -> None:
    turns = WorkTurns(1)
    first, second, third = enter(turns, "abc")
    assert second.cancel()
    turns.leave(first.result(), "a", 0.0)
    assert third.done()


def test_a_tenant_may_not_let_any_amount_of_work_wait() -> None:
    turns = WorkTurns(1)
    enter(turns, "a" * (WAITING_AT_MOST + 1))
    with pytest.raises(WorkStopped) as caught:
        turns.enter("a")
    assert caught.value.reason == "busy"
    turns.enter("b")
