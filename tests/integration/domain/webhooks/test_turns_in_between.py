"""A delivery that comes at the very moment at which the turns before it end is delivered like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from domain.journal.outbox import DOMAIN_EVENTS_QUEUE
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from tests.worlds.webhook_world import WebhookWorld

URL = "https://well.example/"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebhookWorld]:
    world = WebhookWorld(tmp_path)
    yield world
    world.close()


def message(world: WebhookWorld) -> DeliveryMessage:
    """A new delivery, as its queue tells of it."""
    world.raise_event("Healthy")
    announced = world.queue.take(DOMAIN_EVENTS_QUEUE)
    world.fan_out.handle([(each.body, each.message_id or "m") for each in announced])
    [delivery] = world.queue.take(WEBHOOK_DELIVERIES_QUEUE)
    return DeliveryMessage.of_queue(delivery.body)


async def test_a_delivery_that_comes_as_the_turns_end_needs_no_further_one_to_be_made(
    world: WebhookWorld,
) -> None:
    """Between the end of a task and what notes it, other work of the event loop runs."""
    engine, loop = world.engine, asyncio.get_running_loop()
    await world.webhook("Healthy", url=URL)
    await engine.handle(
        [message(world)]
    )  # from here on the endpoint is known, and nothing waits for a thread
    for rounds in range(6):  # of the event loop, between the end of the attempt and the next delivery
        first, second = message(world), message(world)
        late: list[asyncio.Task[None]] = []

        async def wait_and_come(rounds: int = rounds, then: DeliveryMessage = second) -> None:
            for _ in range(rounds):
                await asyncio.sleep(0)
            await engine.handle([then])

        def come(_: object, late: list[asyncio.Task[None]] = late, then: Any = wait_and_come) -> None:
            if not late:
                late.append(loop.create_task(then()))

        known = asyncio.all_tasks()
        handling = asyncio.create_task(engine.handle([first]))
        while not handling.done():
            fresh = asyncio.all_tasks() - known - {handling, *late}
            for task in fresh:
                if "attempt" in repr(task.get_coro()):  # for its end the turns wait
                    task.add_done_callback(come)
            known |= fresh
            await asyncio.sleep(0)
        assert late
        await asyncio.gather(handling, *late)
        await engine.drain()
        assert len(world.receivers.posts_to(URL)) == 1 + 2 * (rounds + 1)
