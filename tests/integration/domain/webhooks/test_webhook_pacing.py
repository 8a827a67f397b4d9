"""The rate limit of one endpoint, shared by all workers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.core.errors import Unavailable
from domain.core.ports import EtagMismatch, TableEntity
from domain.webhooks.fan_out import DeliveryMessage
from domain.webhooks.throttle import Pacer
from infra.embedded.tables import EmbeddedTableStore
from tests.worlds.builders import START, FakeClock, SequentialIds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tables(tmp_path: Path, clock: FakeClock) -> Iterator[EmbeddedTableStore]:
    made = EmbeddedTableStore(tmp_path / "tables.db", clock)
    yield made
    made.close()


def a_message(count: int, webhook_id: UUID | None = None) -> DeliveryMessage:
    ids = SequentialIds()
    return DeliveryMessage(webhook_id or UUID(int=7), [ids.new() for _ in range(count)], size=count * 10)


def booked(pacer: Pacer, message: DeliveryMessage, rate: int, now: datetime) -> list[datetime]:
    """The moment each delivery of the message may go; all of them have one, in order."""
    go, later = pacer.book(message, rate)
    parts = [(go, now), *later]
    assert [delivery_id for part, _ in parts for delivery_id in part.delivery_ids] == list(
        message.delivery_ids
    )
    assert sum(part.size for part, _ in parts) == message.size
    assert all(part.paced for part, _ in later)
    assert [moment for _, moment in parts] == sorted(moment for _, moment in parts)
    return [moment for part, moment in parts for _ in part.delivery_ids]


def busiest_second(moments: list[datetime]) -> int:
    return max(
        (sum(start <= moment < start + timedelta(seconds=1) for moment in moments) for start in moments),
        default=0,
    )


def test_up_to_one_seconds_worth_goes_at_once(tables: EmbeddedTableStore, clock: FakeClock) -> None:
    moments = booked(Pacer(tables, clock), a_message(10), 10, START)
    assert moments == [START] * 10


def test_a_quiet_endpoint_earns_its_burst_back_and_never_more(
    tables: EmbeddedTableStore, clock: FakeClock
) -> None:
    pacer = Pacer(tables, clock)
    booked(pacer, a_message(10), 10, START)
    clock.advance(hours=1)
    moments = booked(pacer, a_message(15), 10, clock.now())
    assert moments[:10] == [clock.now()] * 10
    assert min(moments[10:]) > clock.now()


def test_endpoints_do_not_share_a_pace(tables: EmbeddedTableStore, clock: FakeClock) -> None:
    pacer = Pacer(tables, clock)
    for webhook in (UUID(int=1), UUID(int=2)):
        assert booked(pacer, a_message(5, webhook), 5, START) == [START] * 5


@given(
    rate=st.integers(1, 200),
    messages=st.lists(st.tuples(st.integers(1, 100), st.floats(0, 3)), min_size=1, max_size=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_no_second_sees_more_than_the_rate_and_one_burst(
    tables: EmbeddedTableStore, rate: int, messages: list[tuple[int, float]]
) -> None:
    clock = FakeClock()
    pacer, webhook = Pacer(tables, clock), uuid4()
    moments: list[datetime] = []
    for count, pause in messages:
        moments += booked(pacer, a_message(count, webhook), rate, clock.now())
        clock.advance(seconds=pause)
    assert busiest_second(moments) <= 2 * rate
    total = sum(count for count, _ in messages)
    assert len(moments) == total
    # Nobody waits longer than the rate demands: all are gone once the backlog alone would be.
    assert max(moments) <= clock.now() + timedelta(seconds=total / rate + 0.1)


def test_workers_that_book_at_once_never_book_the_same_moment(
    tables: EmbeddedTableStore, clock: FakeClock
) -> None:
    pacers = [Pacer(tables, clock) for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda pacer: booked(pacer, a_message(20), 20, START), pacers))
    moments = [moment for part in parts for moment in part]
    assert len(moments) == 160
    assert moments.count(START) == 20
    assert busiest_second(moments) <= 40
    assert max(moments) - START == pytest.approx(timedelta(seconds=7), abs=timedelta(seconds=0.1))


class Contended:
    """A table store where somebody else always writes first."""

    def get(self, table: str, partition_key: str, row_key: str) -> TableEntity:
        return TableEntity(partition_key, row_key, {"at": START.timestamp()}, "old")

    def replace(self, table: str, entity: TableEntity, *, etag: str) -> str:
        raise EtagMismatch


def test_endless_contention_is_unavailable_and_not_a_hang(clock: FakeClock) -> None:
    with pytest.raises(Unavailable):
        Pacer(Contended(), clock).book(a_message(1), 1)  # type: ignore[arg-type]
