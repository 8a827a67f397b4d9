"""Recommending integrations that a tenant does not have, from stored events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.core.errors import Conflict
from domain.providers.contract import IntegrationType
from domain.recommendations.model import (
    RecommendationKind,
    SubjectType,
)
from infra.app.build import build
from infra.app.settings import Settings
from tests.worlds.recommendation_facts import figures
from tests.worlds.recommendation_world import RecommendationWorld


async def _booked(world: RecommendationWorld) -> None:
    """30 bookings a day, for two days, delivered."""
    for _ in range(2):
        for _ in range(30):
            world.raise_event("BookingConfirmed")
        await world.settle()
        world.clock.advance(days=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecommendationWorld]:
    made = RecommendationWorld(tmp_path)
    yield made
    made.close()


def test_the_hub_names_its_providers_of_a_type(tmp_path: Path) -> None:
    asked = build(Settings(home=tmp_path, disabled_integration_types="CRM")).providers
    assert asked.of_type(IntegrationType.CalendarSync) == ["Google", "Outlook", "iCal"]
    assert asked.of_type(IntegrationType.CRM) == ()


async def test_bookings_without_a_calendar_are_told_of_until_there_is_one__10_1(
    world: RecommendationWorld,
) -> None:
    await world.webhook("*")
    await _booked(world)
    [entry] = await world.listed()
    subject = entry.recommendation.subject
    assert entry.recommendation.advice.kind == RecommendationKind.IntegrationMissing
    assert (subject.type, subject.name) == (SubjectType.IntegrationType, "CalendarSync")
    assert figures(entry.recommendation.advice)["events"] == 60
    assert await world.listed(world.other) == []
    id_ = entry.recommendation.recommendation_id
    with pytest.raises(Conflict) as refused:
        await world.recommendations.apply(world.principal, id_, None)
    assert refused.value.code == "nothing-to-apply"
    world.integration(IntegrationType.CalendarSync, "Google")
    assert await world.listed() == []
    with pytest.raises(Conflict) as gone:
        await world.recommendations.apply(world.principal, id_, None)
    assert gone.value.code == "recommendation-gone"
