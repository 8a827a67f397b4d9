"""Calls every method of the recommendations' repositories once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from domain.recommendations.model import Decision, RecommendationStatus
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("outcomes", "decisions", "peers")


def calls(world: SqlWorld) -> dict[str, list[Call]]:
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
    with world.transactions.write() as tx:
        tx.decisions.put(tenant, decision)
        tx.commit()
    return {
        "decisions.of_tenant": [lambda tx: tx.decisions.of_tenant(tenant)],
        "decisions.tenants": [
            lambda tx: tx.decisions.tenants(UUID(int=0), until=tenant, decided_before=now, limit=100),
            lambda tx: tx.decisions.tenants(tenant, until=None, decided_before=now, limit=100),
        ],
        "decisions.put": [lambda tx: tx.decisions.put(tenant, decision)],
        "decisions.remove": [lambda tx: tx.decisions.remove(tenant, decision.recommendation_id)],
        "peers.checks": [
            lambda tx: tx.peers.checks("Stripe", since=since, until=now, limit=50),
        ],
        "outcomes.attempts": [lambda tx: tx.outcomes.attempts(tenant, since)],
        "outcomes.newest": [
            lambda tx: tx.outcomes.newest(tenant, webhook.webhook_id, since=since, limit=2_000)
        ],
    }
