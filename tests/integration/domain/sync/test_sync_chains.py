"""Time-outs: a job that ran for 60 minutes is followed by one that goes on from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import Conflict, RuleViolation
from domain.core.paging import PageRequest
from domain.journal.signals import Sketch
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher
from domain.sync.job_runs import JobRuns
from domain.sync.model import JobOrigin, SyncJob, SyncStatus
from domain.sync.ports import JobFilter
from domain.sync.rules import TIMED_OUT, TIMEOUT
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import SyncService
from functions.http.datasyncs.views import job_view
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path, size=3)
    for index in range(10):
        made.crm.put(f"c{index:02d}", START - timedelta(days=1, minutes=-index))
    yield made
    made.close()


async def _timed_out(world: SyncWorld, job: SyncJob, *, batches: int = 1) -> SyncJob:
    """The job after a run of 60 minutes in which it stored so many batches."""
    if batches:
        await world.run(job, batches=batches)
    else:
        world.hub.use(Dispatcher).claim()
    world.clock.advance(seconds=TIMEOUT.total_seconds())
    return await world.run(world.job(job))


def _following(world: SyncWorld, job: SyncJob) -> SyncJob:
    assert job.resumed_by is not None
    return world.hub.use(SyncService).get(world.principal, job.resumed_by)[0]


def _jobs(world: SyncWorld) -> list[SyncJob]:
    return list(world.hub.use(SyncService).page(world.principal, JobFilter(), PageRequest()).items)


async def test_a_job_whose_time_is_up_goes_on_by_itself_from_its_checkpoint(world: SyncWorld) -> None:
    integration = await world.integration()
    first = await _timed_out(world, world.start(integration), batches=2)
    second = _following(world, first)
    assert (first.status, first.error_code) == (SyncStatus.Failed, "timeout")
    assert str(second.data_sync_job_id) in str(first.error_log)
    assert (second.status, second.resumed_from) == (SyncStatus.Scheduled, first.data_sync_job_id)
    assert (second.origin, second.records_processed) == (JobOrigin.Manual, 6)
    assert (second.started_at, second.completed_at, second.run_number) == (None, None, 0)
    before = len(world.crm.requests)
    ended = await world.run(second)
    assert [request.cursor for request in world.crm.requests[before:]] == ["c06", "c09"]
    assert (ended.status, ended.records_written, ended.records_total) == (SyncStatus.Completed, 10, 10)
    assert len(world.live(integration)) == 10
    views = [job_view(job, START) for job in (world.job(first), ended)]
    assert (views[0].resumed_by, views[1].resumed_from) == (ended.data_sync_job_id, first.data_sync_job_id)
    assert (views[0].resumed_from, views[1].resumed_by) == (None, None)
    assert views[0].error_log is not None
    assert views[0].error_log.resumable is False


async def test_a_time_out_that_goes_on_tells_of_it_and_alerts_nobody(world: SyncWorld) -> None:
    first = await _timed_out(world, world.start(await world.integration()))
    second = _following(world, first)
    assert world.alerts() == []
    assert world.raised("DataSyncFailed")[-1]["resumedBy"] == str(second.data_sync_job_id)
    initiated = world.raised("DataSyncInitiated")[-1]
    assert (initiated["resumedFrom"], initiated["recordsTotal"]) == (str(first.data_sync_job_id), 10)
    with world.transactions.read() as tx:
        assert tx.integrations.get(first.tenant_id, first.integration_id).last_sync_time is None
    await world.run(second)
    duration = world.raised("DataSyncCompleted")[-1]["duration"]
    assert duration == TIMEOUT.total_seconds(), "the whole of the chain"
    signals = world.rows("SELECT Total, Volume, Latency FROM SignalDeltas WHERE Volume > 0")
    took = Sketch.of([int(TIMEOUT.total_seconds() * 1000)])
    [(total, volume, latency)] = signals
    assert (total, volume) == (1, 10), "one sync"
    assert latency == took.to_json()


async def test_a_full_run_in_two_jobs_buries_only_what_neither_saw(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c08"]
    world.clock.advance(days=1)
    first = await _timed_out(world, world.start(integration))
    ended = await world.run(_following(world, first))
    assert (ended.status, ended.records_deleted) == (SyncStatus.Completed, 1)
    assert "c08" not in world.live(integration)
    assert len(world.live(integration)) == 9


@pytest.mark.parametrize("runs_before", [0, 1])
async def test_a_run_that_stores_nothing_ends_the_chain_with_an_alert(
    world: SyncWorld, runs_before: int
) -> None:
    job = world.start(await world.integration())
    for _ in range(runs_before):
        job = _following(world, await _timed_out(world, job))
    ended = await _timed_out(world, job, batches=0)
    assert (ended.status, ended.error_code, ended.resumed_by) == (SyncStatus.Failed, "timeout", None)
    assert "stored no batch" in str(ended.error_log)
    assert [alert["kind"] for alert in world.alerts()] == ["sync-failed"]
    assert len(_jobs(world)) == 1 + runs_before
    assert world.hub.use(Dispatcher).claim() == []


async def test_what_a_run_before_a_resumption_by_hand_stored_does_not_count(world: SyncWorld) -> None:
    service = world.hub.use(SyncService)
    job = await world.run(world.start(await world.integration()), batches=1)
    service.cancel(world.principal, job.data_sync_job_id)
    ended = await _timed_out(world, service.resume(world.principal, job.data_sync_job_id), batches=0)
    assert (ended.status, ended.error_code, ended.resumed_by) == (SyncStatus.Failed, "timeout", None)


async def test_a_chain_has_at_most_24_jobs(world: SyncWorld) -> None:
    for index in range(100):
        world.crm.put(f"d{index:02d}", START)
    job = await _timed_out(world, world.start(await world.integration()))
    for _ in range(23):
        job = await _timed_out(world, _following(world, job))
    assert (job.status, job.resumed_by, job.chain_run) == (SyncStatus.Failed, None, 24)
    assert "24 times" in str(job.error_log)
    assert [alert["kind"] for alert in world.alerts()] == ["sync-failed"]
    resumed = world.hub.use(SyncService).resume(world.principal, job.data_sync_job_id)
    again = await _timed_out(world, resumed)
    assert (await world.run(_following(world, again))).status == SyncStatus.Completed, "a person asked again"


@pytest.mark.parametrize(
    ("sync_type", "apart", "code"),
    [("Full", timedelta(days=1), "BR-DS-01"), ("Incremental", timedelta(hours=1), "BR-DS-02")],
)
async def test_a_chain_counts_once_as_its_first_job(
    world: SyncWorld, sync_type: str, apart: timedelta, code: str
) -> None:
    integration = await world.integration()
    world.clock.advance(hours=-2)
    asked = world.start(integration, sync_type, scheduledAt="2026-03-01T08:30:00Z")
    world.clock.advance(hours=1, minutes=45)
    first = await _timed_out(world, asked)
    world.clock.advance(minutes=-60)
    second = _following(world, first)
    for _ in ("while it goes on", "when it has ended"):
        with pytest.raises(RuleViolation) as refusal:
            early = START - timedelta(minutes=30) + apart - timedelta(seconds=1)
            world.start(integration, sync_type, scheduledAt=early.isoformat())
        assert refusal.value.code == code
        await world.run(second)
    world.start(integration, sync_type, scheduledAt=(START - timedelta(minutes=30) + apart).isoformat())


async def test_a_chain_that_a_person_resumed_counts_from_then_on(world: SyncWorld) -> None:
    integration = await world.integration()
    first = await _timed_out(world, world.start(integration, "Incremental"))
    world.hub.use(SyncService).cancel(world.principal, first.data_sync_job_id)
    world.clock.advance(hours=5)
    world.hub.use(SyncService).resume(world.principal, first.data_sync_job_id)
    with pytest.raises(RuleViolation) as refusal:
        world.start(integration, "Incremental")
    assert refusal.value.code == "BR-DS-02"


async def test_a_schedule_does_not_begin_again_what_a_chain_is_doing(world: SyncWorld) -> None:
    integration = await world.integration()
    schedules, dispatcher = world.hub.use(ScheduleService), world.hub.use(Dispatcher)
    wanted = PutSchedule(interval_minutes=60, sync_type="Incremental")
    schedules.put(world.principal, integration, wanted, None)
    world.clock.advance(minutes=60)
    assert schedules.create_due_jobs()[0] == 1
    [job] = _jobs(world)
    assert job.origin == JobOrigin.Schedule
    await world.run(job, batches=1)
    world.clock.advance(minutes=50)
    assert schedules.create_due_jobs()[0] == 1, "nobody knows yet that the first one will time out"
    world.clock.advance(minutes=11)
    first = await world.run(job)
    world.clock.advance(minutes=1)
    [start] = dispatcher.claim()
    assert start.data_sync_job_id == first.resumed_by, "the chain goes before what would do its work again"
    world.clock.advance(minutes=48)
    assert schedules.create_due_jobs()[0] == 0
    messages = [row[0] for row in world.rows("SELECT Message FROM IntegrationLogs")]
    assert any("left out" in message and "still going on" in message for message in messages)
    assert (await world.run(_following(world, first))).status == SyncStatus.Completed


async def test_a_job_of_another_type_that_waited_goes_before_the_chain(world: SyncWorld) -> None:
    job = await world.run(world.start(await world.integration()), batches=1)
    other = world.start(job.integration_id, "Differential")
    world.clock.advance(seconds=TIMEOUT.total_seconds())
    first = await world.run(job)
    [start] = world.hub.use(Dispatcher).claim()
    assert start.data_sync_job_id == other.data_sync_job_id
    assert (await world.run(other)).status == SyncStatus.Completed
    assert (await world.run(_following(world, first))).status == SyncStatus.Completed


@pytest.mark.parametrize("name_the", ["first", "last"])
@pytest.mark.parametrize("is_running", [False, True])
async def test_cancelling_any_job_of_a_chain_ends_it(
    world: SyncWorld, name_the: str, is_running: bool
) -> None:
    first = await _timed_out(world, world.start(await world.integration()))
    last = _following(world, await _timed_out(world, _following(world, first)))
    if is_running:
        last = await world.run(last, batches=1)
    named = first if name_the == "first" else last
    world.queue.take("sync-jobs")
    cancelled = world.hub.use(SyncService).cancel(world.principal, named.data_sync_job_id)
    assert (cancelled.data_sync_job_id, cancelled.status) == (last.data_sync_job_id, SyncStatus.Cancelled)
    assert [message.body for message in world.queue.take("sync-jobs")] == [
        f'{{"jobId": "{last.data_sync_job_id}", "cancel": {last.run_number}}}'
    ]
    assert world.hub.use(Dispatcher).claim() == []
    again = world.hub.use(SyncService).cancel(world.principal, first.data_sync_job_id)
    assert again.status == SyncStatus.Cancelled
    resumed = world.hub.use(SyncService).resume(world.principal, first.data_sync_job_id)
    assert (resumed.data_sync_job_id, len(_jobs(world))) == (last.data_sync_job_id, 3)
    assert (await world.run(resumed)).status == SyncStatus.Completed
    for refused in (world.hub.use(SyncService).resume, world.hub.use(SyncService).cancel):
        with pytest.raises(Conflict):
            refused(world.principal, first.data_sync_job_id)


async def test_resuming_what_goes_on_by_itself_changes_nothing(world: SyncWorld) -> None:
    first = await _timed_out(world, world.start(await world.integration()))
    resumed = world.hub.use(SyncService).resume(world.principal, first.data_sync_job_id)
    assert resumed == _following(world, first)
    assert len(_jobs(world)) == 2


async def test_a_chain_survives_a_crash_at_any_moment_of_its_time_out(world: SyncWorld) -> None:
    job = await world.run(world.start(await world.integration()), batches=1)
    world.clock.advance(minutes=60)
    runs = world.hub.use(JobRuns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("domain.sync.notices.record_end", _die)
        with pytest.raises(ConnectionAbortedError):
            runs.conclude(job.data_sync_job_id, job.run_number, TIMED_OUT)
    assert [found.status for found in _jobs(world)] == [SyncStatus.Running], "nothing by halves"
    first = runs.conclude(job.data_sync_job_id, job.run_number, TIMED_OUT)
    assert first is not None
    assert runs.conclude(job.data_sync_job_id, job.run_number, TIMED_OUT) is None, "the activity runs again"
    late = await world.hub.use(BatchRunner).run_batch(job.data_sync_job_id, job.run_number, 0, 3)
    assert (late.state, len(_jobs(world))) == ("stopped", 2)
    world.queue.take("sync-jobs")  # the message is lost; the timer of every minute looks as well
    [start] = world.hub.use(Dispatcher).claim()
    assert start.data_sync_job_id == first.resumed_by


def _die(*_: Any) -> None:
    raise ConnectionAbortedError


@pytest.mark.parametrize("batches", [0, 1])
async def test_a_job_whose_orchestration_was_lost_for_an_hour_is_followed_too(
    world: SyncWorld, batches: int
) -> None:
    """The hub was down: that a run of no life stored nothing proves nothing."""
    job = world.start(await world.integration())
    dispatcher = world.hub.use(Dispatcher)
    dispatcher.claim()
    if batches:
        await world.run(job, batches=batches)
    world.clock.advance(hours=3)
    [silent] = dispatcher.silent()
    assert dispatcher.revive(silent) is None
    assert (await world.run(_following(world, world.job(job)))).status == SyncStatus.Completed


async def test_failed_records_of_an_earlier_job_are_counted_at_the_end_of_the_chain(world: SyncWorld) -> None:
    world.crm.put("c01", START, email=["no", "text"])
    first = await _timed_out(world, world.start(await world.integration()))
    ended = await world.run(_following(world, first))
    assert (ended.status, ended.records_failed, ended.records_written) == (SyncStatus.PartialSuccess, 1, 9)
    [step] = world.hub.use(SyncService).get(world.principal, ended.data_sync_job_id)[1]
    assert (step.processed, step.failed) == (9, 1)
