"""What crashes, outages and lost messages leave behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.core.errors import Unavailable
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import AttemptOutcome, DeliveryStatus
from tests.worlds.builders import Hanging, Reply, answer
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


async def test_a_batch_comes_again_when_the_database_is_down_and_nothing_is_posted_twice(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    world.database.down = True
    with pytest.raises(Unavailable):
        await world.engine.handle(batch)
    world.database.down = False
    await world.engine.handle(batch)
    await world.engine.handle(batch)
    assert len(world.receivers.posts) == 1
    assert [delivery.attempt_count for delivery in world.deliveries(webhook)] == [1]


async def test_a_lost_retry_message_is_healed_by_the_retry_processor(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(500))
    world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    world.queue.down = True
    await world.engine.handle(batch)
    world.queue.down = False
    world.clock.advance(minutes=1)
    assert world.retries.sweep().requeued == 0  # the message may still come
    world.clock.advance(minutes=1)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


async def test_a_retry_message_that_comes_too_early_or_twice_changes_nothing(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(500))
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    message = DeliveryMessage(webhook.webhook.webhook_id, [delivery.webhook_delivery_id])
    await world.engine.handle([message])
    assert len(world.receivers.posts) == 1
    world.clock.advance(minutes=1)
    await world.engine.handle([message, message])
    assert len(world.receivers.posts) == 2


async def test_a_lapsed_lease_shows_as_interrupted_and_the_delivery_is_made_again(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    hanging = Hanging(answer(500))
    world.receivers.script(hanging)
    world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    first = asyncio.create_task(world.engine.handle(batch))
    await hanging.reached_by(1)
    assert world.retries.sweep().interrupted == 0
    world.clock.advance(seconds=61)  # 30 s timeout and 30 s margin
    assert world.retries.sweep().interrupted == 1
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Delivered
    assert [attempt.outcome for attempt in delivery.attempts] == [
        AttemptOutcome.Interrupted,
        AttemptOutcome.Delivered,
    ]

    hanging.let_go()  # the first worker comes back with a result nobody waits for
    await first
    await world.engine.drain()
    [after] = world.deliveries(webhook)
    assert after == delivery
    now = world.webhook_now(webhook)
    assert (now.success_count, now.failure_count, now.failing_since) == (1, 0, None)


async def test_a_result_that_cannot_be_recorded_is_made_again_after_its_lease(
    world: WebhookWorld, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.raise_event()
    writing = world.recorder.write

    def refuse(results: object) -> None:
        raise RuntimeError("constraint violated")

    world.recorder.write = refuse  # type: ignore[method-assign]
    await world.settle()
    world.recorder.write = writing  # type: ignore[method-assign]
    assert "results not recorded" in caplog.text
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Sending]
    world.clock.advance(seconds=61)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


async def test_one_result_that_cannot_be_recorded_does_not_cost_the_others(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    ids = [world.raise_event() for _ in range(5)]
    writing = world.recorder.write

    def refuse_one(results: list[object]) -> None:
        if any(result.claimed.event.event_id == ids[2] for result in results):  # type: ignore[attr-defined]
            raise RuntimeError("constraint violated")
        writing(results)  # type: ignore[arg-type]

    world.recorder.write = refuse_one  # type: ignore[method-assign,assignment]
    await world.settle()
    states = {delivery.event_id: delivery.delivery_status for delivery in world.deliveries(webhook)}
    assert states == dict.fromkeys(ids, DeliveryStatus.Delivered) | {ids[2]: DeliveryStatus.Sending}


async def test_results_wait_out_a_short_outage_of_the_database(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")

    def goes_down(request: object) -> Reply:
        world.database.down = True
        asyncio.get_running_loop().call_later(0.03, setattr, world.database, "down", False)
        return answer(200)

    world.receivers.script(goes_down)
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert (delivery.delivery_status, delivery.attempt_count) == (DeliveryStatus.Delivered, 1)
    assert json.loads(delivery.payload or "") == {"booking": 42}
