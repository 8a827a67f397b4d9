"""Which jobs start, when schedules come true, and what becomes of jobs that went silent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.errors import ValidationFailed
from domain.core.paging import PageRequest
from domain.journal.event_types import FROM_HUB
from domain.journal.events import DomainEvent
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher, InitialSyncs, in_turn
from domain.sync.model import JobOrigin, SyncStatus
from domain.sync.ports import AlreadyRuns, JobFilter, WaitingJob
from domain.sync.progress import smoothed
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import SyncService
from domain.sync.standing import Connected, StandingSyncs
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld

A, B = UUID(int=1), UUID(int=2)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path, concurrency=2)
    made.crm.put("c1")
    yield made
    made.close()


def _waiting(tenant: UUID, minute: int) -> WaitingJob:
    return WaitingJob(
        UUID(int=minute + tenant.int * 1000), tenant, UUID(int=minute), START + timedelta(minutes=minute)
    )


def test_tenants_take_turns_whoever_came_first_with_many() -> None:
    many = [_waiting(A, minute) for minute in range(5)]
    few = [_waiting(B, minute) for minute in (10, 11)]
    order = [job.tenant_id for job in in_turn([*many, *few], Counter())]
    assert order == [A, B, A, B, A, A, A]
    assert [job.tenant_id for job in in_turn([*many, *few], Counter({A: 2}))][:2] == [B, B]


async def test_no_more_jobs_run_than_there_are_places(world: SyncWorld) -> None:
    integrations = [await world.integration(f"Guests {index}") for index in range(3)]
    jobs = [world.start(integration) for integration in integrations]
    assert [start.data_sync_job_id for start in world.hub.use(Dispatcher).claim()] == [
        job.data_sync_job_id for job in jobs[:2]
    ]
    assert world.hub.use(Dispatcher).claim() == []
    assert (await world.run(jobs[0])).status == SyncStatus.Completed
    assert [start.data_sync_job_id for start in world.hub.use(Dispatcher).claim()] == [
        jobs[2].data_sync_job_id
    ]


async def test_one_job_of_an_integration_runs_at_a_time(world: SyncWorld) -> None:
    integration = await world.integration()
    first, second = world.start(integration), world.start(integration, "Differential")
    assert [start.data_sync_job_id for start in world.hub.use(Dispatcher).claim()] == [first.data_sync_job_id]
    with pytest.raises(AlreadyRuns), world.transactions.write() as tx:
        tx.sync_jobs.claim(second.data_sync_job_id, 1, world.clock.now())
    await world.run(first)
    assert [start.data_sync_job_id for start in world.hub.use(Dispatcher).claim()] == [
        second.data_sync_job_id
    ]


async def test_a_place_is_held_by_one_job_whoever_races(world: SyncWorld) -> None:
    jobs = [world.start(await world.integration(f"Guests {index}")) for index in range(2)]
    world.hub.use(Dispatcher).claim()
    third = world.start(await world.integration("Guests 3"))
    with pytest.raises(AlreadyRuns), world.transactions.write() as tx:
        tx.sync_jobs.claim(third.data_sync_job_id, 0, world.clock.now())
    assert len(jobs) == 2


async def test_a_job_for_later_is_queued_to_the_second(world: SyncWorld) -> None:
    integration = await world.integration()
    world.start(integration, scheduledAt="2026-03-01T09:20:17Z")
    assert world.queue.take("sync-jobs") == []
    assert world.hub.use(ScheduleService).create_due_jobs() == (0, 0)
    world.clock.advance(minutes=15)
    assert world.hub.use(ScheduleService).create_due_jobs() == (0, 1)
    assert world.hub.use(ScheduleService).create_due_jobs() == (0, 0)
    assert world.queue.next_moment() == datetime.fromisoformat("2026-03-01T09:20:17+00:00")
    assert world.hub.use(Dispatcher).claim() == []
    world.clock.advance(minutes=6)
    assert len(world.hub.use(Dispatcher).claim()) == 1


async def test_a_schedule_makes_a_job_of_each_occurrence_once(world: SyncWorld) -> None:
    integration = await world.integration()
    wanted = PutSchedule(expression="30 10 * * * *", sync_type="Incremental")
    schedule = world.hub.use(ScheduleService).put(world.principal, integration, wanted, None)
    assert schedule.next_run_at == START + timedelta(minutes=10, seconds=30)
    assert world.hub.use(ScheduleService).create_due_jobs() == (1, 1)
    assert world.hub.use(ScheduleService).create_due_jobs() == (0, 0)
    jobs = world.hub.use(SyncService).page(world.principal, JobFilter(), PageRequest()).items
    assert [(job.origin, job.scheduled_at) for job in jobs] == [(JobOrigin.Schedule, schedule.next_run_at)]
    assert world.hub.use(ScheduleService).get(world.principal, integration).next_run_at == START + timedelta(
        hours=1, minutes=10, seconds=30
    )


async def test_what_was_missed_is_made_up_for_once(world: SyncWorld) -> None:
    integration = await world.integration()
    wanted = PutSchedule(interval_minutes=60, sync_type="Incremental")
    world.hub.use(ScheduleService).put(world.principal, integration, wanted, None)
    world.clock.advance(hours=10)
    assert world.hub.use(ScheduleService).create_due_jobs()[0] == 1


async def test_a_scheduled_sync_that_a_rule_forbids_is_left_out_and_said_so(world: SyncWorld) -> None:
    integration = await world.integration()
    wanted = PutSchedule(interval_minutes=60, sync_type="Incremental")
    world.hub.use(ScheduleService).put(world.principal, integration, wanted, None)
    world.clock.advance(minutes=50)
    world.start(integration, "Incremental")
    assert world.hub.use(ScheduleService).create_due_jobs() == (0, 0)
    messages = [row[0] for row in world.rows("SELECT Message FROM IntegrationLogs")]
    assert any("left out" in message for message in messages)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"expression": "0 */30 * * * *", "sync_type": "Incremental"}, "BR-DS-02"),
        ({"expression": "0 0 */12 * * *", "sync_type": "Full"}, "BR-DS-01"),
        ({"interval_minutes": 60, "sync_type": "Full"}, "BR-DS-01"),
        ({"expression": "every day"}, "validation-failed"),
        ({"expression": "0 0 0 31 2 *"}, "validation-failed"),
    ],
)
async def test_a_schedule_keeps_the_distance_the_rules_ask_for(
    world: SyncWorld, fields: dict[str, object], code: str
) -> None:
    integration = await world.integration()
    with pytest.raises(ValidationFailed) as refusal:
        world.hub.use(ScheduleService).put(world.principal, integration, PutSchedule(**fields), None)  # type: ignore[arg-type]
    assert refusal.value.code == code


async def test_a_silent_job_is_revived_from_its_checkpoint(world: SyncWorld) -> None:
    job = world.start(await world.integration())
    world.hub.use(Dispatcher).claim()
    assert world.hub.use(Dispatcher).silent() == []
    world.clock.advance(minutes=3)
    silent = world.hub.use(Dispatcher).silent()
    assert [silent_job.data_sync_job_id for silent_job in silent] == [job.data_sync_job_id]
    start = world.hub.use(Dispatcher).revive(silent[0])
    assert start is not None
    assert start.run_number == 2
    assert (await world.hub.use(BatchRunner).run_batch(job.data_sync_job_id, 1, 0, 5)).state == "stopped"
    assert world.hub.use(Dispatcher).silent() == []


async def test_a_job_that_dies_again_and_again_fails_resumably(world: SyncWorld) -> None:
    job = world.start(await world.integration())
    world.hub.use(Dispatcher).claim()
    for _ in range(6):
        world.clock.advance(minutes=3)
        for silent in world.hub.use(Dispatcher).silent():
            world.hub.use(Dispatcher).revive(silent)
    assert (world.job(job).status, world.job(job).error_code) == (SyncStatus.Failed, "interrupted")


async def test_an_authorised_calendar_is_imported_once(world: SyncWorld) -> None:
    integration = await world.integration()
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE Integrations SET IntegrationType = 3")
        connection.commit()
    data = json.dumps({"integrationId": str(integration), "integrationType": "CalendarSync"})
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    event = DomainEvent(
        "e1",
        world.principal.tenant_id,
        "IntegrationAuthorized",
        data,
        START,
        traceparent=parent,
        origin=FROM_HUB,
    )
    InitialSyncs(world.queue).consume([event])
    asked = json.loads(world.queue.take("sync-jobs")[0].body)["initial"]
    service, standing = world.hub.use(SyncService), world.hub.use(StandingSyncs)
    assert asked["eventType"] == "IntegrationAuthorized"
    connected = Connected(
        UUID(asked["tenantId"]), integration, asked["eventId"], asked["eventType"], asked["traceparent"]
    )
    for _ in range(2):
        standing.begin(connected)
    jobs = service.page(world.principal, JobFilter(), PageRequest()).items
    assert [(job.origin, job.sync_type.name) for job in jobs] == [(JobOrigin.Authorization, "Full")]
    assert [job.traceparent for job in jobs] == [parent]
    assert standing.begin(Connected(world.other.tenant_id, integration, "e2")) is None


def test_the_rate_follows_the_latest_batches() -> None:
    rate = smoothed(None, 100, 1.0)
    assert rate == 100
    assert smoothed(rate, 200, 1.0) == pytest.approx(130)
    assert smoothed(rate, 0, 1.0) == 100
