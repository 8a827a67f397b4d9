"""Edits on both sides of one record, with providers that enforce versions as they document it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from domain.core.ports import Clock
from domain.sync.model import SyncStatus
from tests.worlds.both_ways import PEERS, BothWays
from tests.worlds.calendar_peers import CalDavPeer, RadicalePeer
from tests.worlds.record_peers import RecordPeer
from tests.worlds.sync_world import SyncWorld

MAKERS: dict[str, Callable[[Clock], RecordPeer]] = {**PEERS, "Radicale": RadicalePeer}
#: Every provider by its changes; the listings of everything differ in what they tell of deletions.
RUNS = [
    *((name, "Incremental") for name in MAKERS),
    ("CalDAV", "Full"),
    ("HubSpot", "Full"),
    ("Outlook", "Full"),
    ("Google", "Differential"),
]
BY_TYPE = pytest.mark.parametrize(("name", "sync_type"), RUNS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path_factory.mktemp("both"))
    yield made
    made.close()


async def agreed(world: SyncWorld, name: str) -> BothWays:
    """Both sides have the record `a` with the content `old`, after an import."""
    both = await BothWays.between(world, MAKERS[name](world.clock))
    both.peer.put("a", "old")
    await both.sync(direction="Import")
    assert both.held() == {"a": "old"}
    return both


@BY_TYPE
async def test_the_hubs_edit_reaches_the_provider_when_it_is_the_later_one__BR_DS_07(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    world.clock.advance(minutes=1)
    both.peer.put("a", "theirs")
    world.clock.advance(minutes=1)
    both.edit("a", "ours")
    job = await both.sync(sync_type)
    assert (job.status, job.records_failed) == (SyncStatus.Completed, 0), both.log(job)
    await both.settle()
    assert both.peer.held() == {"a": "ours"}


@BY_TYPE
async def test_the_providers_edit_stays_when_it_is_the_later_one_and_the_log_says_so__BR_DS_07(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    world.clock.advance(minutes=1)
    both.edit("a", "ours")
    world.clock.advance(minutes=1)
    both.peer.put("a", "theirs")
    writes = both.peer.writes
    job = await both.sync(sync_type)
    ((_, reason),) = both.log(job)
    assert "your change was not pushed" in reason
    assert (job.records_failed, both.peer.writes) == (0, writes)
    await both.settle()
    assert both.held() == {"a": "theirs"}


@BY_TYPE
async def test_what_the_provider_deleted_before_the_hubs_edit_is_made_anew__BR_DS_07(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    (before,) = world.stored(both.integration_id)
    world.clock.advance(minutes=1)
    both.peer.delete("a")
    world.clock.advance(minutes=1)
    both.edit("a", "ours")
    job = await both.sync(sync_type)
    assert (job.status, job.records_failed) == (SyncStatus.Completed, 0), both.log(job)
    await both.settle()
    assert both.peer.held() == {"a": "ours"}
    stored = world.stored(both.integration_id)
    live = [key for key, record in stored.items() if record.data is not None]
    # Who reads the changes learns that the former id is gone.
    assert live == [before] or stored[before].data is None


@pytest.mark.parametrize("name", ["Google", "Salesforce"])
@pytest.mark.parametrize("sync_type", ["Incremental", "Full"])
async def test_what_the_provider_deleted_after_the_hubs_edit_is_gone__BR_DS_07(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    world.clock.advance(minutes=1)
    both.edit("a", "ours")
    world.clock.advance(minutes=1)
    both.peer.delete("a")
    await both.sync(sync_type)
    await both.settle()
    assert both.held() == {}


@pytest.mark.parametrize("name", ["Outlook", "CalDAV", "Radicale"])
async def test_a_deletion_that_names_no_moment_takes_no_waiting_edit(world: SyncWorld, name: str) -> None:
    both = await agreed(world, name)
    both.edit("a", "ours")
    world.clock.advance(minutes=1)
    both.peer.delete("a")
    await both.settle()
    assert both.held() == {"a": "ours"}
    both.peer.delete("a")  # nothing waits now
    await both.settle()
    assert both.held() == {}


@BY_TYPE
async def test_the_hubs_deletion_reaches_the_provider_when_it_is_the_later_one__BR_DS_07(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    world.clock.advance(minutes=1)
    both.peer.put("a", "theirs")
    world.clock.advance(minutes=1)
    both.remove("a")
    job = await both.sync(sync_type)
    assert (job.status, job.records_failed) == (SyncStatus.Completed, 0), both.log(job)
    await both.settle()
    assert both.peer.held() == {}


@BY_TYPE
async def test_the_providers_edit_after_the_hubs_deletion_brings_the_record_back__BR_DS_07(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    world.clock.advance(minutes=1)
    both.remove("a")
    world.clock.advance(minutes=1)
    both.peer.put("a", "theirs")
    await both.sync(sync_type)
    await both.settle()
    assert both.held() == {"a": "theirs"}


@BY_TYPE
async def test_what_both_sides_deleted_is_gone_and_nothing_fails(
    world: SyncWorld, name: str, sync_type: str
) -> None:
    both = await agreed(world, name)
    both.remove("a")
    both.peer.delete("a")
    job = await both.sync(sync_type)
    assert (job.status, job.records_failed) == (SyncStatus.Completed, 0), both.log(job)
    await both.settle()
    assert both.held() == {}


@pytest.mark.parametrize("name", MAKERS)
async def test_an_export_alone_pushes_over_an_older_edit_and_not_over_a_later_one__BR_DS_07(
    world: SyncWorld, name: str
) -> None:
    both = await agreed(world, name)
    both.peer.put("a", "theirs")
    world.clock.advance(minutes=1)
    both.edit("a", "ours")
    job = await both.sync(direction="Export")
    assert (job.records_failed, both.peer.held()) == (0, {"a": "ours"})
    both.edit("a", "again")
    world.clock.advance(minutes=1)
    both.peer.put("a", "later")
    job = await both.sync(direction="Export")
    assert (job.records_failed, both.peer.held()) == (1, {"a": "later"})
    await both.settle()
    assert both.held() == {"a": "later"}


@pytest.mark.parametrize("name", MAKERS)
async def test_a_creation_whose_answer_was_lost_does_not_undo_what_the_provider_changed_since(
    world: SyncWorld, name: str
) -> None:
    both = await BothWays.between(world, MAKERS[name](world.clock))
    both.edit("a", "ours")
    last = {"POST": False}

    def lose_what_follows_a_creation() -> None:
        is_made = "a" in both.peer.held()
        if both.peer.requests[-1].method in ("POST", "PUT") and not is_made and not last["POST"]:
            last["POST"], both.peer.faults = True, ["lost", *["refused"] * 40]

    both.peer.meanwhile = lose_what_follows_a_creation
    await both.sync(direction="Export")
    assert both.peer.held() == {"a": "ours"}
    both.peer.faults, both.peer.meanwhile = [], lambda: None
    world.clock.advance(minutes=1)
    both.peer.put("a", "theirs")
    await both.settle()
    assert both.held() == {"a": "theirs"}


async def test_a_run_that_shows_no_deletions_leaves_them_to_the_next_incremental_one(
    world: SyncWorld,
) -> None:
    both = await BothWays.between(world, CalDavPeer(world.clock))
    for mark in "ab":
        both.peer.put(mark, "old")
    await both.sync(direction="Import")
    both.peer.delete("b")
    await both.sync("Differential", "Import")
    assert set(both.held()) == {"a", "b"}
    await both.sync(direction="Import")
    assert set(both.held()) == {"a"}


@pytest.mark.parametrize("name", PEERS)
async def test_a_record_that_the_provider_never_had_under_that_id_is_refused_and_not_made(
    world: SyncWorld, name: str
) -> None:
    both = await agreed(world, name)
    both.put(both.peer.record("b", "ours"), externalId="1234567")
    job = await both.sync()
    ((_, reason),) = both.log(job)
    assert "no longer exists" in reason
    assert both.peer.held() == {"a": "old"}
