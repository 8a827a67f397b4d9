"""Predictions over many stored integrations."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

from domain.core.paging import MAX_PAGE_SIZE
from domain.journal.signals import SubjectKind
from domain.providers.contract import IntegrationType
from domain.recommendations.decisions import DismissRecommendation
from domain.recommendations.model import RecommendationStatus
from tests.worlds.recommendation_facts import declining, integration_facts
from tests.worlds.recommendation_world import RecommendationWorld


async def test_the_newest_of_many_integrations_is_looked_at_too__9_3(tmp_path: Path) -> None:
    world = RecommendationWorld(tmp_path)
    many = [
        integration_facts(
            (),
            integration_id=UUID(int=1_000 + n),
            tenant_id=world.principal.tenant_id,
            name=f"Orders {n}",
            integration_type=IntegrationType.CustomAPI,
            provider="REST",
            created_at=world.clock.now() + timedelta(seconds=n),
        ).integration
        for n in range(MAX_PAGE_SIZE + 1)
    ]
    with world.transactions.write() as tx:
        for integration in many:
            tx.integrations.add(integration.tenant_id, integration)
        tx.commit()
    world.count(many[-1].integration_id, declining(), kind=SubjectKind.Integration)
    [found] = await world.listed()
    assert found.recommendation.subject.id == many[-1].integration_id
    dismissed = world.recommendations.dismiss(
        world.principal, found.recommendation.recommendation_id, DismissRecommendation(reason="Known.")
    )
    assert dismissed.status == RecommendationStatus.Dismissed
    world.close()
