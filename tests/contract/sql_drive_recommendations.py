"""Calls every method of the recommendations' repositories once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from domain.recommendations.decisions import Decision, RecommendationStatus
from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("outcomes", "decisions", "peers")


def calls(world: World) -> dict[str, list[Call]]:
    tenant, webhook, now = world.tenant, world.webhook("BookingConfirmed"), world.clock.now()
    world.ended(webhook, 3)
    since = now - timedelta(days=14)
    decision = Decision(
        world.ids.new(),
        RecommendationStatus.Dismissed,
        now,
        world.user,
        "{}",
        "Known.",
        now + timedelta(days=7),
    )
    with world.units.write() as unit:
        unit.decisions.put(tenant, decision)
        unit.commit()
    return {
        "decisions.of_tenant": [lambda unit: unit.decisions.of_tenant(tenant)],
        "decisions.tenants": [
            lambda unit: unit.decisions.tenants(UUID(int=0), until=tenant, decided_before=now, limit=100),
            lambda unit: unit.decisions.tenants(tenant, until=None, decided_before=now, limit=100),
        ],
        "decisions.put": [lambda unit: unit.decisions.put(tenant, decision)],
        "decisions.remove": [lambda unit: unit.decisions.remove(tenant, decision.recommendation_id)],
        "peers.checks": [
            lambda unit: unit.peers.checks("Stripe", since=since, until=now, limit=50),
        ],
        "outcomes.attempts": [lambda unit: unit.outcomes.attempts(tenant, since)],
        "outcomes.newest": [
            lambda unit: unit.outcomes.newest(tenant, webhook.webhook_id, since=since, limit=2_000)
        ],
    }
