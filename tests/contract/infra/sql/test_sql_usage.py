"""Usage of tenants over SQL: added up by hour and month, whoever adds."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.core.paging import PageRequest
from domain.journal.usage import UsageCounts, UsageHour, UsageMeter, UsagePeriod, UsageSpan
from tests.worlds.sql_world import SqlWorld

HOUR = datetime(2026, 3, 31, 23, tzinfo=UTC)
EVER = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 1, 1, tzinfo=UTC)


def added(world: SqlWorld, *counted: tuple[UUID, datetime, UsageCounts]) -> None:
    with world.transactions.write() as tx:
        tx.usage.add({UsageHour(tenant, hour): counts for tenant, hour, counts in counted})
        tx.commit()


def spans(world: SqlWorld, tenant: UUID, period: UsagePeriod) -> list[UsageSpan]:
    with world.transactions.read() as tx:
        return list(tx.usage.page(tenant, period, PageRequest(), since=EVER, until=FOREVER).items)


def test_hours_add_up_to_months_by_tenant(world: SqlWorld) -> None:
    mine, other, more = world.tenant, world.other_tenant, timedelta(hours=1)
    added(world, (mine, HOUR, UsageCounts(calls=1, events=2)), (mine, HOUR + more, UsageCounts(records=5)))
    added(world, (other, HOUR, UsageCounts(calls=100)), (mine, HOUR, UsageCounts(calls=3, deliveries=4)))
    assert spans(world, mine, UsagePeriod.Hour) == [
        UsageSpan(HOUR, UsageCounts(4, 2, 4, 0)),
        UsageSpan(HOUR + more, UsageCounts(records=5)),
    ]
    assert spans(world, mine, UsagePeriod.Month) == [
        UsageSpan(datetime(2026, 3, 1, tzinfo=UTC), UsageCounts(4, 2, 4, 0)),
        UsageSpan(datetime(2026, 4, 1, tzinfo=UTC), UsageCounts(records=5)),
    ]
    assert spans(world, other, UsagePeriod.Hour) == [UsageSpan(HOUR, UsageCounts(calls=100))]


def test_a_page_and_the_totals_are_of_the_range(world: SqlWorld) -> None:
    for hours in range(4):
        added(world, (world.tenant, HOUR + timedelta(hours=hours), UsageCounts(calls=10**hours)))
    since, until = HOUR + timedelta(hours=1), HOUR + timedelta(hours=3)
    with world.transactions.read() as tx:
        second = tx.usage.page(world.tenant, UsagePeriod.Hour, PageRequest(2, 1), since=since, until=until)
        everybody = [world.tenant, world.other_tenant, world.ids.new()]
        totals = tx.usage.totals(everybody, UsagePeriod.Hour, since=since, until=until)
    assert (second.total, second.items) == (2, [UsageSpan(HOUR + timedelta(hours=2), UsageCounts(calls=100))])
    assert totals == {world.tenant: UsageCounts(calls=110)}


def test_old_periods_are_removed_by_kind_some_at_a_time(world: SqlWorld) -> None:
    for hours in range(3):
        added(world, (world.tenant, HOUR - timedelta(hours=hours), UsageCounts(calls=1)))
    removed = []
    for _ in range(2):
        with world.transactions.write() as tx:
            removed.append(tx.usage.delete_before(UsagePeriod.Hour, HOUR, 1))
            tx.commit()
    with world.transactions.write() as tx:
        removed.append(tx.usage.delete_before(UsagePeriod.Hour, HOUR, 10))
        tx.commit()
    assert removed == [1, 1, 0]
    assert [span.start for span in spans(world, world.tenant, UsagePeriod.Hour)] == [HOUR]
    assert [span.counts.calls for span in spans(world, world.tenant, UsagePeriod.Month)] == [3]


def test_a_commit_is_counted_once_and_what_is_rolled_back_never(world: SqlWorld) -> None:
    meter = UsageMeter(world.transactions, world.clock, every=timedelta(hours=1))
    told: list[tuple[UUID, UsageCounts]] = []
    world.transactions.count_usage = lambda tenant, counts: told.append((tenant, counts))
    with world.transactions.write() as tx:
        tx.outbox.append([world.event(), world.event(), world.event(tenant=world.other_tenant)])
        tx.commit()
        tx.commit()
    with world.transactions.write() as tx:
        tx.outbox.append([world.event()])
    world.deliveries(world.webhook(), 2)
    assert meter.flush()
    assert told == [
        (world.tenant, UsageCounts(events=2)),
        (world.other_tenant, UsageCounts(events=1)),
        (world.tenant, UsageCounts(events=2)),
        (world.tenant, UsageCounts(deliveries=2)),
    ]


def test_processes_that_count_at_once_lose_nothing(world: SqlWorld) -> None:
    meters = [UsageMeter(world.transactions, world.clock, every=timedelta(hours=1)) for _ in range(2)]

    def work(meter: UsageMeter) -> None:
        for number in range(200):
            meter.count(world.tenant, UsageCounts(calls=1, records=2))
            if number % 10 == 0:
                assert meter.flush()
        assert meter.flush()

    threads = [threading.Thread(target=work, args=(meter,)) for meter in (*meters, *meters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [span.counts for span in spans(world, world.tenant, UsagePeriod.Hour)] == [
        UsageCounts(800, 0, 0, 1600)
    ]
