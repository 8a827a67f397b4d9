"""Calls every method of the signals' repository once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("signals",)


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, webhook, now = world.tenant, world.ids.new(), world.clock.now()
    tally = Tally(3, 2, 1, 1, 0, {"timeout": 1}, Sketch.of([5, 7, 900]))
    signals = [Signal(tenant, SubjectKind.Webhook, webhook, hour_of(now), tally)] * 3

    def stored(tx: SqlTransaction) -> None:
        tx.signals.append(signals)
        tx.signals.compact(10)

    def added_to(tx: SqlTransaction) -> None:
        stored(tx)
        stored(tx)

    def read(tx: SqlTransaction) -> None:
        stored(tx)
        since, until = now - timedelta(days=1), now + timedelta(days=1)
        tx.signals.read(tenant, SubjectKind.Tenant, since=since, until=until)
        tx.signals.read(tenant, SubjectKind.Webhook, since=since, until=until, subject_id=webhook)

    def forgotten(tx: SqlTransaction) -> None:
        stored(tx)
        tx.signals.delete_before(now + timedelta(days=1), 10)

    return {
        "signals.append": [lambda tx: tx.signals.append(signals)],
        "signals.compact": [added_to],
        "signals.read": [read],
        "signals.delete_before": [forgotten],
    }
