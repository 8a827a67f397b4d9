"""Jobs whose provider's list goes round, stands still, or only looks as if it did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from domain.core.paging import PageRequest
from domain.providers.contract import ProviderFailure
from domain.providers.records import ListingRequest, ListPage, SourceRecord
from domain.sync.model import LogKind, SyncJob, SyncStatus
from domain.sync.service import SyncService
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    yield made
    made.close()


def rows(*ids: object, **data: object) -> Sequence[SourceRecord]:
    return [SourceRecord(f"c{name}", {"email": f"c{name}@example.com", **data}) for name in ids]


def lists(world: SyncWorld, pages: dict[str | None, tuple[Sequence[SourceRecord], str | None]]) -> None:
    """Let the provider answer each cursor with its rows and the next cursor."""

    def page(_: ListPage) -> ListPage:
        found, following = pages[world.crm.requests[-1].cursor]
        return ListPage(found, following)

    world.crm.shape = page


def asked(world: SyncWorld) -> list[ListingRequest]:
    return world.crm.requests


def cause(job: SyncJob) -> str:
    return str(json.loads(job.error_log or "{}").get("cause"))


async def test_a_list_that_goes_round_ends_as_failed_keeps_its_records_and_deletes_none(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    world.crm.put("old", START - timedelta(days=2))
    await world.synced(integration)
    world.clock.advance(days=1)
    world.crm.requests.clear()
    pages = {None: (rows(1, 2), "a"), "a": (rows(3, 4), "b"), "b": (rows(5), "c"), "c": (rows(6), "a")}
    lists(world, pages)
    job = await world.synced(integration)
    assert (job.status, cause(job), job.records_written) == (SyncStatus.Failed, "list-goes-round", 6)
    assert "was read before" in (job.error_log or "")
    assert set(world.live(integration)) == {"old", *(f"c{n}" for n in range(1, 7))}
    assert len(asked(world)) == 4
    resumed = await world.run(world.hub.use(SyncService).resume(world.principal, job.data_sync_job_id))
    assert (resumed.status, cause(resumed), len(asked(world))) == (SyncStatus.Failed, "list-goes-round", 4)


async def test_a_page_that_comes_again_under_another_cursor_ends_the_job_across_batches_too(
    world: SyncWorld,
) -> None:
    """The batches hold six records, so that the repetition is in another batch than its first."""
    integration = await world.integration()
    world.crm.page = 6
    found = [rows(*range(n * 6, n * 6 + 6)) for n in range(3)]

    def page(_: ListPage) -> ListPage:
        number = len(asked(world))
        return ListPage(found[(number - 1) % 3], f"token-{number}")

    world.crm.shape = page
    job = await world.synced(integration)
    assert (job.status, cause(job), job.records_written) == (SyncStatus.Failed, "list-goes-round", 18)
    assert "a page holds what" in (job.error_log or "")


async def test_a_list_that_brings_nothing_new_is_asked_once_in_five_seconds_and_sixty_times(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    moments = []

    def page(_: ListPage) -> ListPage:
        moments.append(world.clock.now())
        return ListPage(rows(1, phone=str(len(moments))), f"token-{len(moments)}")

    world.crm.shape = page
    job = await world.synced(integration)
    assert (job.status, cause(job), len(moments)) == (SyncStatus.Failed, "list-goes-round", 61)
    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert waits[:3] == [timedelta(0)] * 3
    assert set(waits[3:]) == {timedelta(seconds=5)}
    service, of = world.hub.use(SyncService), job.data_sync_job_id
    entry = service.log(world.principal, of, [LogKind.Wait], PageRequest()).items[0]
    assert entry.reason == "Waiting 5 seconds: The list brings nothing new."


async def test_empty_pages_lead_on_to_what_follows_them(world: SyncWorld) -> None:
    integration = await world.integration()

    def page(_: ListPage) -> ListPage:
        number = len(asked(world))
        return ListPage(
            rows(number) if number in (1, 1_002) else (), f"t{number}" if number < 1_002 else None
        )

    world.crm.shape = page
    job = await world.synced(integration)
    assert (job.status, set(world.live(integration))) == (SyncStatus.Completed, {"c1", "c1002"})


@pytest.mark.parametrize("sync_type", ["Full", "Differential"])
async def test_a_list_in_which_nothing_changed_since_the_last_run_is_read_without_a_wait(
    world: SyncWorld, sync_type: str
) -> None:
    world.crm.page = 2
    for number in range(30):
        world.crm.put(f"c{number:02d}")
    integration = await world.integration()
    await world.synced(integration)
    world.clock.advance(days=1)
    before = world.clock.now()
    job = await world.synced(integration, sync_type)
    assert (job.status, job.records_unchanged, world.clock.now()) == (SyncStatus.Completed, 30, before)


async def test_a_page_that_is_read_again_for_its_rest_is_no_round(world: SyncWorld) -> None:
    """The provider ignores the size that is asked for: each of its pages fills several batches."""
    integration = await world.integration()
    lists(world, {None: (rows(*range(20)), "b"), "b": (rows(*range(20, 33)), None)})
    job = await world.synced(integration)
    assert (job.status, job.records_written) == (SyncStatus.Completed, 33)


async def test_a_failure_that_lasts_ends_the_job_at_once(world: SyncWorld) -> None:
    """As a list that goes on at another host."""
    integration = await world.integration()
    world.crm.failures = [ProviderFailure("malformed", "It leads elsewhere.", is_lasting=True)] * 2
    job = await world.synced(integration)
    assert (job.status, cause(job), len(asked(world))) == (SyncStatus.Failed, "malformed", 1)


async def test_empty_pages_before_a_failure_are_not_asked_for_again(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.put("a", START)
    pages: dict[str | None, tuple[Sequence[SourceRecord], str | None]] = {
        None: ((), "b"),
        "b": ((), "c"),
        "c": (rows(1), None),
    }
    lists(world, pages)
    inner = world.crm.shape

    def failing(page: ListPage) -> ListPage:
        if [request.cursor for request in asked(world)].count("c") == 1 and asked(world)[-1].cursor == "c":
            raise TimeoutError
        return inner(page)

    world.crm.shape = failing
    job = await world.synced(integration)
    assert job.status == SyncStatus.Completed
    assert [request.cursor for request in asked(world)] == [None, "b", "c", "c"]
