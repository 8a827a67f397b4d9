"""Signals over SQL: counted with what they count, added up once, complete at any moment."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID

import pytest

from domain.core.errors import Unavailable
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.monitoring.signal_series import SignalReader, SignalService
from tests.worlds.sql_world import SqlWorld

DAY = timedelta(days=1)
WEBHOOK = UUID(int=7)


def attempt(
    world: SqlWorld,
    milliseconds: int = 10,
    *,
    error: str | None = None,
    hours: int = 0,
    tenant: UUID | None = None,
) -> Signal:
    tally = Tally(
        1,
        int(error is None),
        int(error is not None),
        0,
        0,
        {error: 1} if error else {},
        Sketch.of([milliseconds]),
    )
    hour = hour_of(world.clock.now()) - timedelta(hours=hours)
    return Signal(tenant or world.tenant, SubjectKind.Webhook, WEBHOOK, hour, tally)


class NoKeys:
    """A tenant without API keys."""

    def hours(self, *_: object, **__: object) -> list[Signal]:
        return []


def appended(world: SqlWorld, *signals: Signal) -> None:
    with world.transactions.write() as tx:
        tx.signals.append(signals)
        tx.commit()


def compacted(world: SqlWorld, limit: int = 100) -> int:
    with world.transactions.write() as tx:
        count = tx.signals.compact(limit)
        tx.commit()
    return count


def total(world: SqlWorld, kind: SubjectKind = SubjectKind.Webhook, tenant: UUID | None = None) -> Tally:
    now = world.clock.now()
    with world.transactions.read() as tx:
        found = tx.signals.read(tenant or world.tenant, kind, since=now - DAY, until=now + DAY)
    return sum((signal.tally for signal in found), Tally())


@pytest.mark.parametrize("kind", [SubjectKind.Webhook, SubjectKind.Tenant])
def test_counts_are_complete_before_while_and_after_they_are_added_up(
    world: SqlWorld, kind: SubjectKind
) -> None:
    appended(world, attempt(world), attempt(world, 20), attempt(world, 900, error="timeout"))
    seen = [total(world, kind)]
    assert compacted(world, 2) == 2
    seen.append(total(world, kind))
    assert compacted(world) == 1
    appended(world, attempt(world, error="5xx"))
    after = total(world, kind)
    assert [(tally.total, tally.succeeded, dict(tally.errors)) for tally in seen] == [
        (3, 2, {"timeout": 1})
    ] * 2
    assert (after.total, after.failed, dict(after.errors)) == (4, 2, {"timeout": 1, "5xx": 1})


def test_hours_and_tenants_are_kept_apart(world: SqlWorld) -> None:
    appended(world, attempt(world), attempt(world, hours=2), attempt(world, tenant=world.other_tenant))
    compacted(world)
    now = world.clock.now()
    with world.transactions.read() as tx:
        found = tx.signals.read(world.tenant, SubjectKind.Webhook, since=now - DAY, until=now + DAY)
    assert len(found) == 2
    assert total(world, tenant=world.other_tenant).total == 1


def test_a_transaction_that_is_not_committed_counts_nothing(world: SqlWorld) -> None:
    with world.transactions.write() as tx:
        tx.signals.append([attempt(world)])
    assert total(world).total == 0
    appended(world, attempt(world))
    with world.transactions.write() as tx:
        tx.signals.compact(10)
    assert total(world).total == 1


def test_many_compactors_at_once_add_each_signal_once(world: SqlWorld) -> None:
    appended(world, *(attempt(world) for _ in range(200)))
    counts: list[int] = []

    def work() -> None:
        for _ in range(10):
            try:
                counts.append(compacted(world, 20))
            except Unavailable:
                counts.append(0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 200
    assert total(world).total == 200


def test_what_is_past_its_retention_is_forgotten(world: SqlWorld) -> None:
    appended(world, attempt(world), attempt(world, hours=30))
    compacted(world)
    service = SignalService(
        world.transactions, world.clock, SignalReader(world.transactions, NoKeys()), retention=DAY
    )
    assert service.forget_old() == 2, "the webhook's hour, and its tenant's"
    assert total(world).total == 1
