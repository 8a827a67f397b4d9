"""The plans of the hot statements: each is served by the index it was made for. The embedded database keeps no
statistics, so SQLite plans as for a large one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from domain.core.paging import PageRequest
from domain.webhooks.ports import DeliveryFilter
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_drive import calls
from tests.worlds.sql_world import SqlWorld, world_under

#: By method, what each of its statements on a table that grows must use.
_INDEXES: dict[str, tuple[str, ...]] = {
    "pipeline.claim": ("sqlite_autoindex_WebhookDeliveries_", "sqlite_autoindex_DomainEvents_"),
    "pipeline.record": ("sqlite_autoindex_WebhookDeliveries_",),
    "pipeline.hold": ("sqlite_autoindex_WebhookDeliveries_", "IX_WebhookDelivery_Line"),
    "pipeline.park": ("sqlite_autoindex_WebhookDeliveries_",),
    "pipeline.subscribers": ("sqlite_autoindex_WebhookSubscriptions_", "sqlite_autoindex_Webhooks_"),
    "pipeline.add_deliveries": ("sqlite_autoindex_WebhookDeliveries_",),
    "pipeline.endpoints": ("sqlite_autoindex_Webhooks_",),
    "pipeline.tally": ("sqlite_autoindex_Webhooks_",),
    "pipeline.release_stranded": ("IX_Webhook_Active", "IX_WebhookDelivery_Held"),
    "pipeline.requeue_due": ("IX_WebhookDelivery_Requeue", "sqlite_autoindex_WebhookDeliveries_"),
    "pipeline.delete_before": ("IX_WebhookDelivery_Scheduled",),
    "outbox.append": ("sqlite_autoindex_DomainEvents_",),
    "outbox.pending": ("sqlite_autoindex_DomainEvents_",),
    "pipeline.give_turns": ("IX_WebhookDelivery_Line", "sqlite_autoindex_WebhookDeliveries_"),
    "pipeline.stranded_lines": ("IX_WebhookDelivery_Line",),
    "outbox.mark_fanned_out": ("sqlite_autoindex_DomainEvents_",),
    "outbox.unannounced": ("IX_DomainEvent_Outbox",),
    "outbox.delete_before": ("IX_DomainEvent_CreatedAt", "sqlite_autoindex_WebhookDeliveries_"),
    "loops.hold": ("sqlite_autoindex_DomainEvents_",),
    "loops.note_laps": ("sqlite_autoindex_DomainEvents_",),
    "loops.let_go": ("IX_DomainEvent_Held",),
    "loops.let_one_pass": ("IX_DomainEvent_Held",),
    "loops.discard": ("IX_DomainEvent_Held",),
    "usage.add": ("sqlite_autoindex_TenantUsage_",),
    "usage.page": ("sqlite_autoindex_TenantUsage_",),
    "usage.totals": ("sqlite_autoindex_TenantUsage_",),
    "usage.delete_before": ("IX_TenantUsage_Start", "sqlite_autoindex_TenantUsage_"),
    "webhooks.count": ("IX_Webhook_Tenant",),
    "webhooks.get": ("sqlite_autoindex_Webhooks_",),
    "webhooks.update": ("sqlite_autoindex_Webhooks_", "IX_WebhookSubscription_Webhook"),
    "webhooks.delete": ("sqlite_autoindex_Webhooks_",),
    "deliveries.page": ("IX_WebhookDelivery_Webhook",),
    "deliveries.get": ("sqlite_autoindex_WebhookDeliveries_", "sqlite_autoindex_WebhookDeliveryAttempts_"),
    "deliveries.find": ("IX_WebhookDelivery_Webhook",),
    "deliveries.reset": ("sqlite_autoindex_WebhookDeliveries_",),
    "deliveries.line_up": ("IX_WebhookDelivery_Requeue", "IX_WebhookDelivery_Line"),
    "deliveries.dissolve_lines": ("IX_WebhookDelivery_Line",),
    "deliveries.release_held": ("IX_WebhookDelivery_Held",),
    "sync_jobs.claim": ("sqlite_autoindex_DataSyncJobs_",),
    "sync_jobs.advance": ("sqlite_autoindex_SyncSteps_", "sqlite_autoindex_DataSyncJobs_"),
    "integrations.note_client": ("sqlite_autoindex_Integrations_",),
    "sync_jobs.moments": ("IX_DataSync_Limits",),
    "sync_jobs.latest": ("IX_DataSync_Limits",),
    "sync_jobs.is_resumed": ("IX_DataSync_Limits",),
    "sync_jobs.taken": ("UX_DataSync_Slot",),
    "sync_jobs.to_queue": ("IX_DataSync_Waiting",),
    "sync_jobs.waiting": ("IX_DataSync_Waiting", "UX_DataSync_Running"),
    "sync_jobs.silent": ("UX_DataSync_Slot",),
    "sync_records.stored_versions": ("sqlite_autoindex_SyncedRecords_",),
    "sync_records.store": ("sqlite_autoindex_SyncedRecords_",),
    "sync_records.unseen": ("sqlite_autoindex_SyncedRecords_",),
    "sync_records.bury": ("sqlite_autoindex_SyncedRecords_",),
    "sync_records.delete_tombstones": ("IX_SyncedRecord_Deleted",),
    "sync_settings.due": ("IX_SyncSchedule_Next",),
    "personal_data.events": ("sqlite_autoindex_DomainEvents_",),
    "personal_data.rewrite_event": ("sqlite_autoindex_WebhookDeliveries_",),
    "personal_data.remove_bodies": ("sqlite_autoindex_IncomingBodies_",),
    "api_keys.unclosed": ("IX_APIKey_Unclosed",),
    "api_keys.set_closed": ("sqlite_autoindex_APIKeys_",),
    "erasures.open": ("IX_Erasure_Open",),
    "erasures.page": ("IX_Erasure_Tenant",),
    "erasures.suppressed": ("sqlite_autoindex_SuppressedPeople_",),
    "alerts.find_active": ("IX_Alert_Subject",),
    "alerts.last_ended": ("IX_Alert_Subject",),
    "alerts.active": ("IX_Alert_Active",),
    "alerts.page": ("IX_Alert_Opened",),
    "anomalies.page": ("IX_Anomaly_Started",),
    "anomalies.active": ("UX_Anomaly_Active",),
    "anomalies.snoozed": ("IX_Anomaly_Snoozed",),
    "anomalies.exists_since": ("IX_Anomaly_Started",),
    "anomalies.delete_before": ("IX_Anomaly_Ended", "sqlite_autoindex_Anomalies_"),
    "sightings.known": ("sqlite_autoindex_KeySightings_",),
    "sightings.known_of": ("sqlite_autoindex_KeySightings_",),
    "sightings.see": ("sqlite_autoindex_KeySightings_",),
    "sightings.delete_before": ("IX_KeySighting_LastSeen", "sqlite_autoindex_KeySightings_"),
    "decisions.tenants": ("sqlite_autoindex_RecommendationDecisions_",),
    "decisions.of_tenant": ("sqlite_autoindex_RecommendationDecisions_",),
    "outcomes.newest": ("IX_WebhookDelivery_Webhook",),
    "notifications.claim": ("IX_AlertNotification_Due",),
    "notifications.of_alert": ("sqlite_autoindex_AlertNotifications_",),
}
#: Ties of one moment are put in order by id after the index did the rest.
_TIES = "USE TEMP B-TREE FOR RIGHT PART OF ORDER BY"


@pytest.fixture(scope="module")
def full_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlWorld]:
    with world_under(tmp_path_factory.mktemp("plans")) as world:
        for _ in range(3):
            world.ended(world.webhook(), 300)
            world.clock.advance(hours=1)
        yield world


@pytest.fixture(scope="module")
def driven(full_world: SqlWorld) -> dict[str, list[Callable[[SqlTransaction], object]]]:
    return calls(full_world)


def _plans(world: SqlWorld, call: Callable[[SqlTransaction], object]) -> list[tuple[str, list[str]]]:
    """The statements a call sends, each with the steps of its plan."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(world.database.engine, "before_cursor_execute", note)
    try:
        with world.transactions.write() as tx:
            call(tx)
    finally:
        event.remove(world.database.engine, "before_cursor_execute", note)
    explained: list[tuple[str, list[str]]] = []
    with world.database.read() as connection:
        for statement, parameters in seen:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                explained.append((statement, [row[3] for row in rows]))
    return explained


