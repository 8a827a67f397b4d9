"""Callers that share a write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.core.group_commit import AT_MOST, AsyncGroupCommit, GroupCommit


def test_everyone_who_waits_is_written_by_whoever_has_the_turn() -> None:
    first, waiting = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def write(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        if items == [0]:
            first.set()
            assert waiting.wait(10)
        return [item * 10 for item in items]

    commit = GroupCommit(write)
    with ThreadPoolExecutor(AT_MOST + 8) as pool:
        results = [pool.submit(commit.submit, 0)]
        assert first.wait(10)
        results += [pool.submit(commit.submit, item) for item in range(1, AT_MOST + 5)]
        while len(commit._waiting) < AT_MOST + 4:
            threading.Event().wait(0.001)
        waiting.set()
        assert [result.result(10) for result in results] == [item * 10 for item in range(AT_MOST + 5)]
    assert [len(batch) for batch in batches] == [1, AT_MOST, 4]


def test_nobody_is_refused_for_anothers_item() -> None:
    def write(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return list(items)

    commit = GroupCommit(write)
    with ThreadPoolExecutor(16) as pool:
        results = {item: pool.submit(commit.submit, item) for item in range(40)}
        for item, result in results.items():
            if item == 13:
                with pytest.raises(ValueError, match="unlucky"):
                    result.result(10)
            else:
                assert result.result(10) == item


def test_an_error_is_shared_where_trying_alone_would_not_help() -> None:
    first, waiting = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def write(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        if items == [0]:
            first.set()
            assert waiting.wait(10)
            return [0]
        raise ValueError("contended")

    commit = GroupCommit(write, most=None, retries_alone=False)
    with ThreadPoolExecutor(AT_MOST + 8) as pool:
        results = [pool.submit(commit.submit, 0)]
        assert first.wait(10)
        results += [pool.submit(commit.submit, item) for item in range(1, AT_MOST + 5)]
        while len(commit._waiting) < AT_MOST + 4:
            threading.Event().wait(0.001)
        waiting.set()
        assert results[0].result(10) == 0
        for result in results[1:]:
            with pytest.raises(ValueError, match="contended"):
                result.result(10)
    assert [len(batch) for batch in batches] == [1, AT_MOST + 4]


# -- on an event loop -----------------------------------------------------------------------------------------


async def _next_step() -> None:
    await asyncio.sleep(0)


class Writes:
    """A write that waits until it may end, and fails for a batch with 13 in it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_end = asyncio.Event()

    async def write(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.may_end.wait()
        if 13 in items:
            raise ValueError("unlucky")
        return [item * 10 for item in items]


async def test_what_is_submitted_during_a_write_goes_together_in_the_next() -> None:
    writes = Writes()
    commit = AsyncGroupCommit(writes.write, gather=_next_step, most=3)
    results = [commit.submit(item) for item in (0, 1)]
    while not writes.batches:
        await _next_step()
    results += [commit.submit(item) for item in (2, 3, 4, 5)]
    writes.may_end.set()
    assert await asyncio.gather(*results) == [0, 10, 20, 30, 40, 50]
    assert writes.batches == [[0, 1], [2, 3, 4], [5]]


async def test_no_more_batches_are_under_way_than_there_may_be_writers() -> None:
    writes = Writes()
    commit = AsyncGroupCommit(writes.write, gather=_next_step, most=1, writers=2)
    results = [commit.submit(item) for item in range(5)]
    for _ in range(10):
        await _next_step()
    assert writes.batches == [[0], [1]]
    writes.may_end.set()
    assert await asyncio.gather(*results) == [0, 10, 20, 30, 40]


async def test_a_batch_that_fails_fails_for_all_of_it_and_for_nobody_else() -> None:
    writes = Writes()
    writes.may_end.set()
    commit = AsyncGroupCommit(writes.write, gather=_next_step, most=2)
    results = [commit.submit(item) for item in (12, 13, 14)]
    refused = await asyncio.gather(*results, return_exceptions=True)
    assert [str(result) for result in refused] == ["unlucky", "unlucky", "140"]
    assert await commit.submit(1) == 10


async def test_who_no_longer_waits_keeps_nobody_else_from_a_result() -> None:
    writes = Writes()
    commit = AsyncGroupCommit(writes.write, gather=_next_step, most=2)
    gone, stays = commit.submit(1), commit.submit(2)
    gone.cancel()
    writes.may_end.set()
    assert await stays == 20


def test_it_serves_one_event_loop_after_another() -> None:
    async def write(items: Sequence[int]) -> Sequence[int]:
        return items

    commit = AsyncGroupCommit(write, gather=_next_step, most=2)

    async def submit() -> int:
        return await commit.submit(7)

    assert [asyncio.run(submit()) for _ in range(2)] == [7, 7]
