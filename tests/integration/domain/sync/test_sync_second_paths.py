"""Rules of synchronisation, whichever way a job or a record comes: by a person, a schedule, a resumption, a batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.errors import Conflict, DomainError, ValidationFailed
from domain.core.paging import PageRequest
from domain.integrations.commands import SuspendIntegration
from domain.integrations.lifecycle import Lifecycle
from domain.providers.contract import IntegrationType
from domain.sync.mapping import FieldMapping
from domain.sync.model import LogKind, SyncStatus
from domain.sync.ports import JobFilter
from domain.sync.record_service import PreviewMapping, PutRecords, RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.schedules import PutSchedule
from domain.sync.service import SyncService
from domain.sync.transforming import RECORD_MAX
from tests.worlds.builders import START
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    for index in range(10):
        made.crm.put(f"c{index:02d}", START - timedelta(days=1, minutes=-index))
    yield made
    made.close()


def put_records(**record: object) -> PutRecords:
    return PutRecords.model_validate_json(json.dumps({"records": [record]}))


async def test_a_differential_run_of_a_token_stream_lists_everything_and_leaves_deletions_to_the_token(
    world: SyncWorld,
) -> None:
    world.crm.incremental, world.crm.next_state = "token", "t1"
    integration = await world.integration()
    await world.synced(integration)
    world.crm.put("c03", START, email="new@example.com")
    del world.crm.records["c05"]
    world.crm.next_state = "t2"
    world.crm.requests.clear()
    world.clock.advance(hours=1)
    job = await world.synced(integration, "Differential")
    assert {(request.state, request.since) for request in world.crm.requests} == {(None, None)}
    assert (job.records_written, job.records_unchanged, job.records_deleted) == (1, 8, 0)
    assert "c05" in world.live(integration), "only a Full sync buries"
    world.clock.advance(hours=1)
    await world.synced(integration, "Incremental")
    assert world.crm.requests[-1].state == "t1", "t2 would never tell that c05 is gone"


async def test_two_differential_runs_need_no_distance(world: SyncWorld) -> None:
    integration = await world.integration()
    for _ in range(2):
        assert (await world.synced(integration, "Differential")).status == SyncStatus.Completed


async def test_nothing_begins_for_an_integration_that_is_suspended__7_4(world: SyncWorld) -> None:
    integration = await world.integration()
    wanted = PutSchedule(interval_minutes=60, sync_type="Incremental")
    world.hub.use(ScheduleService).put(world.principal, integration, wanted, None)
    cancelled = world.hub.use(SyncService).cancel(world.principal, world.start(integration).data_sync_job_id)
    world.hub.use(Lifecycle).suspend(world.principal, integration, SuspendIntegration())
    exporting = PutSchedule(interval_minutes=60, direction="Export")
    refusals: list[Callable[[], object]] = [
        lambda: world.start(integration),
        lambda: world.hub.use(SyncService).resume(world.principal, cancelled.data_sync_job_id),
        lambda: world.hub.use(ScheduleService).put(world.principal, integration, exporting, None),
    ]
    for refused in refusals:
        with pytest.raises(ValidationFailed) as refusal:
            refused()
        assert refusal.value.code == "integration-not-active"
    world.clock.advance(hours=2)
    assert world.hub.use(ScheduleService).create_due_jobs() == (0, 0)
    jobs = world.hub.use(SyncService).page(world.principal, JobFilter(), PageRequest()).items
    assert [job.status for job in jobs] == [SyncStatus.Cancelled]


async def test_a_provider_that_takes_no_records_is_exported_to_by_no_path(world: SyncWorld) -> None:
    world.crm.exportable = False
    integration = await world.integration()
    for direction in ("Export", "Bidirectional"):
        exporting = PutSchedule.model_validate({"intervalMinutes": 60, "direction": direction})
        refusals: list[Callable[[], object]] = [
            lambda direction=direction: world.start(integration, "Full", direction=direction),
            lambda exporting=exporting: world.hub.use(ScheduleService).put(
                world.principal, integration, exporting, None
            ),
        ]
        for refused in refusals:
            with pytest.raises(Conflict) as refusal:
                refused()
            assert refusal.value.code == "not-exportable"
    with pytest.raises(DomainError):
        world.hub.use(RecordService).change(
            world.principal, integration, put_records(localId="l1", data={"email": "a@example.com"})
        )


async def test_no_records_are_read_or_written_of_a_type_that_is_switched_off__16_2(world: SyncWorld) -> None:
    integration = await world.integration()
    object.__setattr__(world.hub.catalogue, "disabled_types", frozenset((IntegrationType.CustomAPI,)))
    records = world.hub.use(RecordService)
    exporting = PutSchedule(interval_minutes=60, direction="Export")
    for refused in (
        lambda: world.start(integration),
        lambda: world.hub.use(ScheduleService).put(world.principal, integration, exporting, None),
        lambda: records.change(
            world.principal, integration, put_records(localId="l1", data={"email": "a@example.com"})
        ),
    ):
        with pytest.raises(Conflict) as refusal:
            refused()
        assert refusal.value.code == "integration-type-disabled"
    with pytest.raises(Conflict):
        await records.preview(world.principal, integration, PreviewMapping())
    assert world.crm.requests == world.crm.pushes == []


async def test_a_record_is_stored_up_to_256_ki_characters_by_an_import_and_by_a_change(
    world: SyncWorld,
) -> None:
    """And a preview shows what the import would refuse."""
    integration = await world.integration()
    records = world.hub.use(RecordService)
    mapping = FieldMapping.model_validate(
        {"streams": {"contacts": {"recordType": "Generic", "fields": {"fields": "{a: source.email}"}}}}
    )
    records.set_mapping(world.principal, integration, mapping, None)
    most = RECORD_MAX - len('{"fields":{"a":""}}')
    world.crm.records.clear()
    world.crm.put("fits", START, email="x" * most)
    world.crm.put("long", START, email="x" * (most + 1))
    job = await world.synced(integration)
    assert (job.records_written, job.records_failed) == (1, 1)
    assert world.live(integration)["fits"] == {"fields": {"a": "x" * most}}
    log = world.hub.use(SyncService).log
    [logged] = log(world.principal, job.data_sync_job_id, [LogKind.Record], PageRequest()).items
    assert (logged.external_id, "at most 262,144" in logged.reason) == ("long", True)

    fits, too_long = await records.preview(world.principal, integration, PreviewMapping())
    assert (len(fits.errors), [error.detail for error in too_long.errors]) == (0, [logged.reason])

    def change(length: int) -> PutRecords:
        data = {"fields": {"a": "x" * length}}
        return put_records(localId="l1", recordType="Generic", data=data)

    assert records.change(world.principal, integration, change(most)).stored == 1
    with pytest.raises(ValidationFailed, match="at most 262,144") as refusal:
        records.change(world.principal, integration, change(most + 1))
    assert [error.pointer for error in refusal.value.errors] == ["/records/0/data"]
