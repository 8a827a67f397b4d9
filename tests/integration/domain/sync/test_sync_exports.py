"""A tenant's own changes on their way to the provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher
from domain.sync.job_runs import JobRuns
from domain.sync.model import SyncStatus
from domain.sync.record_service import PutRecords, RecordService
from tests.worlds.builders import START
from tests.worlds.integration_world import Killed
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    for index in range(10):
        made.crm.put(f"c{index:02d}", START - timedelta(days=1, minutes=-index))
    yield made
    made.close()


async def test_own_changes_are_pushed_once_and_do_not_come_back(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    body = {"records": [{"localId": "mine", "data": {"email": "new@example.com"}}]}
    world.clock.advance(hours=1)
    assert world.hub.use(RecordService).change(world.principal, integration, _records(body)).stored == 1
    job = await world.synced(integration, "Incremental", direction="Export")
    assert (job.status, job.records_written, len(world.crm.pushes)) == (SyncStatus.Completed, 1, 1)
    pushed = next(record for record in world.stored(integration).values() if record.local_id == "mine")
    assert (pushed.external_id.startswith("crm-"), pushed.export_pending) == (True, False)
    world.clock.advance(hours=1)
    both = await world.synced(integration, "Incremental", direction="Bidirectional")
    assert (both.status, len(world.crm.pushes)) == (SyncStatus.Completed, 1)
    assert len([data for data in world.live(integration).values() if data["email"] == "new@example.com"]) == 1


async def test_a_push_that_was_not_recorded_is_repeated_under_the_same_key(world: SyncWorld) -> None:
    integration = await world.integration()
    world.hub.use(RecordService).change(world.principal, integration, _records({"records": [_local("a")]}))
    job = world.start(integration, direction="Export")
    run = world.hub.use(Dispatcher).claim()[0].run_number
    world.hub.use(JobRuns).plan(job.data_sync_job_id, run)
    world.crm.refuses = lambda request: (
        (_ for _ in ()).throw(Killed()) if len(world.crm.pushes) == 1 else False
    )
    with pytest.raises(Killed):
        await world.hub.use(BatchRunner).run_batch(job.data_sync_job_id, run, 0, 6)
    await world.run(world.job(job))
    assert len({push.idempotency_key for push in world.crm.pushes}) == 1


async def test_a_record_edited_after_the_answer_of_its_creation_was_lost_is_not_created_twice(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    world.hub.use(RecordService).change(world.principal, integration, _records({"records": [_local("a")]}))
    world.crm.failures = [ProviderFailure("unavailable", "The answer was lost.")]
    failed = await world.run(world.start(integration, direction="Export"), batches=1)
    assert failed.status == SyncStatus.Failed
    world.clock.advance(hours=1)
    edited = {"localId": "a", "data": {"email": "b@example.com"}}
    world.hub.use(RecordService).change(world.principal, integration, _records({"records": [edited]}))
    await world.synced(integration, "Incremental", direction="Export")
    assert [push.data["email"] for push in world.crm.pushes] == ["a@example.com", "b@example.com"]
    assert [push.external_id for push in world.crm.pushes] == [None, None]
    assert len({push.idempotency_key for push in world.crm.pushes}) == 1


async def test_two_changes_to_one_record_have_two_keys(world: SyncWorld) -> None:
    integration = await world.integration()
    for email in ("new@example.com", "first@example.com", "second@example.com"):
        world.clock.advance(hours=1)
        change = {"localId": "mine", "data": {"email": email}}
        world.hub.use(RecordService).change(world.principal, integration, _records({"records": [change]}))
        await world.synced(integration, "Incremental", direction="Export")
    created, first, second = world.crm.pushes
    assert created.external_id is None
    assert first.external_id == second.external_id is not None
    assert len({push.idempotency_key for push in world.crm.pushes}) == 3


async def test_the_later_of_two_changes_wins_in_both_directions__BR_DS_07(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    world.clock.advance(hours=1)
    ours = [
        {"externalId": "c01", "data": {"email": "ours@example.com"}, "modifiedAt": "2026-03-01T09:10:00Z"},
        {"externalId": "c02", "data": {"email": "ours@example.com"}, "modifiedAt": "2026-03-01T09:50:00Z"},
    ]
    world.hub.use(RecordService).change(world.principal, integration, _records({"records": ours}))
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    world.crm.put("c01", at, firstName="Theirs")
    world.crm.put("c02", at, firstName="Theirs")
    await world.synced(integration, "Incremental", direction="Bidirectional")
    assert world.live(integration)["c01"]["firstName"] == "Theirs"
    assert [push.external_id for push in world.crm.pushes] == ["c02"]


async def test_a_record_the_provider_refuses_is_logged_and_the_others_go_out(world: SyncWorld) -> None:
    integration = await world.integration()
    world.hub.use(RecordService).change(
        world.principal, integration, _records({"records": [_local("a"), _local("b")]})
    )
    world.crm.refuses = lambda request: request.data["email"] == "a@example.com"
    job = await world.synced(integration, direction="Export")
    assert (job.status, job.records_written, job.records_failed) == (SyncStatus.PartialSuccess, 1, 1)


def _records(body: dict[str, Any]) -> PutRecords:
    return PutRecords.model_validate_json(json.dumps(body))


def _local(name: str) -> dict[str, Any]:
    return {"localId": name, "data": {"email": f"{name}@example.com"}}
