"""Writers that share a transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.core.group_commit import AT_MOST, Together


def test_everyone_who_waits_is_written_by_whoever_has_the_turn() -> None:
    first, waiting = threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def write(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        if items == [0]:
            first.set()
            assert waiting.wait(10)
        return [item * 10 for item in items]

    together = Together(write)
    with ThreadPoolExecutor(AT_MOST + 8) as pool:
        results = [pool.submit(together.submit, 0)]
        assert first.wait(10)
        results += [pool.submit(together.submit, item) for item in range(1, AT_MOST + 5)]
        while len(together._waiting) < AT_MOST + 4:
            threading.Event().wait(0.001)
        waiting.set()
        assert [result.result(10) for result in results] == [item * 10 for item in range(AT_MOST + 5)]
    assert [len(batch) for batch in batches] == [1, AT_MOST, 4]


def test_nobody_is_refused_for_anothers_item() -> None:
    def write(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return list(items)

    together = Together(write)
    with ThreadPoolExecutor(16) as pool:
        results = {item: pool.submit(together.submit, item) for item in range(40)}
        for item, result in results.items():
            if item == 13:
                with pytest.raises(ValueError, match="unlucky"):
                    result.result(10)
            else:
                assert result.result(10) == item
