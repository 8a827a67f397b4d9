"""Loops over pages go on to the end: five rows in steps of two (`tests/worlds/small_steps.py`)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.service import ApiKeyService
from domain.apikeys.usage import UsageService
from domain.core.paging import Page, PageRequest, every
from domain.integrations.credential_store import CredentialStore
from domain.integrations.health import HealthMonitor
from domain.integrations.health_history import IntegrationHistory
from domain.journal.audit_log import AuditService
from domain.journal.occurrences import OccurrenceSender, occurrence
from domain.journal.signals import Signal, SubjectKind, Tally, hour_of
from domain.monitoring.signal_series import SignalService
from domain.sync.record_service import PutRecords, RecordService
from domain.webhooks.deliveries import Replay
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.sweep import DeliveryCleanup
from infra.sql.journal.tables import audit_log
from tests.worlds.apikey_world import START, ApiKeyWorld
from tests.worlds.builders import START as MORNING
from tests.worlds.builders import TENANT, answer
from tests.worlds.integration_world import IntegrationWorld
from tests.worlds.sync_world import SyncWorld
from tests.worlds.webhook_world import WebhookWorld

ROWS = 5


def test_the_usage_of_every_key_is_rolled_up(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    keys = [world.issue() for _ in range(ROWS)]
    for issued in keys:
        world.verify(issued.plain)
    assert world.hub.use(UsageService).roll_up() == ROWS
    service = world.hub.use(ApiKeyService)
    assert {service.get(world.admin, issued.key.api_key_id).usage_count for issued in keys} == {1}


def test_every_key_that_expired_is_revoked(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    for _ in range(ROWS):
        world.issue(expiresAt=START + timedelta(hours=1))
    world.clock.advance(hours=2)
    assert world.hub.use(KeyExpiry).revoke_expired() == ROWS
    assert world.hub.use(KeyExpiry).revoke_expired() == 0


def test_the_whole_audit_log_is_verified_and_a_change_far_behind_is_found(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    for _ in range(ROWS):
        world.issue()
    audit = world.hub.use(AuditService)
    whole = audit.verify(world.admin)
    assert (whole.intact, whole.rows) == (True, ROWS)
    with world.hub.database.write() as connection:
        connection.execute(update(audit_log).where(audit_log.c.Sequence == ROWS - 1).values(After='{"a":1}'))
        connection.commit()
    broken = audit.verify(world.admin)
    assert (broken.intact, broken.first_broken) == (False, ROWS - 1)


async def test_a_full_sync_buries_everything_that_is_gone(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    for index in range(2 * ROWS):
        world.crm.put(f"c{index:02d}", MORNING)
    integration = await world.integration()
    await world.synced(integration)
    for index in range(ROWS):
        del world.crm.records[f"c{index:02d}"]
    world.clock.advance(days=1)
    assert (await world.synced(integration)).records_deleted == ROWS
    assert sorted(world.live(integration)) == [f"c{index:02d}" for index in range(ROWS, 2 * ROWS)]
    world.close()


async def test_every_old_job_and_tombstone_is_forgotten(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    for index in range(ROWS + 1):
        world.crm.put(f"c{index:02d}", MORNING)
    integration = await world.integration()
    for _ in range(ROWS - 1):
        await world.synced(integration, "Differential")
    for index in range(ROWS):
        del world.crm.records[f"c{index:02d}"]
    await world.synced(integration)
    world.clock.advance(days=400)
    assert world.hub.use(RecordService).forget_old() == (ROWS, ROWS)
    assert list(world.live(integration)) == [f"c{ROWS:02d}"]
    world.close()


async def test_every_change_of_the_tenant_is_exported(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    integration = await world.integration()
    records = [{"localId": f"l{index}", "data": {"email": f"l{index}@example.com"}} for index in range(ROWS)]
    command = PutRecords.model_validate_json(json.dumps({"records": records}))
    assert world.hub.use(RecordService).change(world.principal, integration, command).stored == ROWS
    assert (await world.synced(integration, "Full", direction="Export")).records_written == ROWS
    assert len(world.crm.pushes) == ROWS
    world.close()


async def test_a_round_goes_on_after_a_page_of_integrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.integrations.health.PAGE", 2)
    world = IntegrationWorld(tmp_path)
    for number in range(ROWS):
        await world.create("REST", name=f"a{number}")
    world.api.calls.clear()
    world.clock.advance(minutes=5)
    await world.hub.use(HealthMonitor).check_due()
    assert world.api.calls == ["probe"] * ROWS
    world.close()


async def test_the_samples_and_logs_of_every_integration_are_forgotten(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path)
    made = [await world.create("REST", name=f"a{number}") for number in range(ROWS)]
    await world.check(ROWS)
    assert len(world.logs(made[0])) > 2
    world.clock.advance(days=91)
    logs, samples = world.hub.use(IntegrationHistory).forget_old()
    assert samples == ROWS * ROWS and logs >= 2 * ROWS
    assert [log for integration in made for log in world.logs(integration)] == []
    world.close()


async def test_every_lost_secret_is_swept(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path)
    created = (await world.create()).integration
    store = world.hub.use(CredentialStore)
    for _ in range(ROWS):
        store.put(created.integration_id, store.load(created))
    world.clock.advance(minutes=16)
    assert world.sweep() == ROWS
    assert world.secrets.credentials() == [created.secret_name]
    world.close()


async def test_every_occurrence_that_waits_is_sent(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path)
    with world.transactions.write() as tx:
        for number in range(ROWS):
            tx.occurrences.append(occurrence("anomaly", {"subject": str(number)}, MORNING, tenant_id=TENANT))
        tx.commit()
    assert world.hub.use(OccurrenceSender).flush() == ROWS
    told = {alert["data"]["subject"] for alert in world.alerts()}
    assert told == {str(number) for number in range(ROWS)}
    assert world.hub.use(OccurrenceSender).flush() == 0
    world.close()


async def test_every_delivery_is_fanned_out_expired_replayed_and_deleted(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    webhook = await world.webhook("*")
    for _ in range(ROWS):
        world.raise_event()
    await world.settle()
    assert len(world.receivers.posts) == ROWS
    world.clock.advance(minutes=1)
    replay = world.history.replay(
        world.principal, webhook.webhook.webhook_id, Replay(since=MORNING, status=["Delivered"])
    )
    assert replay.replayed == ROWS
    world.clock.advance(hours=25)
    await world.sweep()
    statuses = [delivery.delivery_status for delivery in world.deliveries(webhook)]
    assert statuses == [DeliveryStatus.Expired] * ROWS
    world.clock.advance(days=40)
    deliveries, events = world.hub.use(DeliveryCleanup).delete_old()
    assert deliveries >= ROWS and events >= ROWS
    assert world.deliveries(webhook) == []
    world.close()


@pytest.mark.parametrize(("count", "more"), [(4, False), (5, True)])
async def test_a_replay_takes_its_most_and_says_that_there_are_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, more: bool
) -> None:
    monkeypatch.setattr("domain.webhooks.deliveries.REPLAY_AT_MOST", 4)
    world = WebhookWorld(tmp_path)
    webhook = await world.webhook("*")
    world.receivers.script(*[answer(400)] * count)
    for _ in range(count):
        world.raise_event()
        await world.settle()
    world.clock.advance(minutes=1)
    replayed = world.history.replay(world.principal, webhook.webhook.webhook_id, Replay(since=MORNING))
    assert (replayed.replayed, replayed.more) == (4, more)
    world.close()


def test_every_signal_is_added_up_and_forgotten(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    kind, subject = SubjectKind.Webhook, UUID(int=1)
    tenant_id = world.admin.tenant_id
    hours = [hour_of(START - timedelta(hours=number)) for number in range(ROWS)]
    with world.hub.transactions.write() as tx:
        tx.signals.append([Signal(tenant_id, kind, subject, hour, Tally(1, 1)) for hour in hours])
        tx.commit()
    signals = world.hub.use(SignalService)
    assert signals.compact() == ROWS
    world.clock.advance(days=400)
    assert signals.forget_old() >= ROWS
    assert signals.forget_old() == 0


def test_every_item_of_every_page_is_read() -> None:
    asked: list[int] = []

    def read(page: PageRequest) -> Page[int]:
        asked.append(page.page)
        start = (page.page - 1) * page.page_size
        return Page(range(start, min(start + page.page_size, 401)), page.page, page.page_size, 401)

    assert list(every(read)) == list(range(401))
    assert asked == [1, 2, 3]
