"""The port for untrusted work over its adapter: processes that are ended, and work of others that goes on."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from domain.providers.untrusted import InThisProcess, UntrustedWork, WorkStopped
from infra.app.build import build
from infra.untrusted.pool import WorkPool
from tests.worlds.builders import settings_at
from tests.worlds.untrusted_tasks import refused, remembered_zone, repeated
from tests.worlds.untrusted_world import process_ids, work_pool


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkPool]:
    with work_pool(seconds=1.5) as pool:
        yield pool


async def gone(ids: set[int]) -> bool:
    for _ in range(100):
        if not ids & process_ids():
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_task_is_done_in_this_process_or_in_another(pool: WorkPool) -> None:
    works: list[UntrustedWork] = [InThisProcess(), pool]
    for work in works:
        assert await work.perform("a", repeated, "ab", 3) == "ababab"
        with pytest.raises(ValueError, match="no such thing"):
            await work.perform("a", refused, "no such thing")
    ids = {await pool.perform(tenant, os.getpid) for tenant in "aba"}
    assert len(ids) == 1
    assert ids != {os.getpid()}


@pytest.mark.parametrize(
    ("task", "arguments", "reason"),
    [
        (time.sleep, (60,), "time"),
        (pow, (9, 10**9), "time"),  # a call into C, which no signal handler interrupts
        (bytes, (4 * 1024**3,), "memory"),
        (repeated, ("a", 200_000_000), "memory"),  # it can be made, but is more than a result may be
        (os._exit, (3,), "ended"),
        (os.abort, (), "ended"),
    ],
    ids=["waits", "computes", "grows", "returns too much", "leaves", "crashes"],
)
async def test_work_that_is_too_much_is_stopped_and_its_tenant_told(
    task: Callable[..., Any], arguments: tuple[Any, ...], reason: str, pool: WorkPool
) -> None:
    first = await pool.perform("a", os.getpid)
    with pytest.raises(WorkStopped) as caught:
        await asyncio.wait_for(pool.perform("a", task, *arguments), 30)
    assert caught.value.reason == reason
    if reason == "time":
        assert await gone({first})
    assert await pool.perform("a", repeated, "a", 2) == "aa"


async def test_the_parent_ends_a_process_that_grows_where_the_system_cannot() -> None:
    with work_pool(seconds=20, memory_bytes=2 * 1024**3, size_of=lambda _: 3 * 1024**3) as pool:
        with pytest.raises(WorkStopped) as caught:
            await asyncio.wait_for(pool.perform("a", time.sleep, 15), 14)
        assert caught.value.reason == "memory"


async def test_the_work_of_others_goes_on_beside_any_number_of_attacks(pool: WorkPool) -> None:
    attacks = [asyncio.ensure_future(pool.perform("a", time.sleep, 60)) for _ in range(20)]
    await asyncio.sleep(0.1)
    done = [await asyncio.wait_for(pool.perform("b", repeated, "b", 2), 15) for _ in range(5)]
    assert done == ["bb"] * 5
    assert not attacks[-1].done()
    for attack in attacks:
        attack.cancel()
    await asyncio.gather(*attacks, return_exceptions=True)
    assert await pool.perform("a", repeated, "a", 2) == "aa"


async def test_work_that_nobody_waits_for_any_more_is_ended(pool: WorkPool) -> None:
    ids = {await pool.perform("a", os.getpid)}
    work = asyncio.ensure_future(pool.perform("a", time.sleep, 50))
    await asyncio.sleep(0.3)
    work.cancel()
    assert await gone(ids)


async def test_a_process_without_work_is_ended() -> None:
    with work_pool(idle_seconds=0.2) as pool:
        assert await gone({await pool.perform("a", os.getpid)})
        assert await pool.perform("a", repeated, "a", 2) == "aa"


async def test_nothing_of_one_tenants_calendar_is_left_for_the_next() -> None:
    with work_pool(seconds=20) as patient:
        assert await patient.perform("a", remembered_zone, "Mine/Own", True)
        assert not await patient.perform("b", remembered_zone, "Mine/Own", False)


async def test_a_hub_starts_no_process_before_there_is_work(tmp_path: Any) -> None:
    before = process_ids()
    hub = build(settings_at(tmp_path))
    assert isinstance(hub.untrusted_work, WorkPool)
    assert process_ids() == before
