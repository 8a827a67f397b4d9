"""Calls every method of the metrics' repository once."""

from __future__ import annotations

from collections.abc import Callable

from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("metrics",)


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    now = world.clock.now()
    tally = Tally(3, 2, 1, 1, 0, {"timeout": 1}, Sketch.of([5, 7, 900]))
    signals = [Signal(world.tenant, SubjectKind.Webhook, world.ids.new(), hour_of(now), tally)] * 3

    def read(tx: SqlTransaction) -> None:
        tx.signals.append(signals)
        tx.signals.compact(2)
        tx.metrics.read(since=now.replace(hour=0), now=now)

    return {"metrics.read": [read]}
