"""From stored events to queued deliveries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import Unavailable
from domain.integrations.model import Integration, IntegrationStatus
from domain.journal.event_types import FROM_PLATFORM, EventOrigin
from domain.journal.events import DomainEvent
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE
from domain.providers.contract import IntegrationType
from domain.webhooks import fan_out
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage, delivery_messages
from domain.webhooks.model import DeliveryStatus, TestWebhook, UpdateWebhook, WebhookState
from domain.webhooks.ports import NewDelivery
from domain.webhooks.service import WebhookWithSecret
from infra.sql.journal.outbox import SqlOutbox
from tests.worlds.builders import TENANT, USER, answer
from tests.worlds.webhook_world import WebhookWorld

MIB = 1024 * 1024


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


async def pause(world: WebhookWorld, webhook: WebhookWithSecret) -> None:
    await world.service.update(
        world.principal, webhook.webhook.webhook_id, UpdateWebhook(is_active=False), None
    )


async def resume(world: WebhookWorld, webhook: WebhookWithSecret) -> None:
    await world.service.update(
        world.principal, webhook.webhook.webhook_id, UpdateWebhook(is_active=True), None
    )


@pytest.mark.parametrize(
    ("subscribed", "type_", "told"),
    [
        (["BookingConfirmed"], "BookingConfirmed", True),
        (["BookingConfirmed"], "BookingCancelled", False),
        (["BookingConfirmed"], "bookingconfirmed", False),
        (["booking.*"], "booking.created", True),
        (["booking.*"], "booking.item.added", True),
        (["booking.item.*"], "booking.item.added", True),
        (["booking.item.*"], "booking.created", False),
        (["booking.*"], "booking", False),
        (["booking.*"], "bookings.created", False),
        (["*"], "anything.at.all", True),
    ],
)
async def test_a_webhook_is_told_what_it_subscribed_to(
    world: WebhookWorld, subscribed: list[str], type_: str, told: bool
) -> None:
    await world.webhook(*subscribed)
    world.raise_event(type_)
    await world.settle()
    assert len(world.receivers.posts) == told


async def test_a_webhook_of_an_integration_is_told_of_that_integration_alone(world: WebhookWorld) -> None:
    integration = Integration(
        integration_id=UUID("0a7b6c5d-0000-4000-8000-00000000abcd"),
        tenant_id=TENANT,
        name="Guests",
        integration_type=IntegrationType.CustomAPI,
        provider="REST",
        status=IntegrationStatus.Active,
        sealed_configuration="sealed",
        created_at=world.clock.now(),
        created_by=USER,
    )
    with world.transactions.write() as tx:
        tx.integrations.add(TENANT, integration)
        tx.commit()
    own = str(integration.integration_id)
    bound, free = await world.webhook("*", integrationId=own), await world.webhook("*")
    wanted = [
        world.raise_event("GuestsImported", data={"integrationId": own.upper()}),
        world.raise_event("guest.changed", subject=own, data={"id": "g1"}),
    ]
    world.raise_event("GuestsImported", data={"integrationId": str(UUID(int=8))})
    world.raise_event("BookingConfirmed", data={"note": own})
    await world.settle()
    assert {delivery.event_id for delivery in world.deliveries(bound)} == set(wanted)
    assert len(world.deliveries(free)) == 4
    await world.service.update(
        world.principal, bound.webhook.webhook_id, UpdateWebhook(integration_id=None), None
    )
    world.raise_event("BookingConfirmed")
    await world.settle()
    assert len(world.deliveries(bound)) == 3


async def test_several_matching_names_are_one_delivery(world: WebhookWorld) -> None:
    webhook = await world.webhook("booking.created", "booking.*", "*", "*")
    world.raise_event("booking.created")
    await world.settle()
    assert len(world.deliveries(webhook)) == 1
    assert len(world.receivers.posts) == 1


async def test_every_matching_webhook_of_the_tenant_is_told_and_none_of_another(world: WebhookWorld) -> None:
    await world.webhook("*", url="https://a.example/")
    await world.webhook("BookingConfirmed", url="https://b.example/")
    await world.webhook("*", url="https://c.example/", owner=world.other)
    world.raise_event()
    await world.settle()
    assert sorted(request.url for _, request in world.receivers.posts) == [
        "https://a.example/",
        "https://b.example/",
    ]


async def test_the_same_id_in_two_tenants_is_two_events(world: WebhookWorld) -> None:
    await world.webhook("*", url="https://a.example/")
    await world.webhook("*", url="https://c.example/", owner=world.other)
    world.raise_event(id="e-1", data={"of": "A"})
    world.raise_event(id="e-1", data={"of": "B"}, owner=world.other)
    await world.settle()
    posted = {request.url: json.loads(request.body)["data"]["of"] for _, request in world.receivers.posts}
    assert posted == {"https://a.example/": "A", "https://c.example/": "B"}


async def test_a_webhook_that_was_never_verified_gets_nothing_not_even_held(world: WebhookWorld) -> None:
    world.receivers.verification = lambda request: answer(500)
    webhook = await world.webhook("*")
    world.raise_event()
    await world.settle()
    assert world.deliveries(webhook) == []


async def test_events_of_a_paused_webhook_are_held_and_sent_when_it_resumes(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    await pause(world, webhook)
    world.raise_event()
    await world.settle()
    [held] = world.deliveries(webhook)
    assert (held.is_held, held.delivery_status) == (True, DeliveryStatus.Pending)
    assert world.receivers.posts == []

    await resume(world, webhook)
    await world.sweep()
    [sent] = world.deliveries(webhook)
    assert (sent.is_held, sent.delivery_status) == (False, DeliveryStatus.Delivered)


async def test_what_was_held_while_its_webhook_resumed_is_sent_all_the_same(world: WebhookWorld) -> None:
    """Let a fan-out read the webhook before it is resumed, and commit after it.

    Two transactions may do so on SQL Server: the release has not seen the delivery."""
    webhook = await world.webhook("*")
    world.raise_event()
    with world.transactions.write() as tx:
        [ref] = tx.outbox.unannounced(world.clock.now() + timedelta(seconds=1), world.clock.now(), 10)
        now, later = world.clock.now(), world.clock.now() + timedelta(hours=24)
        [event] = tx.outbox.pending([ref])
        held = NewDelivery(world.ids.new(), webhook.webhook.webhook_id, event, is_held=True)
        tx.pipeline.add_deliveries([held], now=now, expires_at=later, requeue_at=now)
        tx.outbox.mark_fanned_out([ref], now)
        tx.commit()
    world.clock.advance(minutes=1)
    await world.sweep()
    [sent] = world.deliveries(webhook)
    assert (sent.is_held, sent.delivery_status) == (False, DeliveryStatus.Delivered)


async def test_a_flood_of_large_events_is_fanned_out_a_few_at_a_time(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message of the queue announces 100 events, each of which may be a mebibyte."""
    monkeypatch.setattr(fan_out, "BYTES_PER_TRANSACTION", 3 * MIB)
    held: list[int] = []
    pending = SqlOutbox.pending

    def weighed(*arguments: Any, **options: Any) -> list[DomainEvent]:
        events = pending(*arguments, **options)
        held.append(sum(event.size for event in events))
        return events

    monkeypatch.setattr(SqlOutbox, "pending", weighed)
    webhook = await world.webhook("*")
    for _ in range(8):
        world.raise_event(data={"x": "a" * (MIB - 100)})
    await world.settle()
    assert len(world.deliveries(webhook)) == 8
    assert max(held) <= 4 * MIB


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("WebhookDisabled", {"webhookId": "x" * 300_000, "reason": "Forged."}),
        ("WebhookDisabled", {"webhookId": str(UUID(int=7)), "reason": "Forged."}),
        ("WebhookDisabled", {}),
        ("IntegrationAuthorized", {"integrationId": str(UUID(int=7)), "integrationType": "CalendarSync"}),
        ("CalendarSyncEnabled", {"integrationId": str(UUID(int=7))}),
    ],
)
@pytest.mark.parametrize("origin", [FROM_PLATFORM, None], ids=["platform", "unknown"])
async def test_an_event_that_only_bears_the_name_of_one_of_the_hubs_own_moves_nothing_in_the_hub(
    world: WebhookWorld, type_: str, data: dict[str, object], origin: EventOrigin | None
) -> None:
    """Such rows are from before types were reserved."""
    webhook = await world.webhook("*")
    stored = DomainEvent("old", TENANT, type_, json.dumps(data), world.clock.now(), origin=origin)
    with world.transactions.write() as tx:
        tx.outbox.append([stored])
        tx.commit()
    world.raise_event()
    await world.settle()
    assert {delivery.event_type for delivery in world.deliveries(webhook)} == {type_, "BookingConfirmed"}
    assert world.alerts() == []
    assert {queue for queue, _ in world.queue.sent} == {"domain-events", "webhook-deliveries"}


