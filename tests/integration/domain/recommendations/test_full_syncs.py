"""Recommending incremental syncs, from stored schedules and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from domain.core.errors import Conflict
from domain.integrations.model import Integration
from domain.providers.records import StreamProfile
from domain.recommendations.model import (
    RecommendationKind,
)
from domain.sync.model import SyncType
from infra.sql.sync.tables import data_sync_jobs
from tests.worlds.recommendation_facts import CHARGES, run
from tests.worlds.recommendation_world import RecommendationWorld


def _ran(world: RecommendationWorld) -> Integration:
    """Add an integration whose full syncs of the last three days changed little."""
    integration = world.scheduled("0 0 2 * * *", "Full")
    world.clock.advance(days=3)
    today = world.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    with world.transactions.write() as tx:
        for n in (3, 2, 1):
            began = today - timedelta(days=n) + timedelta(hours=20)
            job = replace(run(n), integration_id=integration.integration_id, created_at=began)
            job = replace(job, scheduled_at=began, completed_at=began + timedelta(minutes=4))
            assert tx.sync_jobs.add(job.tenant_id, job)
        tx.commit()
    # what runs count is stored batch by batch: here at once
    with world.database.write() as connection:
        connection.execute(update(data_sync_jobs).values(RecordsProcessed=1000, RecordsWritten=10))
        connection.commit()
    return integration


async def test_applying_makes_the_stored_schedule_incremental__10_1(tmp_path: Path) -> None:
    world = RecommendationWorld(tmp_path)
    world.providers.streamed = [CHARGES]
    integration = _ran(world)
    [entry] = await world.listed()
    assert entry.recommendation.advice.kind == RecommendationKind.SyncIncremental
    assert await world.listed(world.other) == []
    await world.recommendations.apply(world.principal, entry.recommendation.recommendation_id, None)
    stored = world.schedules.get(world.principal, integration.integration_id)
    assert (stored.sync_type, stored.expression) == (SyncType.Incremental, "0 0 2 * * *")
    assert [entry.status.name for entry in await world.listed()] == ["Applied"]
    world.close()


async def test_a_provider_that_cannot_be_asked_is_no_failure_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = RecommendationWorld(tmp_path)
    _ran(world)
    asked = []

    def refuse(integration: Integration) -> Sequence[StreamProfile]:
        asked.append(integration)
        raise Conflict("The credentials are not in the secret store; set them again.")

    monkeypatch.setattr(world.providers, "streams", refuse)
    assert await world.listed() == []
    assert len(asked) == 1
    world.close()
