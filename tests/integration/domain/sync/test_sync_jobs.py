"""Jobs from start to end against a scripted provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import Conflict, NotFound, RuleViolation, ValidationFailed
from domain.core.paging import PageRequest
from domain.integrations.commands import UpdateIntegration
from domain.integrations.credentials import CredentialService
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import IntegrationStatus, SuspensionCause
from domain.providers.contract import IntegrationType, ProviderFailure
from domain.providers.records import SourceRecord
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher
from domain.sync.job_runs import JobRuns
from domain.sync.mapping import FieldMapping
from domain.sync.model import LogKind, SyncJob, SyncStatus
from domain.sync.record_service import PreviewMapping, PutRecords, RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.service import SyncService
from tests.worlds.builders import START
from tests.worlds.integration_world import Killed
from tests.worlds.sync_world import SyncWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SyncWorld]:
    made = SyncWorld(tmp_path)
    for index in range(10):
        made.crm.put(f"c{index:02d}", START - timedelta(days=1, minutes=-index))
    yield made
    made.close()


def _adds_up(job: Any) -> bool:
    parts = job.records_written + job.records_unchanged + job.records_duplicate + job.records_deleted
    return bool(job.records_processed == parts and job.records_total == parts + job.records_failed)


async def test_a_full_sync_brings_every_record_and_tells_of_it__UC_DS_01_UC_DS_02(world: SyncWorld) -> None:
    integration = await world.integration()
    job = await world.synced(integration)
    assert (job.status, job.records_written) == (SyncStatus.Completed, 10)
    assert _adds_up(job)
    assert len(world.live(integration)) == 10
    initiated, completed = world.raised("DataSyncInitiated"), world.raised("DataSyncCompleted")
    assert (initiated[0]["syncType"], initiated[0]["recordsTotal"]) == ("Full", None)
    assert completed[0]["recordsProcessed"] == 10
    assert "duration" in completed[0]
    with world.transactions.read() as tx:
        assert tx.integrations.get(job.tenant_id, integration).last_sync_time == world.clock.now()


async def test_a_full_sync_buries_what_is_gone_and_keeps_none_of_its_data(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    del world.crm.records["c03"]
    world.clock.advance(days=1)
    job = await world.synced(integration)
    gone = world.stored(integration)["c03"]
    assert (job.records_deleted, gone.deleted_at, gone.data) == (1, world.clock.now(), None)
    assert _adds_up(job)
    world.crm.put("c03")
    world.clock.advance(days=1)
    await world.synced(integration)
    assert "c03" in world.live(integration), "a record that comes back lives again"


async def test_an_incremental_sync_asks_for_changes_with_an_overlap(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    world.clock.advance(hours=1)
    world.crm.put("c04", world.clock.now() - timedelta(minutes=1), firstName="Ada")
    job = await world.synced(integration, "Incremental")
    newest = START - timedelta(days=1, minutes=-9)
    assert world.crm.requests[-1].since == newest - timedelta(minutes=5)
    assert (job.records_written, world.live(integration)["c04"]["firstName"]) == (1, "Ada")


async def test_a_differential_sync_writes_only_what_changed(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    before = world.stored(integration)
    world.clock.advance(hours=1)
    world.crm.put("c04", START, firstName="Ada")
    job = await world.synced(integration, "Differential")
    after = world.stored(integration)
    assert [key for key in after if after[key] != before[key]] == ["c04"]
    assert (job.records_written, job.records_unchanged) == (1, 9)


async def test_an_older_record_does_not_replace_a_newer_one__BR_DS_07(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.put("c00", START, firstName="New")
    await world.synced(integration)
    world.crm.put("c00", START - timedelta(days=3), firstName="Old")
    world.clock.advance(hours=1)
    await world.synced(integration, "Differential")
    assert world.live(integration)["c00"]["firstName"] == "New"


async def test_a_full_sync_is_refused_twice_in_a_day__BR_DS_01(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration)
    world.clock.advance(hours=23)
    with pytest.raises(RuleViolation) as refusal:
        world.start(integration)
    assert refusal.value.code == "BR-DS-01"
    world.clock.advance(hours=1)
    world.start(integration)


async def test_an_incremental_sync_is_refused_twice_in_an_hour__BR_DS_02(world: SyncWorld) -> None:
    integration = await world.integration()
    await world.synced(integration, "Incremental")
    with pytest.raises(RuleViolation) as refusal:
        world.start(integration, "Incremental", scheduledAt="2026-03-01T09:59:59Z")
    assert refusal.value.code == "BR-DS-02"
    world.start(integration, "Incremental", scheduledAt="2026-03-01T10:00:00Z")


async def test_a_job_of_the_past_runs_now_and_counts_as_of_now__BR_DS_01(world: SyncWorld) -> None:
    integration = await world.integration()
    world.start(integration, scheduledAt="2026-02-02T09:00:00Z")
    with pytest.raises(RuleViolation) as refusal:
        world.start(integration, scheduledAt="2026-02-04T09:00:00Z")
    assert refusal.value.code == "BR-DS-01"
    with pytest.raises(RuleViolation):
        world.start(integration)
    world.clock.advance(days=1)
    world.start(integration, scheduledAt="2026-02-04T09:00:00Z")


@pytest.mark.parametrize(
    ("sync_type", "hours", "code"), [("Full", 24, "BR-DS-01"), ("Incremental", 1, "BR-DS-02")]
)
async def test_a_resumed_job_keeps_its_distance_like_a_new_one(
    world: SyncWorld, sync_type: str, hours: int, code: str
) -> None:
    integration = await world.integration()
    left = world.start(integration, sync_type)
    world.hub.use(SyncService).cancel(world.principal, left.data_sync_job_id)
    world.clock.advance(days=3)
    await world.synced(integration, sync_type)
    world.clock.advance(minutes=hours * 60 - 1)
    with pytest.raises(RuleViolation) as refusal:
        world.hub.use(SyncService).resume(world.principal, left.data_sync_job_id)
    assert refusal.value.code == code
    world.clock.advance(minutes=1)
    assert (
        await world.run(world.hub.use(SyncService).resume(world.principal, left.data_sync_job_id))
    ).is_ended
    with pytest.raises(RuleViolation, match="at most once"):
        world.start(integration, sync_type)


async def test_a_job_cancelled_before_its_time_is_resumed_for_that_time(world: SyncWorld) -> None:
    job = world.start(await world.integration(), scheduledAt="2026-03-05T09:00:00Z")
    world.hub.use(SyncService).cancel(world.principal, job.data_sync_job_id)
    resumed = world.hub.use(SyncService).resume(world.principal, job.data_sync_job_id)
    assert resumed.scheduled_at == job.scheduled_at


async def test_failed_and_cancelled_jobs_do_not_count(world: SyncWorld) -> None:
    integration = await world.integration()
    world.hub.use(SyncService).cancel(world.principal, world.start(integration).data_sync_job_id)
    world.start(integration)


@pytest.mark.parametrize("scheduled", ["2026-01-30T08:59:59Z"])
async def test_a_schedule_more_than_30_days_past_is_refused(world: SyncWorld, scheduled: str) -> None:
    integration = await world.integration()
    with pytest.raises(ValidationFailed) as refusal:
        world.start(integration, scheduledAt=scheduled)
    assert refusal.value.errors[0].pointer == "/scheduledAt"


async def test_an_integration_that_is_not_active_is_refused(world: SyncWorld) -> None:
    integration = await world.integration(activate=False)
    with pytest.raises(ValidationFailed) as refusal:
        world.start(integration)
    assert refusal.value.errors[0].pointer == "/integrationId"


async def test_a_job_whose_integration_is_disabled_meanwhile_stops(world: SyncWorld) -> None:
    integration = await world.integration()
    job = await world.run(world.start(integration), batches=1)
    waiting = world.start(integration, "Incremental")
    off = UpdateIntegration.model_validate({"isEnabled": False})
    await world.hub.use(CredentialService).update(world.principal, integration, off, None)
    stopped = await world.run(job)
    assert (stopped.status, stopped.error_code) == (SyncStatus.Failed, "integration-not-active")
    assert stopped.records_processed == 6
    assert (await world.run(waiting)).error_code == "integration-not-active"


async def test_nothing_is_synchronised_of_a_type_that_is_switched_off(world: SyncWorld) -> None:
    """Section 16.2."""
    integration = await world.integration()
    waiting = world.start(integration)
    object.__setattr__(world.hub.catalogue, "disabled_types", frozenset((IntegrationType.CustomAPI,)))
    failed = await world.run(waiting)
    assert (failed.status, failed.error_code) == (SyncStatus.Failed, "not-synchronisable")
    with pytest.raises(Conflict) as refusal:
        world.start(integration, "Incremental")
    assert refusal.value.code == "integration-type-disabled"


async def test_a_bad_record_is_logged_alone_and_without_its_values__BR_DS_04(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.records["c05"] = SourceRecord("c05", {"email": ["secret@example.com"]}, START)
    job = await world.synced(integration)
    assert (job.status, job.records_failed, job.records_written) == (SyncStatus.PartialSuccess, 1, 9)
    errors = (
        world.hub.use(SyncService)
        .log(world.principal, job.data_sync_job_id, [LogKind.Record], PageRequest())
        .items
    )
    assert [(error.external_id, error.pointer) for error in errors] == [("c05", "/email")]
    assert "secret" not in errors[0].reason
    assert world.raised("DataSyncFailed")[0]["recordsFailed"] == 1
    assert _adds_up(job)


async def test_a_failing_page_is_fetched_again_in_half_the_size(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.page = 100
    world.crm.failures = [ProviderFailure("malformed", "Cut short.")] * 3
    job = await world.synced(integration)
    assert [request.limit for request in world.crm.requests][:4] == [6, 3, 1, 1]
    assert (job.status, job.records_written) == (SyncStatus.Completed, 10)


async def test_what_an_adapter_did_not_expect_fails_a_batch_and_tells_no_value(
    world: SyncWorld, caplog: pytest.LogCaptureFixture
) -> None:
    integration = await world.integration()
    world.crm.failures = [ValueError("Invalid isoformat string: 'ada@example.com'")]
    assert (await world.synced(integration)).status == SyncStatus.Completed
    world.crm.failures = [KeyError("ada@example.com")] * 8
    failed = await world.synced(integration, "Differential")
    assert (failed.status, failed.error_code) == (SyncStatus.Failed, "malformed")
    assert "ada@example.com" not in caplog.text + str(failed.error_log)
    assert "provider adapter failed" in caplog.text


async def test_a_page_that_never_comes_fails_the_job_resumably(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.failures = [ProviderFailure("unavailable", "Out of order.")] * 8
    failed = await world.synced(integration)
    assert (failed.status, failed.error_code) == (SyncStatus.Failed, "unavailable")
    alert = world.alerts()[-1]
    with world.transactions.read() as tx:
        name = tx.integrations.get(failed.tenant_id, integration).name
    assert (alert["kind"], alert["data"]["name"]) == ("sync-failed", name)
    resumed = world.hub.use(SyncService).resume(world.principal, failed.data_sync_job_id)
    assert (await world.run(resumed)).status == SyncStatus.Completed


async def test_a_rate_limit_is_waited_for_and_uses_no_try(world: SyncWorld) -> None:
    integration = await world.integration()
    limited = ProviderFailure("rate_limited", "Slow down.", retry_after_seconds=90)
    world.crm.failures = [limited] * 12
    job = await world.synced(integration)
    assert job.status == SyncStatus.Completed
    assert world.clock.now() == START + timedelta(seconds=12 * 90)


async def test_refused_credentials_suspend_the_integration_and_alert(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.failures = [ProviderFailure("unauthorized", "No such key.", status=401)]
    job = await world.synced(integration)
    assert (job.status, job.error_code) == (SyncStatus.Failed, "authentication")
    with world.transactions.read() as tx:
        stored = tx.integrations.get(job.tenant_id, integration)
    assert (stored.status, stored.suspension) == (IntegrationStatus.Suspended, SuspensionCause.Authentication)
    assert {alert["kind"] for alert in world.alerts()} == {"integration-suspended", "sync-failed"}


async def test_a_grant_that_is_gone_suspends_for_the_grant(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.failures = [ProviderFailure("unauthorized", "It was revoked.", of_grant=True)]
    job = await world.synced(integration)
    with world.transactions.read() as tx:
        stored = tx.integrations.get(job.tenant_id, integration)
    assert (stored.status, stored.suspension) == (IntegrationStatus.Suspended, SuspensionCause.Grant)


async def test_a_job_ends_after_60_minutes_and_goes_on_from_its_checkpoint__BR_DS_05(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    job = await world.run(world.start(integration), batches=1)
    world.clock.advance(minutes=60)
    failed = await world.run(job)
    assert (failed.status, failed.error_code, failed.records_processed) == (SyncStatus.Failed, "timeout", 6)
    before = len(world.crm.requests)
    resumed = world.hub.use(SyncService).resume(world.principal, failed.data_sync_job_id)
    ended = await world.run(resumed)
    assert (ended.status, ended.records_written) == (SyncStatus.Completed, 10)
    assert [request.cursor for request in world.crm.requests[before:]] == ["c06", "c09"]


async def test_the_same_batch_twice_changes_nothing_twice(world: SyncWorld) -> None:
    integration = await world.integration()
    job = world.start(integration)
    run = world.hub.use(Dispatcher).claim()[0].run_number
    world.hub.use(JobRuns).plan(job.data_sync_job_id, run)
    again: list[Any] = []

    def intrude() -> None:
        """Another process runs the very same batch to its end while this one fetches."""
        if not again:
            again.append(True)
            import asyncio
            import threading

            other = world.hub.use(BatchRunner).run_batch(job.data_sync_job_id, run, 0, 6)
            thread = threading.Thread(target=lambda: again.append(asyncio.run(other)))
            thread.start()
            thread.join()

    world.crm.before_page = intrude
    result = await world.hub.use(BatchRunner).run_batch(job.data_sync_job_id, run, 0, 6)
    assert (result.state, again[1].records) == ("more", 6)
    assert world.job(job).records_processed == 6


async def test_a_process_that_dies_before_its_commit_leaves_nothing(world: SyncWorld) -> None:
    integration = await world.integration()
    job = world.start(integration)
    run = world.hub.use(Dispatcher).claim()[0].run_number
    world.hub.use(JobRuns).plan(job.data_sync_job_id, run)

    def die() -> None:
        raise Killed

    world.crm.before_page = die
    with pytest.raises(Killed):
        await world.hub.use(BatchRunner).run_batch(job.data_sync_job_id, run, 0, 6)
    world.crm.before_page = lambda: None
    assert world.live(integration) == {}
    assert (await world.run(world.job(job))).records_written == 10


async def test_cancelling_drops_the_batch_under_way_and_keeps_the_rest(world: SyncWorld) -> None:
    integration = await world.integration()
    job = await world.run(world.start(integration), batches=1)
    world.crm.before_page = lambda: world.hub.use(SyncService).cancel(world.principal, job.data_sync_job_id)
    cancelled = await world.run(job)
    assert (cancelled.status, cancelled.records_processed) == (SyncStatus.Cancelled, 6)
    assert len(world.live(integration)) == 6
    assert "6 records were processed and are kept" in str(cancelled.error_log)
    world.crm.before_page = lambda: None
    ended = await world.run(world.hub.use(SyncService).resume(world.principal, job.data_sync_job_id))
    assert (ended.status, ended.records_written) == (SyncStatus.Completed, 10)


async def test_a_completed_job_is_neither_cancelled_nor_resumed(world: SyncWorld) -> None:
    job = await world.synced(await world.integration())
    with pytest.raises(Conflict) as refusal:
        world.hub.use(SyncService).cancel(world.principal, job.data_sync_job_id)
    assert refusal.value.code == "sync-ended"
    with pytest.raises(Conflict) as refusal:
        world.hub.use(SyncService).resume(world.principal, job.data_sync_job_id)
    assert refusal.value.code == "not-resumable"


async def test_another_tenant_finds_nothing(world: SyncWorld) -> None:
    integration = await world.integration()
    job = world.start(integration)
    for refused in (
        lambda: world.hub.use(SyncService).get(world.other, job.data_sync_job_id),
        lambda: world.hub.use(SyncService).cancel(world.other, job.data_sync_job_id),
        lambda: world.hub.use(RecordService).mapping(world.other, integration),
        lambda: world.hub.use(ScheduleService).get(world.other, integration),
    ):
        with pytest.raises(NotFound):
            refused()


async def test_a_mapping_makes_another_record_and_names_its_bad_expressions(world: SyncWorld) -> None:
    integration = await world.integration()
    mapping = FieldMapping.model_validate(
        {"streams": {"contacts": {"fields": {"company": "source.email", "email": "`null`"}}}}
    )
    world.hub.use(RecordService).set_mapping(world.principal, integration, mapping, None)
    await world.synced(integration)
    assert world.live(integration)["c00"] == {"company": "c00@example.com"}
    broken = FieldMapping.model_validate({"streams": {"contacts": {"fields": {"company": "a["}}}})
    with pytest.raises(ValidationFailed) as refusal:
        world.hub.use(RecordService).set_mapping(world.principal, integration, broken, None)
    assert refusal.value.errors[0].pointer == "/streams/contacts/fields/company"


@pytest.mark.parametrize(
    ("streams", "pointer", "named"),
    [
        ({"contact": {"fields": {"email": "email"}}}, "/streams/contact", "contacts"),
        ({"contacts": {"fields": {"mail": "email"}}}, "/streams/contacts/fields/mail", "firstName"),
        (
            {"contacts": {"recordType": "Payment", "fields": {"amount": "email"}}},
            "/streams/contacts/fields/amount",
            "amountMinor",
        ),
        (
            {"contacts": {"recordType": "Generic", "fields": {"email": "email"}}},
            "/streams/contacts/fields/email",
            "fields",
        ),
    ],
)
async def test_a_mapping_of_streams_or_fields_that_do_not_exist_is_refused_naming_those_that_do(
    world: SyncWorld, streams: dict[str, object], pointer: str, named: str
) -> None:
    integration = await world.integration()
    mapping = FieldMapping.model_validate({"streams": streams})
    with pytest.raises(ValidationFailed) as refusal:
        world.hub.use(RecordService).set_mapping(world.principal, integration, mapping, None)
    [error] = refusal.value.errors
    assert error.pointer == pointer
    assert named in error.detail
    with pytest.raises(ValidationFailed) as refusal:
        await world.hub.use(RecordService).preview(
            world.principal, integration, PreviewMapping(mapping=mapping)
        )
    assert [found.pointer for found in refusal.value.errors] == [f"/mapping{pointer}"]
    assert world.hub.use(RecordService).mapping(world.principal, integration).version == 0


async def test_what_is_past_its_retention_goes_and_so_do_records_of_a_disconnected_integration(
    world: SyncWorld,
) -> None:
    integration = await world.integration()
    job = await world.synced(integration)
    world.clock.advance(days=179)
    assert world.hub.use(RecordService).forget_old() == (0, 0)
    world.clock.advance(days=2)
    assert world.hub.use(RecordService).forget_old() == (1, 0)
    with pytest.raises(NotFound):
        world.job(job)
    world.hub.use(Lifecycle).disconnect(world.principal, integration, "No longer used.")
    assert world.hub.use(RecordService).forget_old() == (0, 10)


@pytest.mark.parametrize("sync_type", ["Incremental", "Differential", "Full"])
async def test_a_record_stamped_in_the_future_is_told_once_and_not_frozen(
    world: SyncWorld, sync_type: str
) -> None:
    integration = await world.integration()
    world.crm.put("c00", datetime(9999, 12, 31, tzinfo=UTC), phone="wrong")

    def told(job: SyncJob) -> list[str]:
        entries = (
            world.hub.use(SyncService)
            .log(world.principal, job.data_sync_job_id, [LogKind.Record], PageRequest())
            .items
        )
        return [entry.external_id for entry in entries]

    first = await world.synced(integration)
    assert (first.status, told(first)) == (SyncStatus.Completed, ["c00"])
    world.clock.advance(days=1, hours=1)
    again = await world.synced(integration)
    assert told(again) == []
    world.crm.put("c00", START, phone="right")
    world.crm.incremental = None
    world.clock.advance(days=1, hours=1)
    job = await world.synced(integration, sync_type)
    assert (job.records_written, told(job)) == (1, [])
    assert world.live(integration)["c00"]["phone"] == "right"


async def test_a_tenant_may_change_a_record_stamped_in_the_future(world: SyncWorld) -> None:
    integration = await world.integration()
    world.crm.put("c00", datetime(2099, 1, 1, tzinfo=UTC))
    await world.synced(integration)
    body = {"records": [{"externalId": "c00", "data": {"email": "mine@example.com"}}]}
    change = PutRecords.model_validate_json(json.dumps(body))
    assert world.hub.use(RecordService).change(world.principal, integration, change).stored == 1
    assert world.live(integration)["c00"]["email"] == "mine@example.com"
