"""Calls every method of the recommendations' repositories once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("outcomes",)


def calls(world: World) -> dict[str, list[Call]]:
    tenant, webhook, now = world.tenant, world.webhook("BookingConfirmed"), world.clock.now()
    world.ended(webhook, 3)
    since = now - timedelta(days=14)
    return {
        "outcomes.attempts": [lambda unit: unit.outcomes.attempts(tenant, since)],
        "outcomes.newest": [
            lambda unit: unit.outcomes.newest(tenant, webhook.webhook_id, since=since, limit=2_000)
        ],
    }
