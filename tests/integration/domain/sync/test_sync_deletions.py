"""When a record that is not listed any more counts as deleted, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from domain.providers.records import ListPage, SourceRecord, StateExpired
from domain.sync.model import SyncStatus
from domain.sync.service import SyncService
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    for index in range(10):
        made.crm.put(f"c{index:02d}", START - timedelta(days=1, minutes=-index))
    yield made
    made.close()


@pytest.mark.parametrize("sync_type", ["Incremental", "Differential"])
async def test_only_a_full_sync_buries(world: SyncWorld, sync_type: str) -> None:
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c03"]
    world.clock.advance(hours=1)
    await world.synced(integration, sync_type)
    assert "c03" in world.live(integration)


async def test_a_record_that_a_shifting_list_hid_is_brought_back_by_the_next_differential_sync(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    await world.synced(integration)
    before = world.live(integration)
    hidden = world.crm.records.pop("c03")
    world.clock.advance(days=1)
    await world.synced(integration)
    assert "c03" not in world.live(integration)
    world.crm.records["c03"] = hidden
    world.clock.advance(hours=1)
    await world.synced(integration, "Differential")
    assert world.live(integration) == before


@pytest.mark.parametrize(("is_complete", "asks_from_before"), [(False, True), (True, False)])
async def test_an_empty_answer_that_may_lack_something_does_not_move_the_beginning_of_the_next_run(
    world: SyncWorld, is_complete: bool, asks_from_before: bool
) -> None:
    integration = await world.integration()
    await world.synced(integration)
    world.clock.advance(hours=2)
    first = world.clock.now()
    world.crm.shape = lambda _: ListPage((), is_complete=is_complete)
    await world.synced(integration, "Incremental")
    world.clock.advance(hours=2)
    await world.synced(integration, "Incremental")
    since = world.crm.requests[-1].since
    assert since is not None
    assert (since < first - timedelta(hours=1)) == asks_from_before


async def test_what_a_forgetful_provider_does_not_list_any_more_stays(world: SyncWorld) -> None:
    world.crm.complete_history = False
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c03"]
    world.crm.records["c04"] = SourceRecord("c04", {}, START, deleted=True)
    world.clock.advance(days=1)
    job = await world.synced(integration)
    assert (job.status, job.records_deleted) == (SyncStatus.Completed, 1)
    live = world.live(integration)
    assert "c03" in live
    assert "c04" not in live, "what the provider itself calls deleted is"


async def test_a_forgetful_provider_that_forgot_its_state_too_buries_nothing(world: SyncWorld) -> None:
    world.crm.complete_history = False
    world.crm.incremental, world.crm.next_state = "token", "t1"
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c01"]
    world.clock.advance(hours=1)
    world.crm.failures = [StateExpired()]
    job = await world.synced(integration, "Incremental")
    assert (job.status, job.records_deleted) == (SyncStatus.Completed, 0)
    assert "c01" in world.live(integration)


async def test_a_run_that_never_saw_the_whole_source_buries_nothing(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    world.clock.advance(days=1)
    stopped = await world.run(world.start(integration), batches=1)
    assert stopped.status == SyncStatus.Running
    world.hub.use(SyncService).cancel(world.principal, stopped.data_sync_job_id)
    assert len(world.live(integration)) == 10


async def test_the_provider_forgot_the_state_and_the_stream_is_listed_anew(world: SyncWorld) -> None:
    world.crm.incremental, world.crm.next_state = "token", "t1"
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c01"]
    world.clock.advance(hours=1)
    world.crm.failures = [StateExpired()]
    job = await world.synced(integration, "Incremental")
    states = [request.state for request in world.crm.requests]
    assert states[-4:] == ["t1", None, None, None]
    assert (job.status, job.records_deleted) == (SyncStatus.Completed, 1)


async def test_a_record_that_the_provider_failed_to_give_stays_and_the_token_too(world: SyncWorld) -> None:
    world.crm.incremental, world.crm.next_state = "token", "t1"
    integration = await world.integration()
    await world.synced(integration)
    world.crm.records["c03"] = SourceRecord("c03", {}, unread="The provider answered 503 for this record.")
    world.crm.next_state = "t2"
    world.clock.advance(days=1)
    full = await world.synced(integration)
    assert (full.status, full.records_failed, full.records_deleted) == (SyncStatus.PartialSuccess, 1, 0)
    assert len(world.live(integration)) == 10
    world.clock.advance(hours=2)
    await world.synced(integration, "Incremental")
    assert world.crm.requests[-1].state == "t1", "the next run asks again from where this one began"
    world.crm.put("c03", START, email="back@example.com")
    world.clock.advance(hours=2)
    assert (await world.synced(integration, "Incremental")).status == SyncStatus.Completed
    assert world.live(integration)["c03"]["email"] == "back@example.com"


async def test_a_record_that_is_refused_is_at_the_provider_still(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    before = world.live(integration)
    world.crm.put("c03", START, email="x" * 3_000)
    del world.crm.records["c04"]
    world.clock.advance(days=1)
    job = await world.synced(integration)
    assert (job.records_failed, job.records_deleted) == (1, 1)
    assert world.live(integration) == {key: data for key, data in before.items() if key != "c04"}


@pytest.mark.parametrize("size", [2, 6])
async def test_nobody_knows_which_record_one_without_an_id_is(tmp_path: Path, size: int) -> None:
    world = SyncWorld(tmp_path, size=size)
    for index in range(4):
        world.crm.put(f"c{index}", START)
    integration = await world.integration()
    await world.synced(integration)
    world.crm.records["c1"] = SourceRecord("", {"email": "c1@example.com"})
    world.clock.advance(days=1)
    job = await world.synced(integration)
    assert (job.records_failed, job.records_deleted) == (1, 0)
    assert len(world.live(integration)) == 4
    world.close()


async def test_a_list_that_is_not_complete_buries_nothing_and_a_problem_is_told_once(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c03"]
    world.clock.advance(days=1)
    world.crm.shape = lambda page: replace(page, is_complete=False)
    job = await world.synced(integration)
    assert (job.status, job.records_deleted) == (SyncStatus.Completed, 0)
    world.clock.advance(days=1)
    world.crm.shape = lambda page: page if page.next_cursor else replace(page, problem="The list was cut.")
    job = await world.synced(integration)
    assert (job.status, job.records_failed, job.records_deleted) == (SyncStatus.PartialSuccess, 1, 0)
    world.clock.advance(days=1)
    world.crm.shape = lambda page: page
    assert (await world.synced(integration)).records_deleted == 1
