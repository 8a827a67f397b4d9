"""Forged events: a module, or a leaked key of one, raises what only the hub or a provider can know.

Receivers trust the signature and the type; the hub's own alerts and first syncs followed the type too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.core.errors import DomainError
from domain.core.paging import PageRequest
from domain.core.wire import rfc3339
from domain.journal.audit import AuditFilter
from domain.sync.dispatch import SYNC_JOBS_QUEUE
from domain.webhooks.model import TestWebhook
from tests.worlds.builders import TENANT
from tests.worlds.http_app import App, said, serving_app
from tests.worlds.webhook_world import WebhookWorld

WEBHOOK, CALENDAR = str(uuid4()), str(uuid4())
DISABLED = {"webhookId": WEBHOOK, "url": "https://a.example/", "reason": "410 Gone."}
CONNECTED = {"integrationId": CALENDAR, "integrationType": "CalendarSync", "provider": "Google"}
FORGED: list[tuple[str, dict[str, Any]]] = [
    ("WebhookDisabled", DISABLED),
    ("webhookdisabled", DISABLED),
    ("WebhookDisabled.", DISABLED),
    ("WEBHOOKDISABLED.v2", DISABLED),
    ("IntegrationAuthorized", CONNECTED),
    ("CalendarSyncEnabled", CONNECTED),
    ("AlertRaised", {"kind": "security-violation", "severity": "Critical"}),
    ("WebhookSent", {"webhookId": WEBHOOK}),
    ("DataSyncCompleted", {"integrationId": CALENDAR}),
    ("APIKeyRevoked", {}),
    ("AnomalyDetected", {}),
    ("webhook.verification", {"challenge": "mine"}),
    ("webhook.anything", {}),
    ("stripe.charge.succeeded", {"amount": 100_000}),
    ("STRIPE.charge.succeeded", {"amount": 100_000}),
    ("Stripe..charge", {}),
    ("stripe_.charge", {}),
    ("stripe.", {}),
    ("azureblob.Microsoft.Storage.BlobCreated", {}),
    ("ical.event", {}),
    ("rest.order.paid", {}),
    ("connector.acme.order.paid", {}),
]
#: Look-alikes outside the alphabet of a type, and what would hide behind spaces and wildcards.
MALFORMED = [
    "\u0455tripe.charge",
    "WebhookDisabled ",
    " WebhookDisabled",
    "stripe.\n",
    "stripe.*",
    "*",
    "\uff57ebhook.x",
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with serving_app(tmp_path) as made:
        yield made


def raise_event(app: App, body: object) -> tuple[int, dict[str, Any]]:
    response = app.call("raise_events", app.request("POST", "events", body))
    return response.status_code, said(response)


@pytest.mark.parametrize(("type_", "data"), FORGED, ids=[name for name, _ in FORGED])
async def test_a_reserved_type_from_a_module_moves_nobody(
    world: WebhookWorld, type_: str, data: dict[str, Any]
) -> None:
    await world.webhook("*", type_.partition(".")[0] + ".*", "WebhookSent")
    world.receivers.posts.clear()
    with pytest.raises(DomainError) as refused:
        world.raise_event(type_, data=data)
    await world.settle()
    assert (refused.value.code, refused.value.errors[0].pointer) == ("reserved-type", "/type")
    assert not world.receivers.posts
    assert not world.alerts()
    assert SYNC_JOBS_QUEUE not in [queue for queue, _ in world.queue.sent]


@pytest.mark.parametrize("type_", MALFORMED)
def test_a_look_alike_of_a_reserved_type_is_no_type(app: App, type_: str) -> None:
    status, problem = raise_event(app, {"type": type_, "data": {}})
    assert (status, problem["errors"][0]["pointer"]) == (422, "/type")


def test_the_reserved_types_are_published(app: App) -> None:
    response = app.call("list_reserved_types", app.request("GET", "events/reserved-types"))
    listed = said(response)
    assert {"WebhookDisabled", "IntegrationAuthorized", "AlertRaised"} <= set(listed["names"])
    assert {"webhook.", "stripe.", "rest.", "connector.", "azureblob."} <= set(listed["prefixes"])


def test_a_batch_that_hides_one_forged_event_is_refused_as_a_whole(app: App) -> None:
    names = ["BookingConfirmed", "Stripe.charge.refunded", "BookingCancelled", "AlertRaised"]
    batch = {"events": [{"id": f"e{n}", "type": name, "data": {}} for n, name in enumerate(names)]}
    status, problem = raise_event(app, batch)
    assert (status, problem["code"]) == (422, "reserved-type")
    assert [error["pointer"] for error in problem["errors"]] == ["/events/1/type", "/events/3/type"]
    assert raise_event(app, {"id": "e0", "type": "BookingConfirmed", "data": {}})[1]["accepted"] == 1


async def test_a_forged_event_on_the_queue_ends_there_and_is_known_to_the_tenant(world: WebhookWorld) -> None:
    await world.webhook("*")
    world.receivers.posts.clear()
    forged = {"tenantId": str(TENANT), "type": "Stripe.charge.succeeded", "data": {"amount": "4711-secret"}}
    honest = {"tenantId": str(TENANT), "type": "BookingConfirmed", "data": {}}
    assert world.fan_out.handle([(json.dumps(forged), "m-1"), (json.dumps(honest), "m-2")]) == 1
    await world.settle()
    [(_, call)] = world.receivers.posts
    assert json.loads(call.body)["type"] == "BookingConfirmed"
    [alert] = world.alerts()
    assert (alert["kind"], alert["tenantId"]) == ("security-violation", str(TENANT))
    with world.transactions.read() as tx:
        rows = tx.audit.page(TENANT, AuditFilter(), PageRequest()).items
    [entry] = [row for row in rows if row.action == "event.refused"]
    assert "Stripe.charge.succeeded" in (entry.after or "")
    assert "4711-secret" not in (entry.after or "") + json.dumps(alert)


async def test_a_test_of_a_webhook_forges_no_event_of_the_hub_or_a_provider(world: WebhookWorld) -> None:
    created = await world.webhook("*")
    world.receivers.posts.clear()
    for type_ in ("stripe.charge.succeeded", "WebhookDisabled", "Webhook.Verification"):
        with pytest.raises(DomainError) as refused:
            command = TestWebhook.of_json(json.dumps({"eventType": type_, "data": {"paid": True}}).encode())
            await world.history.test(world.principal, created.webhook.webhook_id, command)
        assert refused.value.code == "reserved-type"
    assert not world.receivers.posts


async def test_an_event_cannot_take_the_place_of_one_that_the_hub_is_about_to_raise(
    world: WebhookWorld,
) -> None:
    alert_id = uuid4()
    with pytest.raises(ValueError, match="should match pattern"):
        world.raise_event(id=f"~{alert_id}.recovered")


@pytest.mark.parametrize("ahead", [timedelta(days=1, seconds=1), timedelta(days=36_500)])
async def test_an_event_from_the_day_after_tomorrow_is_refused(world: WebhookWorld, ahead: timedelta) -> None:
    with pytest.raises(DomainError) as refused:
        world.raise_event(occurredAt=rfc3339(world.clock.now() + ahead))
    assert refused.value.errors[0].pointer == "/occurredAt"
    assert world.raise_event(occurredAt=rfc3339(world.clock.now() + timedelta(days=1)))
