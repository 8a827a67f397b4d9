"""The standing sync of a calendar: first import, default schedule, and what a provider's push continues."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from domain.core.errors import NotFound, RuleViolation
from domain.core.paging import PageRequest
from domain.integrations.commands import SuspendIntegration
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.journal.event_types import FROM_HUB, FROM_PLATFORM, FROM_TEST, EventOrigin
from domain.journal.events import DomainEvent
from domain.providers.contract import IntegrationType
from domain.providers.records import StreamProfile
from domain.sync.dispatch import InitialSyncs, PushedSyncs
from domain.sync.model import JobOrigin, SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.ports import JobFilter
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import StartSync, SyncService
from domain.sync.standing import Connected, StandingSyncs
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> SyncWorld:
    return SyncWorld(tmp_path)


async def calendar(world: SyncWorld) -> UUID:
    """An active calendar whose provider needs no authorisation."""
    id_ = await world.integration()
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE Integrations SET IntegrationType = 3")
        connection.commit()
    return id_


def connected(
    world: SyncWorld, id_: UUID, event_id: str = "e1", type_: str = "CalendarSyncEnabled"
) -> Connected:
    return Connected(world.principal.tenant_id, id_, event_id, type_)


def jobs(world: SyncWorld, origin: JobOrigin | None = None) -> list[SyncJob]:
    found = world.hub.use(SyncService).page(world.principal, JobFilter(), PageRequest()).items
    return [job for job in reversed(found) if origin in (None, job.origin)]


def end(world: SyncWorld, job: SyncJob) -> None:
    with world.hub.transactions.write() as tx:
        assert tx.sync_jobs.move(replace(job, status=SyncStatus.Completed), job.status)
        tx.commit()


@pytest.mark.parametrize("type_", ["CalendarSyncEnabled", "IntegrationAuthorized"])
async def test_a_new_calendar_is_imported_and_gets_an_hourly_schedule_in_both_directions__UC_IM_03(
    world: SyncWorld, type_: str
) -> None:
    id_ = await calendar(world)
    job = world.hub.use(StandingSyncs).begin(connected(world, id_, type_=type_))
    assert job is not None and (job.sync_type, job.origin) == (SyncType.Full, JobOrigin.Authorization)
    schedule = world.hub.use(ScheduleService).get(world.principal, id_)
    assert (schedule.sync_type, schedule.direction) == (SyncType.Incremental, SyncDirection.Bidirectional)
    assert (schedule.interval_minutes, schedule.is_enabled) == (60, True)
    assert schedule.next_run_at == world.clock.now() + timedelta(hours=1)
    world.clock.advance(minutes=50)
    world.hub.use(ScheduleService).create_due_jobs()
    [hourly] = jobs(world, JobOrigin.Schedule)
    assert hourly.direction == SyncDirection.Bidirectional and hourly.scheduled_at == schedule.next_run_at


async def test_a_provider_that_takes_no_records_is_only_imported(
    world: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, streams = await calendar(world), world.crm.streams_of

    def read_only(configuration: object) -> list[StreamProfile]:
        return [replace(stream, exportable=False) for stream in streams(configuration)]

    monkeypatch.setattr(world.crm, "streams_of", read_only)
    world.hub.use(StandingSyncs).begin(connected(world, id_))
    schedule = world.hub.use(ScheduleService).get(world.principal, id_)
    assert (schedule.direction, schedule.interval_minutes) == (SyncDirection.Import, 60)


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_connecting_again_leaves_a_persons_schedule_as_it_is(
    world: SyncWorld, is_enabled: bool
) -> None:
    id_, standing, schedules = (
        await calendar(world),
        world.hub.use(StandingSyncs),
        world.hub.use(ScheduleService),
    )
    standing.begin(connected(world, id_))
    wanted = PutSchedule(interval_minutes=120, direction="Import", is_enabled=is_enabled)
    changed = schedules.put(world.principal, id_, wanted, None)
    world.clock.advance(days=2)
    assert standing.begin(connected(world, id_, "e2", "IntegrationAuthorized")) is not None
    assert schedules.get(world.principal, id_) == changed


async def test_a_schedule_that_was_there_first_stays(world: SyncWorld) -> None:
    id_, schedules = await calendar(world), world.hub.use(ScheduleService)
    own = schedules.put(world.principal, id_, PutSchedule(expression="0 0 3 * * *", sync_type="Full"), None)
    world.hub.use(StandingSyncs).begin(connected(world, id_))
    assert schedules.get(world.principal, id_) == own


async def test_one_that_was_synchronised_before_is_not_imported_anew_when_it_is_only_enabled(
    world: SyncWorld,
) -> None:
    id_, standing = await calendar(world), world.hub.use(StandingSyncs)
    with world.hub.transactions.write() as tx:
        tx.sync_jobs.synced(id_, world.clock.now())
        tx.commit()
    assert standing.begin(connected(world, id_)) is None
    assert standing.begin(connected(world, id_, "e2", "IntegrationAuthorized")) is not None


async def test_nothing_begins_for_what_is_no_active_calendar_of_the_tenant(world: SyncWorld) -> None:
    other = await world.integration("No calendar")
    standing = world.hub.use(StandingSyncs)
    assert standing.begin(connected(world, other)) is None, "it is no calendar"
    id_ = await calendar(world)
    assert standing.begin(Connected(world.other.tenant_id, id_, "e1")) is None
    assert standing.begin(connected(world, uuid4())) is None
    world.hub.use(Lifecycle).suspend(world.principal, id_, SuspendIntegration())
    assert standing.begin(connected(world, id_)) is None and standing.push(id_) is None
    assert jobs(world) == []
    with pytest.raises(NotFound):
        world.hub.use(ScheduleService).get(world.principal, id_)


def test_both_events_of_a_connected_calendar_are_passed_on_when_the_hub_raised_them(world: SyncWorld) -> None:
    data = json.dumps({"integrationId": str(uuid4()), "calendarType": "iCal"})
    types = ("CalendarSyncEnabled", "CalendarSyncDisabled", "IntegrationAuthorized")
    tenant = world.principal.tenant_id
    for origin in (FROM_HUB, FROM_PLATFORM, FROM_TEST, EventOrigin.of_provider("REST", uuid4()), None):
        InitialSyncs(world.queue).consume(
            [DomainEvent(type_, tenant, type_, data, START, origin=origin) for type_ in types]
        )
    asked = [json.loads(message.body)["initial"] for message in world.queue.take("sync-jobs")]
    assert [request["eventType"] for request in asked] == ["CalendarSyncEnabled", "IntegrationAuthorized"]


async def test_the_first_import_takes_nothing_from_the_full_sync_of_the_day__BR_DS_01(
    world: SyncWorld,
) -> None:
    id_, standing, syncs = await calendar(world), world.hub.use(StandingSyncs), world.hub.use(SyncService)
    assert standing.begin(connected(world, id_)) is not None
    assert syncs.start(world.principal, StartSync(integration_id=id_, sync_type="Full"))
    with pytest.raises(RuleViolation) as refused:
        syncs.start(world.principal, StartSync(integration_id=id_, sync_type="Full"))
    assert refused.value.code == "BR-DS-01"
    again = connected(world, id_, "e2", "IntegrationAuthorized")
    world.clock.advance(hours=23)
    assert standing.begin(again) is None, "it keeps the distance itself"
    world.clock.advance(hours=1)
    assert standing.begin(again) is not None


async def test_connecting_again_on_the_same_day_imports_nothing_again__BR_DS_01(world: SyncWorld) -> None:
    id_, standing = await calendar(world), world.hub.use(StandingSyncs)
    assert standing.begin(connected(world, id_, "e1", "IntegrationAuthorized")) is not None
    world.clock.advance(hours=23)
    assert standing.begin(connected(world, id_, "e2", "IntegrationAuthorized")) is None
    world.clock.advance(hours=1)
    assert standing.begin(connected(world, id_, "e3", "IntegrationAuthorized")) is not None


# Pushes


async def test_pushes_continue_the_schedule_at_once_and_once_a_minute__BR_DS_02(world: SyncWorld) -> None:
    id_, standing = await calendar(world), world.hub.use(StandingSyncs)
    standing.begin(connected(world, id_))
    first = standing.push(id_)
    assert first is not None and first.scheduled_at == world.clock.now()
    assert (first.sync_type, first.direction) == (SyncType.Incremental, SyncDirection.Bidirectional)
    again = standing.push(id_)
    assert again is not None and again.data_sync_job_id == first.data_sync_job_id
    end(world, first)
    world.clock.advance(seconds=20)
    second = standing.push(id_)
    assert second is not None and second.scheduled_at == first.scheduled_at + timedelta(minutes=1)
    world.clock.advance(seconds=25)
    assert len([standing.push(id_) for _ in range(5)]) == 5
    assert len(jobs(world, JobOrigin.Push)) == 2
    end(world, second)
    world.clock.advance(minutes=5)
    third = standing.push(id_)
    assert third is not None and third.scheduled_at == world.clock.now()


async def test_a_push_neither_counts_for_nor_is_bound_by_the_hour__BR_DS_02(world: SyncWorld) -> None:
    id_, standing, syncs = await calendar(world), world.hub.use(StandingSyncs), world.hub.use(SyncService)
    standing.begin(connected(world, id_))
    standing.push(id_)
    by_hand = syncs.start(world.principal, StartSync(integration_id=id_))
    end(world, by_hand)
    for job in jobs(world, JobOrigin.Push):
        end(world, job)
    world.clock.advance(minutes=2)
    assert standing.push(id_) is not None
    with pytest.raises(RuleViolation) as refused:
        syncs.start(world.principal, StartSync(integration_id=id_))
    assert refused.value.code == "BR-DS-02"
    world.clock.advance(minutes=58)
    assert syncs.start(world.principal, StartSync(integration_id=id_)).origin == JobOrigin.Manual


async def test_a_push_does_what_the_persons_schedule_says(world: SyncWorld) -> None:
    id_, standing, schedules = (
        await calendar(world),
        world.hub.use(StandingSyncs),
        world.hub.use(ScheduleService),
    )
    assert standing.push(id_) is None, "there is no schedule yet"
    schedules.put(world.principal, id_, PutSchedule(interval_minutes=240, direction="Import"), None)
    pushed = standing.push(id_)
    assert pushed is not None and pushed.direction == SyncDirection.Import
    end(world, pushed)
    off = PutSchedule(interval_minutes=240, is_enabled=False)
    schedules.put(world.principal, id_, off, None)
    world.clock.advance(minutes=2)
    assert standing.push(id_) is None


async def test_what_goes_on_after_a_time_out_goes_before_a_push(world: SyncWorld) -> None:
    id_, standing = await calendar(world), world.hub.use(StandingSyncs)
    standing.begin(connected(world, id_))
    first = world.hub.use(SyncService).start(world.principal, StartSync(integration_id=id_))
    following = replace(first, data_sync_job_id=uuid4(), resumed_from=first.data_sync_job_id)
    with world.hub.transactions.write() as tx:
        assert tx.sync_jobs.add(world.principal.tenant_id, following)
        tx.commit()
    assert standing.push(id_) is None
    end(world, following)
    assert standing.push(id_) is not None


def integration_of(type_: IntegrationType) -> Integration:
    from domain.integrations.model import IntegrationStatus

    id_ = uuid4()
    return Integration(id_, id_, "Name", type_, "Google", IntegrationStatus.Active, "sealed", START, id_)


def test_only_a_calendars_webhook_asks_for_a_sync_and_no_outage_refuses_it(world: SyncWorld) -> None:
    pushes: Callable[..., None] = PushedSyncs(world.queue).request
    mine = integration_of(IntegrationType.CalendarSync)
    pushes(integration_of(IntegrationType.CRM))
    pushes(mine, "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    [message] = world.queue.take("sync-jobs")
    assert json.loads(message.body)["push"]["integrationId"] == str(mine.integration_id)
    world.queue.down = True
    pushes(mine)