@pytest.mark.parametrize("method", sorted(_INDEXES))
def test_a_hot_statement_is_served_by_its_index(
    method: str, full_world: SqlWorld, driven: dict[str, list[Callable[[SqlTransaction], object]]]
) -> None:
    used = ""
    for call in driven[method]:
        for statement, steps in _plans(full_world, call):
            for step in steps:
                assert not step.startswith("SCAN ") or " USING " in step or "anon" in step, (statement, steps)
                assert not step.startswith("USE TEMP B-TREE") or step == _TIES, (statement, steps)
            used += " ".join(steps)
    for index in _INDEXES[method]:
        assert index in used, (index, used)


def test_events_of_a_line_are_looked_for_among_those_that_are_pending(
    full_world: SqlWorld, driven: dict[str, list[Callable[[SqlTransaction], object]]]
) -> None:
    [call] = driven["outbox.pending_about"]
    for _, steps in _plans(full_world, call):
        assert steps[0] == "SEARCH DomainEvents USING INDEX IX_DomainEvent_Outbox (AnnouncedAt>?)", steps


def test_what_an_event_repeats_and_what_goes_round_is_found_by_an_index(
    full_world: SqlWorld, driven: dict[str, list[Callable[[SqlTransaction], object]]]
) -> None:
    [call] = driven["loops.delivered"]
    first = [steps[0] for _, steps in _plans(full_world, call)]
    by_digest = (
        "SEARCH DomainEvents USING INDEX IX_DomainEvent_Digest (TenantId=? AND Digest=? AND CreatedAt>?)"
    )
    by_id = "SEARCH DomainEvents USING INDEX sqlite_autoindex_DomainEvents_1 (TenantId=? AND EventId=?)"
    assert set(first) == {by_digest, by_id}, first
    [call] = driven["loops.going_round"]
    [(_, steps)] = _plans(full_world, call)
    assert steps[0] == "SEARCH DomainEvents USING INDEX IX_DomainEvent_Laps (TenantId=? AND FannedOutAt>?)", (
        steps
    )


