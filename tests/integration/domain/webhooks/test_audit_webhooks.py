"""Webhook management is in the audit log, without its secrets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from domain.core.errors import NotFound
from domain.core.paging import PageRequest
from domain.journal.audit import AuditFilter
from domain.journal.audit_log import AuditService
from domain.webhooks.deliveries import DeliveryService
from domain.webhooks.model import CreateWebhook, RotateSecret, TestWebhook, UpdateWebhook
from domain.webhooks.notices import record_disabled
from domain.webhooks.service import WebhookService
from tests.worlds.apikey_world import ApiKeyWorld


async def test_every_change_of_a_webhook_is_recorded_without_its_secret(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    webhooks = world.hub.use(WebhookService)
    # Nobody listens on port 1: the webhook waits for its verification.
    created = await webhooks.create(
        world.admin, CreateWebhook(url="http://localhost:1/", event_types=["BookingConfirmed"])
    )
    webhook_id = created.webhook.webhook_id
    await webhooks.update(world.admin, webhook_id, UpdateWebhook(description="Till"), None)
    rotated = await asyncio.to_thread(webhooks.rotate_secret, world.admin, webhook_id, RotateSecret())
    await world.hub.use(DeliveryService).test(world.admin, webhook_id, TestWebhook())
    with world.hub.transactions.write() as tx:
        record_disabled(tx, world.admin.tenant_id, webhook_id, "It only failed.")
        tx.commit()
    await asyncio.to_thread(webhooks.delete, world.admin, webhook_id, None)
    page = world.hub.use(AuditService).page(world.admin, AuditFilter(action="webhook.*"), PageRequest())
    assert [record.action for record in reversed(page.items)] == [
        "webhook.created",
        "webhook.updated",
        "webhook.secret-rotated",
        "webhook.tested",
        "webhook.disabled",
        "webhook.deleted",
    ]
    assert {record.target_id for record in page.items} == {str(webhook_id)}
    by_hub = next(record for record in page.items if record.action == "webhook.disabled")
    assert (by_hub.actor_user_id, by_hub.actor_key_id, by_hub.ip_address) == (None, None, None)
    written = repr(page.items)
    assert created.secret not in written
    assert rotated.secret not in written
    assert created.webhook.sealed_secret not in written
    assert world.hub.use(AuditService).verify(world.admin).intact


async def test_what_was_refused_is_not_recorded_as_done(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    with pytest.raises(NotFound):
        await asyncio.to_thread(world.hub.use(WebhookService).delete, world.admin, uuid4(), None)
    assert world.hub.use(AuditService).page(world.admin, AuditFilter(), PageRequest()).total == 0
