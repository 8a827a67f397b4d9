"""What the status and the log of a job tell of its execution."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.errors import Conflict, NotFound
from domain.core.paging import PageRequest
from domain.providers.contract import ProviderFailure
from domain.providers.records import ListPage, SourceRecord
from domain.sync.dispatch import Dispatcher
from domain.sync.model import LogEntry, LogKind, SyncJob, SyncStatus
from domain.sync.rules import TIMEOUT
from domain.sync.service import SyncService
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld

_K = LogKind


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path, size=4)
    made.crm.page = 4
    for index in range(10):
        made.crm.put(f"c{index:02d}", START - timedelta(days=1, minutes=-index))
    made.crm.before_page = lambda: made.clock.advance(seconds=1)
    yield made
    made.close()


def _log(world: SyncWorld, job: SyncJob, *kinds: LogKind, page: PageRequest | None = None) -> list[LogEntry]:
    found = world.hub.use(SyncService).log(
        world.principal, job.data_sync_job_id, kinds, page or PageRequest()
    )
    return list(found.items)


def _last_sync(world: SyncWorld, job: SyncJob) -> object:
    with world.transactions.read() as tx:
        return tx.integrations.get(job.tenant_id, job.integration_id).last_sync_time


def _spoil(world: SyncWorld, *keys: str) -> None:
    for key in keys:
        world.crm.records[key] = SourceRecord(key, {"email": ["no text"]}, START)


@pytest.mark.parametrize("sync_type", ["Full", "Incremental", "Differential"])
async def test_a_job_whose_every_record_failed_has_failed_and_alerts(
    world: SyncWorld, sync_type: str
) -> None:
    integration = await world.integration()
    _spoil(world, *world.crm.records)
    job = await world.synced(integration, sync_type)
    assert (job.status, job.error_code, job.records_failed) == (
        SyncStatus.Failed,
        "every-record-failed",
        10,
    )
    assert "10 in all" in str(job.error_log)
    assert [alert["kind"] for alert in world.alerts()] == ["sync-failed"]
    assert world.raised("DataSyncCompleted") == []
    assert world.raised("DataSyncFailed")[0]["recordsFailed"] == 10
    assert _last_sync(world, job) is None
    with pytest.raises(Conflict) as refusal:
        world.hub.use(SyncService).resume(world.principal, job.data_sync_job_id)
    assert refusal.value.code == "not-resumable"


async def test_a_list_of_which_no_record_could_be_taken_is_asked_for_again(world: SyncWorld) -> None:
    integration = await world.integration()
    good = dict(world.crm.records)
    before = await world.synced(integration)
    was = _last_sync(world, before)
    world.clock.advance(hours=1)
    world.crm.put("c03", world.clock.now() - timedelta(minutes=30))
    changed = world.crm.records["c03"]
    _spoil(world, "c03")
    world.crm.records["c03"] = SourceRecord("c03", {"email": ["no text"]}, changed.modified_at)
    world.crm.shape = lambda page: ListPage([r for r in page.records if r.external_id == "c03"], None)
    failed = await world.synced(integration, "Incremental")
    assert (failed.status, failed.records_failed) == (SyncStatus.Failed, 1)
    assert _last_sync(world, failed) == was
    world.crm.shape = lambda page: page
    world.crm.records.update(good)
    world.crm.put("c03", changed.modified_at, firstName="Ada")
    world.clock.advance(days=1)
    await world.synced(integration, "Incremental")
    assert world.live(integration)["c03"]["firstName"] == "Ada"


async def test_one_good_record_makes_it_a_partial_success(world: SyncWorld) -> None:
    _spoil(world, *(key for key in world.crm.records if key != "c09"))
    job = await world.synced(await world.integration())
    assert (job.status, job.records_failed) == (SyncStatus.PartialSuccess, 9)
    assert _last_sync(world, job) is not None
    assert world.alerts() == []


async def test_the_log_tells_of_start_batches_refused_records_and_end(world: SyncWorld) -> None:
    _spoil(world, "c05")
    job = await world.synced(await world.integration())
    log = _log(world, job)
    assert [entry.kind for entry in log] == [_K.Start, _K.Batch, _K.Record, _K.Batch, _K.Batch, _K.End]
    assert [(entry.external_id, entry.pointer) for entry in log if entry.kind == _K.Record] == [
        ("c05", "/email")
    ]
    second = log[3]
    assert second.stream == "contacts"
    assert second.details == {
        "batch": 2,
        "size": 4,
        "processed": 3,
        "failed": 1,
        "streamProcessed": 7,
        "streamFailed": 1,
    }
    assert log[-1].reason.startswith("PartialSuccess: 9 records processed, 1 failed.")
    assert [entry.created_at for entry in log] == sorted(entry.created_at for entry in log)


async def test_the_log_tells_of_retries_with_their_reasons_halvings_and_waits(world: SyncWorld) -> None:
    world.crm.failures = [
        ProviderFailure("malformed", "Cut short."),
        ProviderFailure("unavailable", "Out of order."),
        ProviderFailure("rate_limited", "Slow down.", retry_after_seconds=90),
    ]
    job = await world.synced(await world.integration())
    told = _log(world, job, _K.Retry, _K.Wait)
    assert [entry.kind for entry in told] == [_K.Retry, _K.Retry, _K.Wait]
    assert [(entry.details or {}).get("nextSize") for entry in told] == [2, 1, None]
    assert "Cut short." in told[0].reason
    assert "Out of order." in told[1].reason
    assert (told[2].details or {})["seconds"] == 90
    assert "Slow down." in told[2].reason


async def test_the_log_tells_why_a_job_gave_up(world: SyncWorld) -> None:
    world.crm.failures = [ProviderFailure("unavailable", "Out of order.")] * 8
    job = await world.synced(await world.integration())
    log = _log(world, job)
    assert [entry.kind for entry in log] == [_K.Start, *[_K.Retry] * 8, _K.End]
    assert log[-1].reason.endswith("Out of order.")


async def test_the_log_tells_of_time_outs_and_resumptions(world: SyncWorld) -> None:
    first = await world.run(world.start(await world.integration()), batches=1)
    world.clock.advance(seconds=TIMEOUT.total_seconds())
    first = await world.run(first)
    assert first.resumed_by is not None
    assert [entry.kind for entry in _log(world, first)] == [_K.Start, _K.Batch, _K.TimeOut]
    assert str(first.resumed_by) in _log(world, first, _K.TimeOut)[0].reason
    second = world.hub.use(SyncService).get(world.principal, first.resumed_by)[0]
    assert str(first.data_sync_job_id) in _log(world, second, _K.Resumption)[0].reason
    world.clock.advance(seconds=1)
    world.hub.use(Dispatcher).claim()
    world.clock.advance(minutes=3)
    [silent] = world.hub.use(Dispatcher).silent()
    assert world.hub.use(Dispatcher).revive(silent) is not None
    world.clock.advance(seconds=1)
    world.hub.use(SyncService).cancel(world.principal, second.data_sync_job_id)
    world.clock.advance(seconds=1)
    world.hub.use(SyncService).resume(world.principal, second.data_sync_job_id)
    told = [(entry.kind, entry.reason.partition(".")[0]) for entry in _log(world, second)]
    assert [kind for kind, _ in told] == [_K.Resumption, _K.Start, _K.Resumption, _K.End, _K.Resumption]
    assert [text for kind, text in told if kind == _K.Resumption][1:] == [
        "The execution of run 1 was lost",
        "A person resumed the job",
    ]


async def test_the_log_of_many_batches_stays_small(world: SyncWorld) -> None:
    for index in range(440):
        world.crm.put(f"d{index:03d}", START)
    job = await world.synced(await world.integration())
    log = _log(world, job, _K.Batch, page=PageRequest(1, 1_000))
    assert job.status == SyncStatus.Completed
    assert len(log) == 99 + 2 + 1, "of 113 batches the first 99, then every tenth, and the last"
    assert {(entry.details or {})["batch"] for entry in log} >= {1, 99, 100, 110, 113}
    assert len(_log(world, job, _K.Batch, page=PageRequest(3, 50))) == 2


async def test_the_log_of_many_waits_stays_small(world: SyncWorld) -> None:
    limited = ProviderFailure("rate_limited", "Slow down.", retry_after_seconds=2)
    world.crm.failures = [limited] * 120
    job = await world.synced(await world.integration())
    assert len(_log(world, job, _K.Wait, page=PageRequest(1, 200))) == 99 + 3


async def test_a_batch_that_is_not_stored_leaves_nothing_in_the_log(world: SyncWorld) -> None:
    job = await world.run(world.start(await world.integration()), batches=1)
    world.crm.before_page = lambda: world.hub.use(SyncService).cancel(world.principal, job.data_sync_job_id)
    await world.run(job)
    assert [entry.kind for entry in _log(world, job)][:2] == [_K.Start, _K.Batch]
    assert len(_log(world, job, _K.Batch)) == 1


async def test_the_log_of_another_tenant_is_not_there(world: SyncWorld) -> None:
    job = world.start(await world.integration())
    with pytest.raises(NotFound):
        world.hub.use(SyncService).log(world.other, job.data_sync_job_id, [], PageRequest())
