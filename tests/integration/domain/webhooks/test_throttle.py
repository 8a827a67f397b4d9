"""How much a worker takes on at once, and what it puts off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from domain.core.errors import Unavailable
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import DeliveryStatus
from tests.worlds.builders import START, Hanging, answer
from tests.worlds.webhook_world import WebhookWorld

MIB = 1024 * 1024


@asynccontextmanager
async def opened(world: WebhookWorld) -> AsyncIterator[WebhookWorld]:
    try:
        yield world
        await world.engine.drain()
    finally:
        world.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def fanned_out(world: WebhookWorld, events: int) -> list[DeliveryMessage]:
    """The delivery messages of so many events."""
    for _ in range(events):
        world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    return [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]


async def test_deliveries_over_the_cap_of_an_endpoint_wait_unclaimed_until_a_post_ends(home: Path) -> None:
    async with opened(WebhookWorld(home, per_endpoint=3, handoff_seconds=0.2)) as world:
        webhook = await world.webhook("BookingConfirmed")
        hanging = Hanging()
        world.receivers.otherwise = hanging
        await world.engine.handle(fanned_out(world, 10))
        await hanging.reached_by(3)
        states = [
            (delivery.delivery_status, delivery.attempt_count) for delivery in world.deliveries(webhook)
        ]
        assert sorted(states) == [(DeliveryStatus.Pending, 0)] * 7 + [(DeliveryStatus.Sending, 1)] * 3
        hanging.let_go()
        await world.engine.drain()
        assert {delivery.delivery_status for delivery in world.deliveries(webhook)} == {
            DeliveryStatus.Delivered
        }
        assert len(world.receivers.posts) == 10


async def test_a_hanging_endpoint_does_not_keep_the_others_waiting(home: Path) -> None:
    async with opened(WebhookWorld(home, per_endpoint=2, handoff_seconds=0.2)) as world:
        slow = await world.webhook("BookingConfirmed", url="https://slow.example/")
        quick = await world.webhook("BookingConfirmed", url="https://quick.example/")
        hanging = Hanging()
        world.receivers.script(*[hanging] * 20, url="https://slow.example/")
        await world.engine.handle(fanned_out(world, 2))
        await world.engine.handle(fanned_out(world, 2))
        assert {delivery.delivery_status for delivery in world.deliveries(quick)} == {
            DeliveryStatus.Delivered
        }
        assert DeliveryStatus.Delivered not in {
            delivery.delivery_status for delivery in world.deliveries(slow)
        }
        assert hanging.arrived == 2
        hanging.let_go()


async def test_handle_returns_after_the_hand_off_time_and_the_result_is_recorded_later(home: Path) -> None:
    async with opened(WebhookWorld(home, handoff_seconds=0.05)) as world:
        webhook = await world.webhook("BookingConfirmed")
        hanging = Hanging()
        world.receivers.script(hanging)
        loop = asyncio.get_running_loop()
        before = loop.time()
        await world.engine.handle(fanned_out(world, 1))
        assert loop.time() - before < 5
        assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [
            DeliveryStatus.Sending
        ]
        hanging.let_go()
        await world.engine.drain()
        assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [
            DeliveryStatus.Delivered
        ]


async def test_draining_waits_for_every_post_that_was_handed_off(home: Path) -> None:
    async with opened(WebhookWorld(home, handoff_seconds=0.2)) as world:
        webhook = await world.webhook("BookingConfirmed")
        hanging = Hanging()
        world.receivers.otherwise = hanging
        await world.engine.handle(fanned_out(world, 5))
        draining = asyncio.create_task(world.engine.drain())
        await hanging.reached_by(5)
        assert not draining.done()
        hanging.let_go()
        await draining
        assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [
            DeliveryStatus.Delivered
        ] * 5


async def test_a_tenant_has_no_more_posts_in_flight_than_are_free_over_all_its_endpoints(home: Path) -> None:
    async with opened(WebhookWorld(home, concurrency=8, handoff_seconds=0.2)) as world:
        for name in ("a", "b", "c"):
            await world.webhook("BookingConfirmed", url=f"https://{name}.example/")
        hanging = Hanging()
        world.receivers.otherwise = hanging
        await world.engine.handle(fanned_out(world, 3))
        await hanging.reached_by(4)
        assert hanging.arrived == 4
        hanging.let_go()
        await world.run_until(START + timedelta(minutes=1))
        assert len(world.receivers.posts) == 9


async def test_a_message_larger_than_the_bound_goes_alone_rather_than_never(home: Path) -> None:
    async with opened(WebhookWorld(home)) as world:
        webhook = await world.webhook("BookingConfirmed")
        [message] = fanned_out(world, 1)
        huge = DeliveryMessage(message.webhook_id, message.delivery_ids, 1024 * MIB)
        await world.engine.handle([huge])
        assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [
            DeliveryStatus.Delivered
        ]


async def test_room_is_given_back_when_the_claim_fails(home: Path) -> None:
    async with opened(WebhookWorld(home, per_endpoint=1)) as world:
        webhook = await world.webhook("BookingConfirmed")
        batch = fanned_out(world, 1)
        claiming = world.engine._claim

        def refuse(*arguments: object) -> None:
            raise Unavailable("The database does not answer.")

        world.engine._claim = refuse  # type: ignore[method-assign,assignment]
        for _ in range(3):
            with pytest.raises(Unavailable):
                await world.engine.handle(batch)
        world.engine._claim = claiming  # type: ignore[method-assign]
        await world.engine.handle(batch)
        assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [
            DeliveryStatus.Delivered
        ]


async def test_room_is_given_back_when_the_pace_cannot_be_asked(home: Path) -> None:
    async with opened(WebhookWorld(home, per_endpoint=1)) as world:
        plain = await world.webhook("BookingConfirmed", url="https://plain.example/")
        paced = await world.webhook("BookingConfirmed", url="https://paced.example/", rateLimitPerSecond=10)
        batch = sorted(
            fanned_out(world, 1), key=lambda message: message.webhook_id != plain.webhook.webhook_id
        )
        booking = world.engine._pacer.book

        def refuse(*arguments: object) -> None:
            raise Unavailable("The table store does not answer.")

        world.engine._pacer.book = refuse  # type: ignore[method-assign,assignment]
        for _ in range(3):
            with pytest.raises(Unavailable):
                await world.engine.handle(batch)
        world.engine._pacer.book = booking  # type: ignore[method-assign]
        await world.engine.handle(batch)
        for webhook in (plain, paced):
            assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [
                DeliveryStatus.Delivered
            ]


async def test_a_rate_limited_endpoint_gets_a_burst_and_then_its_rate(home: Path) -> None:
    async with opened(WebhookWorld(home)) as world:
        webhook = await world.webhook("BookingConfirmed", rateLimitPerSecond=10)
        world.queue._messages.clear()
        for message in fanned_out(world, 45):
            world.queue.send(WEBHOOK_DELIVERIES_QUEUE, [message.to_queue()])
        await world.run_until(START + timedelta(seconds=30))
        moments = [moment for moment, _ in world.receivers.posts]
        assert len(moments) == 45
        for start in moments:
            assert sum(start <= moment < start + timedelta(seconds=1) for moment in moments) <= 20
        assert max(moments) - START == pytest.approx(timedelta(seconds=3.5), abs=timedelta(seconds=0.1))
        assert {delivery.delivery_status for delivery in world.deliveries(webhook)} == {
            DeliveryStatus.Delivered
        }


async def test_what_missed_its_moment_for_lack_of_room_is_paced_again(home: Path) -> None:
    async with opened(WebhookWorld(home, per_endpoint=2, handoff_seconds=0.02, linger=0.1)) as world:
        await world.webhook("BookingConfirmed", rateLimitPerSecond=5)
        hanging = Hanging()
        world.receivers.otherwise = hanging
        for message in fanned_out(world, 30):
            world.queue.send(WEBHOOK_DELIVERIES_QUEUE, [message.to_queue()])
        await world.run_until(START + timedelta(seconds=20))
        await hanging.reached_by(2)
        assert hanging.arrived == 2
        world.receivers.otherwise = lambda request: answer(200)
        hanging.let_go()
        world.linger = 10.0  # nothing hangs any more: it is waited for until it is through
        await world.engine.drain()
        await world.run_until(START + timedelta(minutes=5))
        moments = [moment for moment, _ in world.receivers.posts]
        assert len(moments) == 30
        for start in moments:
            assert sum(start <= moment < start + timedelta(seconds=1) for moment in moments) <= 10
