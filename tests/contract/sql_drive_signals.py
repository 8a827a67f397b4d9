"""Calls every method of the signals' repository once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from domain.insights.model import Signal, SubjectKind, Tally, hour_of
from domain.insights.sketch import Sketch
from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("signals",)


def calls(world: World) -> dict[str, list[Call]]:
    tenant, webhook, now = world.tenant, world.ids.new(), world.clock.now()
    tally = Tally(3, 2, 1, 1, 0, {"timeout": 1}, Sketch.of([5, 7, 900]))
    signals = [Signal(tenant, SubjectKind.Webhook, webhook, hour_of(now), tally)] * 3

    def stored(unit: SqlUnitOfWork) -> None:
        unit.signals.append(signals)
        unit.signals.compact(10)

    def added_to(unit: SqlUnitOfWork) -> None:
        stored(unit)
        stored(unit)

    def read(unit: SqlUnitOfWork) -> None:
        stored(unit)
        since, until = now - timedelta(days=1), now + timedelta(days=1)
        unit.signals.read(tenant, SubjectKind.Tenant, since=since, until=until)
        unit.signals.read(tenant, SubjectKind.Webhook, since=since, until=until, subject_id=webhook)

    def forgotten(unit: SqlUnitOfWork) -> None:
        stored(unit)
        unit.signals.delete_before(now + timedelta(days=1), 10)

    return {
        "signals.append": [lambda unit: unit.signals.append(signals)],
        "signals.compact": [added_to],
        "signals.read": [read],
        "signals.delete_before": [forgotten],
    }