def test_checks_of_a_provider_are_read_from_a_few_of_its_integrations(full_world: SqlWorld) -> None:
    now = full_world.clock.now()

    def checks(tx: SqlTransaction) -> object:
        return tx.peers.checks("Stripe", since=now - timedelta(days=7), until=now, limit=50)

    steps = " ".join(step for _, steps in _plans(full_world, checks) for step in steps)
    assert "IX_Integration_Health (Provider=? AND Status=?)" in steps, steps
    hours = "sqlite_autoindex_SignalBuckets_1 (TenantId=? AND Kind=? AND Hour>? AND Hour<?)"
    assert hours in steps, steps


def test_a_page_of_deliveries_is_read_in_the_order_of_the_index(full_world: SqlWorld) -> None:
    webhook = full_world.webhook()

    def page(tx: SqlTransaction) -> object:
        since = full_world.clock.now() - timedelta(days=1)
        return tx.deliveries.page(
            full_world.tenant, webhook.webhook_id, DeliveryFilter(since=since), PageRequest()
        )

    steps = [step for _, steps in _plans(full_world, page) for step in steps]
    assert any("IX_WebhookDelivery_Webhook (WebhookId=? AND ScheduledAt>?)" in step for step in steps), steps


@pytest.mark.parametrize(
    ("method", "index"),
    [
        ("personal_data.records", "sqlite_autoindex_SyncedRecords_"),
        ("personal_data.incoming", "IX_IncomingWebhook_Integration"),
        ("personal_data.logs", "IX_IntegrationLog_Integration"),
        ("personal_data.record_errors", "IX_SyncRecordError_Job"),
    ],
)
def test_an_erasure_reads_a_tenants_rows_by_their_owner(
    method: str, index: str, full_world: SqlWorld, driven: dict[str, list[Callable[[SqlTransaction], object]]]
) -> None:
    """The owners themselves are few, and may be sorted."""
    steps = [step for call in driven[method] for _, each in _plans(full_world, call) for step in each]
    assert not [step for step in steps if step.startswith("SCAN ") and " USING " not in step]
    assert any(index in step for step in steps), steps
