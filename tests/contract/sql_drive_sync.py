"""Calls every method of the synchronisation repositories once, with realistic data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain.integrations.model import Integration, IntegrationStatus, IntegrationType
from domain.paging import PageRequest
from domain.sync.jobs import Counts, Phase, RecordError, Step, StreamState, SyncJob
from domain.sync.merging import Incoming, Merge
from domain.sync.model import RecordType, SyncDirection, SyncStatus, SyncType
from domain.sync.ports import JobFilter, LocalChange, Progress, Pushed, RecordFilter, RunMark, StoredMapping
from domain.sync.schedules import SyncSchedule
from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("sync_jobs", "sync_records", "sync_settings")
STREAM = "records"


def integration_of(
    world: World, *, name: str = "Guests", status: IntegrationStatus = IntegrationStatus.Active
) -> UUID:
    """An integration of the world's tenant, stored."""
    integration = Integration(
        integration_id=world.ids.new(),
        tenant_id=world.tenant,
        name=name,
        integration_type=IntegrationType.CustomAPI,
        provider="REST",
        status=status,
        sealed_configuration="sealed",
        created_at=world.clock.now(),
        created_by=world.user,
    )
    with world.units.write() as unit:
        unit.integrations.add(world.tenant, integration)
        unit.commit()
    return integration.integration_id


def job_of(world: World, integration_id: UUID) -> SyncJob:
    """A job, not stored."""
    now = world.clock.now()
    return SyncJob(
        data_sync_job_id=world.ids.new(),
        tenant_id=world.tenant,
        integration_id=integration_id,
        sync_type=SyncType.Full,
        direction=SyncDirection.Import,
        status=SyncStatus.Scheduled,
        scheduled_at=now,
        created_at=now,
        created_by=world.user,
    )


def incoming(key: str) -> Incoming:
    return Incoming(key, '{"fields":{}}', "0" * 32, None, None, "Generic")


def merge_of(keys: list[str]) -> Merge:
    return Merge([incoming(key) for key in keys], [], [], [], 0, 0)


