"""Receivers that take posts and never answer, until no place is left for anybody else's; queues that are full of one
tenant's events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.principal import Principal
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.service import WebhookWithSecret
from tests.worlds.builders import START, Hanging
from tests.worlds.webhook_world import WebhookWorld

PLACES = 60
STUCK = "https://stuck.example/{}"
WELL = "https://well.example/"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebhookWorld]:
    """A process with room for 60 posts, 30 of an endpoint; what does not answer is given 20 ms before it is left."""
    world = WebhookWorld(tmp_path, concurrency=PLACES, per_endpoint=30, handoff_seconds=0.02, linger=0.05)
    yield world
    world.close()


async def hang(world: WebhookWorld, owner: Principal, endpoints: int, events: int) -> Hanging:
    """Let so many endpoints of the tenant take posts of so many events each, and answer none."""
    hanging = Hanging()
    for number in range(endpoints):
        url = STUCK.format(number)
        await world.webhook(f"Stuck{number}", url=url, owner=owner)
        world.receivers.script(*[hanging] * events, url=url)
    for _ in range(events):
        for number in range(endpoints):
            world.raise_event(f"Stuck{number}", owner=owner)
    await settle(world)
    return hanging


async def settle(world: WebhookWorld) -> None:
    """Hand over what is in the queues, as a host does: 32 messages at a time, without waiting for what hangs."""
    while True:
        announced = world.queue.take(DOMAIN_EVENTS_QUEUE)
        world.fan_out.handle([(message.body, message.message_id or "m") for message in announced])
        deliveries = world.queue.take(WEBHOOK_DELIVERIES_QUEUE)
        for first in range(0, len(deliveries), 32):
            some = deliveries[first : first + 32]
            await world.engine.handle([DeliveryMessage.of_queue(message.body) for message in some])
        if not announced and not deliveries:
            return


def statuses(world: WebhookWorld, webhook: WebhookWithSecret) -> list[DeliveryStatus]:
    return [delivery.delivery_status for delivery in world.deliveries(webhook)]


async def delivered(world: WebhookWorld, webhook: WebhookWithSecret, events: int) -> None:
    for _ in range(events):
        world.raise_event("Healthy")
    await settle(world)
    for _ in range(100):
        if statuses(world, webhook) == [DeliveryStatus.Delivered] * events:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(statuses(world, webhook))


@pytest.mark.parametrize("endpoints", [2, 12], ids=["two endpoints", "a dozen endpoints"])
async def test_endpoints_that_hang_hold_no_place_that_another_tenant_needs(
    world: WebhookWorld, endpoints: int
) -> None:
    webhook = await world.webhook("Healthy", url=WELL)
    hanging = await hang(world, world.other, endpoints, events=60 // endpoints + 5)
    assert hanging.arrived <= PLACES // 2
    await delivered(world, webhook, events=10)
    hanging.let_go()
    await world.engine.drain()


async def test_endpoints_that_hang_hold_no_place_that_another_endpoint_of_their_tenant_needs(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("Healthy", url=WELL)
    hanging = await hang(world, world.principal, 2, events=40)
    await delivered(world, webhook, events=5)
    hanging.let_go()
    await world.engine.drain()


async def test_an_event_is_not_the_last_behind_thousands_that_another_tenant_queued_before_it(
    world: WebhookWorld,
) -> None:
    for number in range(8):
        await world.webhook("Bulk", url=f"https://bulk.example/{number}", owner=world.other)
    webhook = await world.webhook("Healthy", url=WELL)
    for _ in range(120):
        world.raise_event("Bulk", owner=world.other)
    world.raise_event("Healthy")
    announced = world.queue.take(DOMAIN_EVENTS_QUEUE)
    world.fan_out.handle([(message.body, message.message_id or "m") for message in announced])
    deliveries = world.queue.take(WEBHOOK_DELIVERIES_QUEUE)
    assert sum(len(DeliveryMessage.of_queue(message.body).delivery_ids) for message in deliveries) <= 250
    await world.engine.handle([DeliveryMessage.of_queue(message.body) for message in deliveries])
    await world.engine.drain()
    assert [request.url for _, request in world.receivers.posts].index(WELL) <= 128
    assert statuses(world, webhook) == [DeliveryStatus.Delivered]
    await world.run_until(START + timedelta(minutes=1))
    await world.engine.drain()
    assert len(world.receivers.posts) == 8 * 120 + 1
