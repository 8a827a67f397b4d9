"""Slots that tenants share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from domain.core.slots import TenantTurns, may_take


@pytest.mark.parametrize(
    ("held", "free", "may"),
    [(0, 1, True), (0, 0, False), (1, 3, True), (1, 2, False), (49, 51, True), (50, 50, False)],
)
def test_a_tenant_leaves_more_than_it_holds_but_its_first_slot(held: int, free: int, may: bool) -> None:
    assert may_take(held, free) == may


@pytest.mark.parametrize(("places", "alone"), [(2, 1), (8, 4), (50, 25), (100, 50), (200, 100)])
def test_alone_a_tenant_gets_half_of_all_slots(places: int, alone: int) -> None:
    held = 0
    while may_take(held, places - held):
        held += 1
    assert held == alone


@pytest.mark.parametrize(("places", "kept", "alone"), [(2, 0, 2), (8, 1, 6), (50, 1, 37), (100, 1, 75)])
def test_an_eager_tenant_gets_three_quarters(places: int, kept: int, alone: int) -> None:
    held = 0
    while may_take(held, places - held, eagerness=3, kept=kept):
        held += 1
    assert held == alone


async def started(turns: TenantTurns, tenants: Sequence[str]) -> tuple[list[str], list[asyncio.Task[None]]]:
    """Let each hold a slot until it is cancelled; return who got one, in order."""
    order: list[str] = []

    async def hold(tenant: str) -> None:
        async with turns.turn(tenant):
            order.append(tenant)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hold(tenant)) for tenant in tenants]
    for _ in range(5):
        await asyncio.sleep(0)
    return order, tasks


async def ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_hangs_for_one_tenant_leaves_slots_to_all_others() -> None:
    turns = TenantTurns(20)
    _, hanging = await started(turns, ["a"] * 250)
    assert turns.held == {"a": 10}
    order, others = await started(turns, ["b"] * 50 + ["c"] * 50)
    assert turns.held["b"] >= 5
    assert turns.held["c"] >= 1
    assert set(order) == {"b", "c"}
    await ended([*hanging, *others])
    assert turns.held == {}


async def test_a_free_slot_goes_to_the_tenant_that_holds_the_fewest() -> None:
    turns = TenantTurns(4)
    _, first = await started(turns, ["a", "a", "a", "a"])
    assert turns.held == {"a": 2}
    _, second = await started(turns, ["b", "b", "c"])
    assert turns.held == {"a": 2, "b": 1, "c": 1}
    await ended(first[:1])
    assert turns.held == {"a": 1, "b": 1, "c": 1}
    await ended([*first, *second])
    assert turns.held == {}


async def test_whoever_gives_up_waiting_loses_no_slot() -> None:
    turns = TenantTurns(2)
    order, tasks = await started(turns, ["a", "a", "a"])
    assert order == ["a"]
    await ended(tasks[1:2])
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == ["a", "a"]
    await ended(tasks)
    assert turns.held == {}


async def test_a_turn_given_to_whoever_is_cancelled_at_that_moment_is_passed_on() -> None:
    turns = TenantTurns(2)
    order, tasks = await started(turns, ["a", "a", "a"])
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)  # the second has its turn and has not run yet
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert turns.held == {"a": 1}
    assert order.count("a") <= 3
    await ended(tasks)
    assert turns.held == {}


@pytest.mark.parametrize("tenant", [None, "", 0, "a"])
async def test_whoever_waits_gets_its_turn_though_nobody_knows_who_it_is(tenant: str | int | None) -> None:
    turns = TenantTurns(2)
    taken: list[int] = []

    async def hold(number: int) -> None:
        async with turns.turn(tenant):
            await asyncio.sleep(0)
            taken.append(number)

    await asyncio.wait_for(asyncio.gather(*(hold(number) for number in range(10))), 5)
    assert taken == list(range(10))
