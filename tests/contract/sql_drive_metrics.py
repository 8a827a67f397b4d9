"""Calls every method of the metrics' repository once."""

from __future__ import annotations

from collections.abc import Callable

from domain.insights.model import Signal, SubjectKind, Tally, hour_of
from domain.insights.sketch import Sketch
from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("metrics",)


def calls(world: World) -> dict[str, list[Call]]:
    now = world.clock.now()
    tally = Tally(3, 2, 1, 1, 0, {"timeout": 1}, Sketch.of([5, 7, 900]))
    signals = [Signal(world.tenant, SubjectKind.Webhook, world.ids.new(), hour_of(now), tally)] * 3

    def read(unit: SqlUnitOfWork) -> None:
        unit.signals.append(signals)
        unit.signals.compact(2)
        unit.metrics.read(since=now.replace(hour=0), now=now)

    return {"metrics.read": [read]}
