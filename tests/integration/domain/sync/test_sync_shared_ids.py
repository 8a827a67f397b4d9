"""Records that share an id by mistake: counted, told, and never confused with revisions and copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.paging import PageRequest
from domain.providers.records import ListPage, SourceRecord
from domain.sync.model import LogKind, SyncJob, SyncStatus
from domain.sync.service import SyncService
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld

TOLD = "The provider lists different records under this id; one of them is kept."


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    yield made
    made.close()


def contact(name: str, email: str, minutes: int | None = None, **more: int) -> SourceRecord:
    modified_at = START - timedelta(minutes=minutes) if minutes is not None else None
    return SourceRecord(name, {"email": email}, modified_at, **more)  # type: ignore[arg-type]


def told(world: SyncWorld, job: SyncJob) -> list[tuple[str, str]]:
    service, of = world.hub.use(SyncService), job.data_sync_job_id
    errors = service.log(world.principal, of, [LogKind.Record], PageRequest())
    return [(error.external_id, error.reason) for error in errors.items]


PAGES: dict[str, tuple[Sequence[SourceRecord], list[str], int]] = {
    "different, without a moment": ((contact("a", "x@e.org"), contact("a", "y@e.org")), ["a"], 1),
    "different, of one moment": ((contact("a", "x@e.org", 5), contact("a", "y@e.org", 5)), ["a"], 1),
    "revisions": ((contact("a", "x@e.org", 9), contact("a", "y@e.org", 5)), [], 1),
    "copies": ((contact("a", "x@e.org"), contact("a", "x@e.org")), [], 1),
    "told by the adapter": (
        (contact("a", "x@e.org", repeats=2, shares_id=True), contact("b", "y@e.org", repeats=1)),
        ["a"],
        3,
    ),
}


@pytest.mark.parametrize("case", PAGES)
async def test_different_records_under_one_id_are_counted_and_told(world: SyncWorld, case: str) -> None:
    rows, shared, duplicates = PAGES[case]
    integration = await world.integration()
    world.crm.shape = lambda _: ListPage(rows)
    job = await world.synced(integration)
    assert (job.status, job.records_duplicate, job.records_failed) == (SyncStatus.Completed, duplicates, 0)
    assert told(world, job) == [(name, TOLD) for name in shared]


@pytest.mark.parametrize("sync_type", ["Full", "Incremental"])
async def test_an_older_revision_that_comes_later_changes_nothing(world: SyncWorld, sync_type: str) -> None:
    """As where a cache gives a copy of a published calendar from before."""
    integration = await world.integration()
    for sequence, minutes, email in ((2, 9, "b@e.org"), (1, 5, "a@e.org"), (3, 99, "c@e.org")):
        row = contact("a", email, minutes, sequence=sequence)
        world.crm.shape = lambda _, row=row: ListPage([row])  # type: ignore[misc]
        await world.synced(integration, sync_type if sequence < 3 else "Full")
        expected = "b@e.org" if sequence < 3 else email
        assert world.live(integration)["a"]["email"] == expected
        world.clock.advance(days=1, hours=1)


async def test_they_are_told_where_batches_lie_between_them(world: SyncWorld) -> None:
    integration = await world.integration()
    pages = [[contact(f"{n}{k}", f"{n}{k}@e.org") for k in range(6)] for n in range(2)]
    pages[1][3] = contact("02", "other@e.org")
    world.crm.page = 6
    world.crm.shape = lambda page: ListPage(
        pages[len(world.crm.requests) - 1], "b" if len(world.crm.requests) == 1 else None
    )
    job = await world.synced(integration)
    assert told(world, job) == [("02", TOLD)]
    assert world.live(integration)["02"]["email"] == "other@e.org"
