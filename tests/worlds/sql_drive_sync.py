"""Calls every method of the synchronisation repositories once, with realistic data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain.core.paging import PageRequest
from domain.integrations.model import Integration, IntegrationStatus
from domain.providers.contract import IntegrationType
from domain.providers.records import RecordType
from domain.sync.merging import IncomingRecord, Merge
from domain.sync.model import (
    JobOrigin,
    LogEntry,
    LogKind,
    Phase,
    RecordCounts,
    RecordError,
    Step,
    StreamState,
    SyncDirection,
    SyncJob,
    SyncStatus,
    SyncType,
)
from domain.sync.ports import (
    BatchProgress,
    JobFilter,
    LocalChange,
    PushedRecord,
    RecordFilter,
    RunMark,
    StoredMapping,
)
from domain.sync.schedules import SyncSchedule
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("sync_jobs", "sync_records", "sync_settings", "sync_events")
STREAM = "records"


def integration_of(
    world: SqlWorld, *, name: str = "Guests", status: IntegrationStatus = IntegrationStatus.Active
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
    with world.transactions.write() as tx:
        tx.integrations.add(world.tenant, integration)
        tx.commit()
    return integration.integration_id


def job_of(world: SqlWorld, integration_id: UUID) -> SyncJob:
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


def incoming(key: str) -> IncomingRecord:
    return IncomingRecord(key, '{"fields":{}}', "0" * 32, None, None, "Generic")


def merge_of(keys: list[str]) -> Merge:
    return Merge([incoming(key) for key in keys], [], [], [], 0, 0)


def calls(world: SqlWorld) -> dict[str, list[Call]]:
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
    entry = LogEntry(world.ids.new(), job_id, LogKind.Batch, "Batch 1.", now, STREAM, details={"batch": 1})
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
    with world.transactions.write() as tx:
        tx.sync_jobs.add(tenant, job)
        tx.sync_jobs.add_steps([step])
        tx.sync_jobs.log_errors(tenant, [error])
        tx.sync_records.store(tenant, integration_id, STREAM, merge_of(keys), run=mark)
        tx.sync_records.store(tenant, gone[-1], STREAM, merge_of(["personal"]), run=mark)
        tx.sync_records.change(tenant, integration_id, [local, replace(local, local_id="also")], now)
        tx.sync_settings.set_schedule(tenant, schedule)
        tx.commit()
    with world.transactions.read() as tx:
        pending = tx.sync_records.to_export(
            tenant, integration_id, STREAM, after="", limit=10, everything=False
        )
    page = PageRequest(2, 50)
    every = JobFilter(
        integration_id, [SyncStatus.Running], [SyncType.Full], [SyncDirection.Import], now, later
    )
    progress = BatchProgress(job, step, RecordCounts(written=1), now, "stage", 1.0, 10)
    found = RecordFilter(RecordType.Generic, STREAM, now, (now, STREAM, "r1"), 10)
    moments = {"r00005": now, "r00003": None, "r00004": now, "r00002": None}
    gone_at_source = [replace(incoming(key), data=None, modified_at=at) for key, at in moments.items()]
    changed = Merge(
        [],
        [incoming(key) for key in ("r00001", "r00000")],
        gone_at_source,
        keys[10:][::-1],
        0,
        0,
    )
    pushed = [
        PushedRecord(record, f"their {record.local_id}", now, "v1", "1" * 32) for record in reversed(pending)
    ]
    return {
        "sync_jobs.add": [lambda tx: tx.sync_jobs.add(tenant, fresh)],
        "sync_jobs.get": [lambda tx: tx.sync_jobs.get(tenant, job_id)],
        "sync_jobs.page": [
            lambda tx: tx.sync_jobs.page(tenant, JobFilter(), page),
            lambda tx: tx.sync_jobs.page(tenant, every, page),
        ],
        "sync_jobs.entries": [
            lambda tx: tx.sync_jobs.entries(tenant, job_id, [], page),
            lambda tx: tx.sync_jobs.entries(tenant, job_id, [LogKind.Record, LogKind.End], page),
        ],
        "sync_jobs.find": [lambda tx: tx.sync_jobs.find(job_id)],
        "sync_jobs.moments": [
            lambda tx: tx.sync_jobs.moments(integration_id, SyncType.Full, now, without=[JobOrigin.Push])
        ],
        "sync_jobs.is_resumed": [lambda tx: tx.sync_jobs.is_resumed(tenant, integration_id, SyncType.Full)],
        "sync_jobs.latest": [lambda tx: tx.sync_jobs.latest(integration_id, JobOrigin.Push, now)],
        "sync_jobs.move": [lambda tx: tx.sync_jobs.move(job, SyncStatus.Scheduled)],
        "sync_jobs.claim": [lambda tx: tx.sync_jobs.claim(job_id, 7, now)],
        "sync_jobs.taken": [lambda tx: tx.sync_jobs.taken()],
        "sync_jobs.waiting": [lambda tx: tx.sync_jobs.waiting(later, 100)],
        "sync_jobs.to_queue": [lambda tx: tx.sync_jobs.to_queue(later, 100)],
        "sync_jobs.mark_queued": [lambda tx: tx.sync_jobs.mark_queued([job_id], now)],
        "sync_jobs.silent": [lambda tx: tx.sync_jobs.silent(later, 100)],
        "sync_jobs.touch": [lambda tx: tx.sync_jobs.touch(job_id, now, waiting_until=later)],
        "sync_jobs.restart": [lambda tx: tx.sync_jobs.restart(job, now)],
        "sync_jobs.steps": [lambda tx: tx.sync_jobs.steps(job_id)],
        "sync_jobs.add_steps": [lambda tx: tx.sync_jobs.add_steps([replace(step, position=1)])],
        "sync_jobs.advance": [lambda tx: _advance(tx, progress)],
        "sync_jobs.interrupt": [lambda tx: tx.sync_jobs.interrupt(job, now, later)],
        "sync_jobs.log": [lambda tx: tx.sync_jobs.log(tenant, [entry])],
        "sync_jobs.log_errors": [
            lambda tx: tx.sync_jobs.log_errors(tenant, [replace(error, error_id=world.ids.new())])
        ],
        "sync_jobs.synced": [lambda tx: tx.sync_jobs.synced(integration_id, now)],
        "sync_jobs.delete_before": [lambda tx: tx.sync_jobs.delete_before(later, 100)],
        "sync_records.stored_versions": [
            lambda tx: tx.sync_records.stored_versions(tenant, integration_id, STREAM, keys)
        ],
        "sync_records.store": [
            lambda tx: tx.sync_records.store(tenant, integration_id, STREAM, merge_of(["new"]), run=mark),
            lambda tx: tx.sync_records.store(tenant, integration_id, STREAM, changed, run=mark),
        ],
        "sync_records.unseen": [
            lambda tx: tx.sync_records.unseen(
                tenant, integration_id, STREAM, generation=2, after="r00100", limit=50
            )
        ],
        "sync_records.bury": [
            lambda tx: tx.sync_records.bury(
                tenant, integration_id, STREAM, keys, run=replace(mark, generation=2)
            )
        ],
        "sync_records.page": [
            lambda tx: tx.sync_records.page(tenant, integration_id, RecordFilter()),
            lambda tx: tx.sync_records.page(tenant, integration_id, found),
        ],
        "sync_records.of_job": [lambda tx: tx.sync_records.of_job(tenant, job_id, page)],
        "sync_records.to_export": [
            lambda tx, all_=all_: tx.sync_records.to_export(  # type: ignore[misc]
                tenant, integration_id, STREAM, after="a", limit=10, everything=all_
            )
            for all_ in (False, True)
        ],
        "sync_records.count_export": [
            lambda tx: tx.sync_records.count_export(tenant, integration_id, STREAM, everything=False)
        ],
        "sync_records.pushed": [
            lambda tx: tx.sync_records.pushed(tenant, integration_id, STREAM, pushed, run=mark)
        ],
        "sync_records.change": [
            lambda tx: tx.sync_records.change(
                tenant,
                integration_id,
                [replace(local, local_id=name) for name in ("mine", "c", "a", "b")],
                later,
            ),
            lambda tx: tx.sync_records.change(
                tenant, integration_id, [replace(local, local_id="other")], now
            ),
            lambda tx: tx.sync_records.change(
                tenant, integration_id, [replace(local, local_id=None, external_id="r00003")], now
            ),
        ],
        "sync_records.forget_disconnected": [lambda tx: tx.sync_records.forget_disconnected(100)],
        "sync_records.delete_tombstones": [lambda tx: tx.sync_records.delete_tombstones(later, 100)],
        "sync_events.after": [
            lambda tx: tx.sync_events.after(tenant, ["BookingConfirmed"], after=0, until=later, limit=25)
        ],
        "sync_settings.mapping": [lambda tx: tx.sync_settings.mapping(tenant, integration_id)],
        "sync_settings.set_mapping": [
            lambda tx: tx.sync_settings.set_mapping(
                tenant, integration_id, StoredMapping("{}"), by=world.user, now=now
            )
        ],
        "sync_settings.schedule": [lambda tx: tx.sync_settings.schedule(tenant, integration_id)],
        "sync_settings.set_schedule": [
            lambda tx: tx.sync_settings.set_schedule(tenant, replace(schedule, version=1))
        ],
        "sync_settings.due": [lambda tx: tx.sync_settings.due(later, 100)],
        "sync_settings.move_on": [lambda tx: tx.sync_settings.move_on(replace(schedule, version=1), later)],
        "sync_settings.stream": [lambda tx: tx.sync_settings.stream(tenant, integration_id, STREAM)],
        "sync_settings.set_stream": [
            lambda tx: tx.sync_settings.set_stream(tenant, StreamState(integration_id, tenant, STREAM))
        ],
    }


def _advance(tx: SqlTransaction, progress: BatchProgress) -> None:
    """Of a running job: the claim is part of the same transaction, which is rolled back."""
    tx.sync_jobs.claim(progress.job.data_sync_job_id, 9, progress.now)
    tx.sync_jobs.advance(replace(progress, job=replace(progress.job, run_number=1)))