async def test_subscribers_see_who_raised_an_event(world: WebhookWorld) -> None:
    webhook = await world.webhook("*", "WebhookSent")
    world.raise_event()
    await world.settle()
    await world.history.test(world.principal, webhook.webhook.webhook_id, TestWebhook())
    told = [json.loads(post.body) for post in world.receivers.posts_to()]
    assert {body["type"]: body["origin"] for body in told} == {
        "BookingConfirmed": {"kind": "platform"},
        "WebhookSent": {"kind": "hub"},
        "webhook.test": {"kind": "test"},
    }
    assert json.loads(world.receivers.verifications[0].body)["origin"] == {"kind": "hub"}


async def test_events_of_a_disabled_webhook_are_held(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(410))
    world.raise_event()
    await world.settle()
    assert world.webhook_now(webhook).state == WebhookState.Disabled
    world.raise_event()
    await world.settle()
    assert [delivery.is_held for delivery in world.deliveries(webhook)] == [False, True]


async def test_events_of_a_webhook_that_must_verify_its_new_address_are_held(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    world.receivers.verification = lambda request: answer(500)
    moved = UpdateWebhook(url="https://new.example/")
    await world.service.update(world.principal, webhook.webhook.webhook_id, moved, None)
    world.raise_event()
    await world.settle()
    assert [delivery.is_held for delivery in world.deliveries(webhook)] == [True]
    assert world.receivers.posts == []


async def test_what_is_held_expires_after_24_hours__BR_WH_05(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    await pause(world, webhook)
    world.raise_event()
    await world.settle()
    world.clock.advance(hours=24)
    assert world.retries.sweep().expired == 1
    [expired] = world.deliveries(webhook)
    assert expired.delivery_status == DeliveryStatus.Expired
    await resume(world, webhook)
    await world.sweep()
    assert world.receivers.posts == []


async def test_fanning_out_twice_inserts_nothing_and_sends_nothing(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    world.raise_event()
    [message] = world.queue.take(DOMAIN_EVENTS_QUEUE)
    assert world.fan_out.handle([(message.body, "m-1"), (message.body, "m-2")]) == 1
    assert world.fan_out.handle([(message.body, "m-1")]) == 0
    assert len(world.queue.take(WEBHOOK_DELIVERIES_QUEUE)) == 1
    assert len(world.deliveries(webhook)) == 1


async def test_more_events_than_one_transaction_takes_are_all_fanned_out(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    for _ in range(6):
        for _ in range(100):
            world.raise_event()
    world.clock.advance(seconds=1)
    messages = world.queue.take(DOMAIN_EVENTS_QUEUE)
    assert world.fan_out.handle([(message.body, "m") for message in messages]) == 600
    queued = [
        DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)
    ]
    assert sum(len(message.delivery_ids) for message in queued) == 600
    assert all(len(message.delivery_ids) <= 100 for message in queued)
    assert {message.webhook_id for message in queued} == {webhook.webhook.webhook_id}


async def test_a_crash_between_commit_and_send_is_healed_by_the_retry_processor(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    world.raise_event()
    announced = world.queue.take(DOMAIN_EVENTS_QUEUE)
    world.queue.down = True
    with pytest.raises(Unavailable):
        world.fan_out.handle([(message.body, "m-1") for message in announced])
    world.queue.down = False
    await world.settle()
    assert world.receivers.posts == []

    world.clock.advance(minutes=2)
    assert world.retries.sweep().requeued == 1
    assert world.retries.sweep().requeued == 0  # queued a moment ago
    await world.settle()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]
    assert len(world.receivers.posts) == 1


async def test_a_lost_announcement_is_healed_by_the_sweeper(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    world.queue.losing = True
    world.raise_event()
    world.queue.losing = False
    world.clock.advance(seconds=31)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


@pytest.mark.parametrize("data", [{"eventIds": ["a"]}, {"text": '"eventIds"'}])
async def test_an_event_whose_data_reads_like_an_announcement_is_an_event(
    world: WebhookWorld, data: dict[str, object]
) -> None:
    webhook = await world.webhook("*")
    body = {"tenantId": str(world.principal.tenant_id), "type": "Booked", "data": data}
    assert world.fan_out.handle([(json.dumps(body), "m-1")]) == 1
    [delivery] = world.deliveries(webhook)
    assert json.loads(delivery.payload or "") == data
    assert world.alerts() == []


def test_deliveries_of_one_webhook_share_messages_of_at_most_100_ids() -> None:
    one, two = UUID(int=1), UUID(int=2)
    deliveries = [(webhook, UUID(int=n), 10) for n in range(100, 350) for webhook in (one, two)]
    messages = delivery_messages(deliveries)
    assert sorted((message.webhook_id.int, len(message.delivery_ids)) for message in messages) == [
        (1, 50), (1, 100), (1, 100), (2, 50), (2, 100), (2, 100),
    ]  # fmt: skip
    assert {
        (message.webhook_id, delivery_id) for message in messages for delivery_id in message.delivery_ids
    } == {(webhook, delivery) for webhook, delivery, _ in deliveries}


def test_a_message_stands_for_at_most_4_mib_of_payloads_unless_one_alone_is_larger() -> None:
    webhook = UUID(int=1)
    sizes = [MIB] * 9 + [5 * MIB] + [1]
    messages = delivery_messages((webhook, UUID(int=n), size) for n, size in enumerate(sizes))
    assert [message.size for message in messages] == [4 * MIB, 4 * MIB, MIB, 5 * MIB, 1]


def test_a_message_survives_the_queue() -> None:
    message = DeliveryMessage(UUID(int=1), [UUID(int=2), UUID(int=3)], 12, paced=True)
    assert DeliveryMessage.of_queue(message.to_queue().body) == message
    assert len(message.to_queue().body) < 256 * 1024


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "5", "{}", '{"webhookId":"x","deliveryIds":[]}', '{"webhookId":5,"deliveryIds":[]}',
     '{"webhookId":"00000000-0000-0000-0000-000000000001","deliveryIds":5}',
     '{"webhookId":"00000000-0000-0000-0000-000000000001","deliveryIds":[5]}',
     '{"webhookId":"00000000-0000-0000-0000-000000000001","deliveryIds":[],"bytes":Infinity}',
     "[" * 100_000],
    ids=lambda body: body[:70],
)  # fmt: skip
def test_what_is_no_delivery_message_is_a_value_error(body: str) -> None:
    with pytest.raises(ValueError):
        DeliveryMessage.of_queue(body)


def test_splitting_a_message_shares_its_size_and_loses_nothing() -> None:
    message = DeliveryMessage(UUID(int=1), [UUID(int=n) for n in range(10)], 1001)
    first, rest = message.split(3)
    assert (len(first.delivery_ids), len(rest.delivery_ids)) == (3, 7)
    assert [*first.delivery_ids, *rest.delivery_ids] == list(message.delivery_ids)
    assert first.size + rest.size == 1001


async def test_deliveries_carry_the_callers_trace_and_expire_24_hours_after_the_event__BR_WH_05(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("*")
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert delivery.expires_at - delivery.scheduled_at == timedelta(hours=24)
