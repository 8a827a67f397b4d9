"""Quotas are exact on every table store, whoever races."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from domain.apikeys.rate_limit import Charge, ChargeKind, RateLimiter
from domain.core.errors import Unavailable
from domain.core.ports import TableStore
from infra.azure.tables.store import AzureTableStore
from infra.embedded.tables import EmbeddedTableStore
from tests.worlds.apikey_world import START
from tests.worlds.builders import FakeClock

Limiters = Callable[[], RateLimiter]


class Store(TableStore, Protocol):
    def close(self) -> None: ...


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture(params=["embedded", "embedded, optimistic", pytest.param("azure", marks=pytest.mark.azure)])
def limiter(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Limiters]:
    """Make limiters that share nothing but the store, as those of two processes do."""
    opened: list[EmbeddedTableStore | AzureTableStore] = []

    def make() -> RateLimiter:
        if request.param == "azure":
            store = AzureTableStore(connection_string=request.getfixturevalue("azurite_tables"))
            opened.append(store)
            return RateLimiter(store, clock)
        embedded = EmbeddedTableStore(tmp_path / "tables.db", clock)
        opened.append(embedded)
        return RateLimiter(embedded, clock, serial=embedded if request.param == "embedded" else None)

    yield make
    for store in opened:
        store.close()


def test_of_200_concurrent_requests_exactly_the_100_left_succeed(limiter: Limiters) -> None:
    quota, key = uuid4(), uuid4().hex
    processes = [limiter(), limiter()]
    start = threading.Barrier(40)

    def some(number: int) -> int:
        start.wait()
        return sum(processes[number % 2].charge(quota, [Charge(key, 100)])[0].allowed for _ in range(5))

    with ThreadPoolExecutor(40) as pool:
        assert sum(pool.map(some, range(40))) == 100
    use = limiter().window(quota).uses[key]
    assert (use.accepted, use.limited, use.total) == (100, 100, 100)


def test_many_quotas_at_once_are_each_exact(limiter: Limiters) -> None:
    process = limiter()
    quotas = {uuid4(): [Charge("k", 3)] * 5 for _ in range(4)}
    statuses = process.charge_each(quotas)
    if statuses is None:
        statuses = [process.charge(quota, charges) for quota, charges in quotas.items()]
    for of_quota in statuses:
        assert [status.allowed for status in of_quota] == [True, True, True, False, False]


def test_one_process_sees_what_another_took(limiter: Limiters) -> None:
    quota, first, second = uuid4(), limiter(), limiter()
    for remaining in (3, 2, 1, 0):
        process = first if remaining % 2 else second
        [status] = process.charge(quota, [Charge("k", 4)])
        assert (status.allowed, status.remaining) == (True, remaining)
    assert not first.charge(quota, [Charge("k", 4, ChargeKind.Peek)])[0].allowed


def test_the_hours_that_end_are_kept_and_the_window_slides_over_them(
    limiter: Limiters, clock: FakeClock
) -> None:
    quota, first, second = uuid4(), limiter(), limiter()
    key = uuid4().hex
    first.charge(quota, [Charge(key, 2)])
    clock.advance(minutes=59)
    assert [status.allowed for status in second.charge(quota, [Charge(key, 2)] * 2)] == [True, False]
    clock.advance(minutes=1)
    [again] = first.charge(quota, [Charge(key, 2)])
    assert (again.allowed, again.remaining) == (True, 0)
    use = first.window(quota).uses[key]
    assert (use.accepted, use.total) == (1, 3)


@pytest.mark.azure
def test_a_store_that_cannot_be_reached_is_unavailable(clock: FakeClock) -> None:
    store = AzureTableStore(
        connection_string="DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;"
        "TableEndpoint=http://127.0.0.1:1/a;"
    )
    with pytest.raises(Unavailable):
        RateLimiter(store, clock).charge(uuid4(), [Charge("k", 1)])