def calls(world: World) -> dict[str, list[Call]]:
    """By `repository.method`; to be called in this order, each in a unit of work that is rolled back."""
    tenant, now, later = world.tenant, world.clock.now(), world.clock.now() + timedelta(days=400)
    integration_id = integration_of(world)
    gone = [integration_of(world, status=IntegrationStatus.Disconnected) for _ in range(3)]
    job = job_of(world, integration_id)
    fresh = replace(job_of(world, integration_id), data_sync_job_id=world.ids.new())
    job_id = job.data_sync_job_id
    step = Step(job_id, 0, STREAM, SyncDirection.Import, SyncType.Full, Phase.List, "sealed", generation=1)
    mark = RunMark(job_id, now, 1)
    error = RecordError(world.ids.new(), job_id, STREAM, "r1", "/email", "No address.", now)
    keys = [f"r{index:05d}" for index in range(600)]
    local = LocalChange(STREAM, RecordType.Generic, '{"fields":{}}', now, local_id="mine")
    schedule = SyncSchedule(
        integration_id,
        tenant,
        SyncType.Full,
        SyncDirection.Import,
        "0 0 2 * * *",
        None,
        True,
        now,
        now,
        world.user,
    )
    with world.units.write() as unit:
        unit.sync_jobs.add(tenant, job)
        unit.sync_jobs.add_steps([step])
        unit.sync_jobs.log_errors(tenant, [error])
        unit.sync_records.store(tenant, integration_id, STREAM, merge_of(keys), run=mark)
        unit.sync_records.store(tenant, gone[-1], STREAM, merge_of(["personal"]), run=mark)
        unit.sync_records.change(tenant, integration_id, [local], now)
        unit.sync_settings.set_schedule(tenant, schedule)
        unit.commit()
    with world.units.read() as unit:
        pending = unit.sync_records.to_export(
            tenant, integration_id, STREAM, after="", limit=10, everything=False
        )
    page = PageRequest(2, 50)
    every = JobFilter(
        integration_id, [SyncStatus.Running], [SyncType.Full], [SyncDirection.Import], now, later
    )
    progress = Progress(job, step, Counts(written=1), now, "stage", 1.0, 10)
    found = RecordFilter(RecordType.Generic, STREAM, now, (now, STREAM, "r1"), 10)
    changed = Merge([], [incoming("r00001")], [replace(incoming("r00002"), data=None)], keys[10:], 0, 0)
    pushed = [Pushed(one, "theirs", now, "v1", "1" * 32) for one in pending]
    return {
        "sync_jobs.add": [lambda unit: unit.sync_jobs.add(tenant, fresh)],
        "sync_jobs.get": [lambda unit: unit.sync_jobs.get(tenant, job_id)],
        "sync_jobs.page": [
            lambda unit: unit.sync_jobs.page(tenant, JobFilter(), page),
            lambda unit: unit.sync_jobs.page(tenant, every, page),
        ],
        "sync_jobs.errors": [lambda unit: unit.sync_jobs.errors(tenant, job_id, page)],
        "sync_jobs.find": [lambda unit: unit.sync_jobs.find(job_id)],
        "sync_jobs.moments": [lambda unit: unit.sync_jobs.moments(integration_id, SyncType.Full, now)],
        "sync_jobs.move": [lambda unit: unit.sync_jobs.move(job, SyncStatus.Scheduled)],
        "sync_jobs.claim": [lambda unit: unit.sync_jobs.claim(job_id, 7, now)],
        "sync_jobs.taken": [lambda unit: unit.sync_jobs.taken()],
        "sync_jobs.waiting": [lambda unit: unit.sync_jobs.waiting(later, 100)],
        "sync_jobs.to_queue": [lambda unit: unit.sync_jobs.to_queue(later, 100)],
        "sync_jobs.mark_queued": [lambda unit: unit.sync_jobs.mark_queued([job_id], now)],
        "sync_jobs.silent": [lambda unit: unit.sync_jobs.silent(later, 100)],
        "sync_jobs.touch": [lambda unit: unit.sync_jobs.touch(job_id, now, waiting_until=later)],
        "sync_jobs.restart": [lambda unit: unit.sync_jobs.restart(job, now)],
        "sync_jobs.steps": [lambda unit: unit.sync_jobs.steps(job_id)],
        "sync_jobs.add_steps": [lambda unit: unit.sync_jobs.add_steps([replace(step, position=1)])],
        "sync_jobs.advance": [lambda unit: _advance(unit, progress)],
        "sync_jobs.log_errors": [
            lambda unit: unit.sync_jobs.log_errors(tenant, [replace(error, error_id=world.ids.new())])
        ],
        "sync_jobs.synced": [lambda unit: unit.sync_jobs.synced(integration_id, now)],
        "sync_jobs.delete_before": [lambda unit: unit.sync_jobs.delete_before(later, 100)],
        "sync_records.known": [lambda unit: unit.sync_records.known(tenant, integration_id, STREAM, keys)],
        "sync_records.store": [
            lambda unit: unit.sync_records.store(tenant, integration_id, STREAM, merge_of(["new"]), run=mark),
            lambda unit: unit.sync_records.store(tenant, integration_id, STREAM, changed, run=mark),
        ],
        "sync_records.unseen": [
            lambda unit: unit.sync_records.unseen(
                tenant, integration_id, STREAM, generation=2, after="r00100", limit=50
            )
        ],
        "sync_records.bury": [
            lambda unit: unit.sync_records.bury(
                tenant, integration_id, STREAM, keys, run=replace(mark, generation=2)
            )
        ],
        "sync_records.page": [
            lambda unit: unit.sync_records.page(tenant, integration_id, RecordFilter()),
            lambda unit: unit.sync_records.page(tenant, integration_id, found),
        ],
        "sync_records.of_job": [lambda unit: unit.sync_records.of_job(tenant, job_id, page)],
        "sync_records.to_export": [
            lambda unit, all_=all_: unit.sync_records.to_export(  # type: ignore[misc]
                tenant, integration_id, STREAM, after="a", limit=10, everything=all_
            )
            for all_ in (False, True)
        ],
        "sync_records.count_export": [
            lambda unit: unit.sync_records.count_export(tenant, integration_id, STREAM, everything=False)
        ],
        "sync_records.pushed": [
            lambda unit: unit.sync_records.pushed(tenant, integration_id, STREAM, pushed, run=mark)
        ],
        "sync_records.change": [
            lambda unit: unit.sync_records.change(tenant, integration_id, [local], later),
            lambda unit: unit.sync_records.change(
                tenant, integration_id, [replace(local, local_id="other")], now
            ),
            lambda unit: unit.sync_records.change(
                tenant, integration_id, [replace(local, local_id=None, external_id="r00003")], now
            ),
        ],
        "sync_records.forget_disconnected": [lambda unit: unit.sync_records.forget_disconnected(100)],
        "sync_records.delete_tombstones": [lambda unit: unit.sync_records.delete_tombstones(later, 100)],
        "sync_settings.mapping": [lambda unit: unit.sync_settings.mapping(tenant, integration_id)],
        "sync_settings.set_mapping": [
            lambda unit: unit.sync_settings.set_mapping(
                tenant, integration_id, StoredMapping("{}"), by=world.user, now=now
            )
        ],
        "sync_settings.schedule": [lambda unit: unit.sync_settings.schedule(tenant, integration_id)],
        "sync_settings.set_schedule": [
            lambda unit: unit.sync_settings.set_schedule(tenant, replace(schedule, version=1))
        ],
        "sync_settings.due": [lambda unit: unit.sync_settings.due(later, 100)],
        "sync_settings.move_on": [
            lambda unit: unit.sync_settings.move_on(replace(schedule, version=1), later)
        ],
        "sync_settings.stream": [lambda unit: unit.sync_settings.stream(tenant, integration_id, STREAM)],
        "sync_settings.set_stream": [
            lambda unit: unit.sync_settings.set_stream(tenant, StreamState(integration_id, tenant, STREAM))
        ],
    }


def _advance(unit: SqlUnitOfWork, progress: Progress) -> None:
    """Of a running job: the claim is part of the same transaction, which is rolled back."""
    unit.sync_jobs.claim(progress.job.data_sync_job_id, 9, progress.now)
    unit.sync_jobs.advance(replace(progress, job=replace(progress.job, run_number=1)))
