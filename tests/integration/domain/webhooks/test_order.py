"""Deliveries of one subject that go one after another (`ordering: perSubject`, docs/delivery.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from domain.core.errors import Conflict, Unavailable
from domain.core.ports import OutboundError
from domain.journal.events import RaiseEvent
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE
from domain.privacy.erasing import ErasureService
from domain.privacy.model import EraseSubject
from domain.webhooks import fan_out
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import DeliveryStatus, Replay, TestWebhook, UpdateWebhook, WebhookState
from domain.webhooks.service import WebhookWithSecret
from tests.worlds.builders import START, Hanging, answer
from tests.worlds.webhook_world import WebhookWorld

DELIVERED, PENDING, RETRYING = DeliveryStatus.Delivered, DeliveryStatus.Pending, DeliveryStatus.Retrying
MIB = 1024 * 1024


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


def raise_numbered(world: WebhookWorld, *numbers: int, subject: str | None = "order/1") -> None:
    """Raise events one request after another, which tell their number."""
    for number in numbers:
        world.raise_event(subject=subject, data={"n": number})


def arrived(world: WebhookWorld) -> list[int]:
    return [json.loads(request.body)["data"]["n"] for _, request in world.receivers.posts]


def states(world: WebhookWorld, webhook: WebhookWithSecret) -> list[DeliveryStatus]:
    return [delivery.delivery_status for delivery in world.deliveries(webhook)]


async def change(world: WebhookWorld, webhook: WebhookWithSecret, **fields: Any) -> None:
    await world.service.update(world.principal, webhook.webhook.webhook_id, UpdateWebhook(**fields), None)


async def test_a_failing_delivery_holds_those_behind_it_and_nobody_else(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500), answer(200), answer(200), answer(503), answer(200))
    raise_numbered(world, 1)
    raise_numbered(world, 10, subject="order/2")
    raise_numbered(world, 20, subject=None)
    raise_numbered(world, 2, 3)
    raise_numbered(world, 21, subject=None)
    await world.settle()
    assert sorted(arrived(world)) == [1, 10, 20, 21]
    assert states(world, webhook) == [RETRYING, DELIVERED, DELIVERED, PENDING, PENDING, RETRYING]
    await world.run_until(START + timedelta(minutes=5))
    assert arrived(world)[4:] in ([1, 21, 2, 3], [21, 1, 2, 3])
    assert set(states(world, webhook)) == {DELIVERED}


async def test_one_that_waits_takes_no_attempt_no_message_and_names_whom_it_waits_for(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.otherwise = lambda request: answer(500)
    raise_numbered(world, 1, 2, 3)
    await world.settle()
    first, *behind = world.deliveries(webhook)
    assert first.waits_for is None
    ids = {delivery.webhook_delivery_id for delivery in behind}
    for delivery in behind:
        assert (delivery.attempt_count, delivery.is_held) == (0, False)
        assert delivery.waits_for == first.webhook_delivery_id
    # Not even a message that comes all the same, or the sweeps of hours, take it up.
    stray = DeliveryMessage(webhook.webhook.webhook_id, sorted(ids))
    await world.engine.handle([stray])
    for _ in range(10):
        world.clock.advance(seconds=5)
        assert world.retries.sweep().requeued == 0
    queued = [message.body for queue, message in world.queue.sent if queue == WEBHOOK_DELIVERIES_QUEUE]
    assert not [body for body in queued if any(str(delivery_id) in body for delivery_id in ids)]
    assert {delivery.attempt_count for delivery in world.deliveries(webhook)[1:]} == {0}


@pytest.mark.parametrize("outcome", ["refused", "retries used up", "expired", "unreachable"])
async def test_the_next_goes_when_the_first_has_ended_badly(world: WebhookWorld, outcome: str) -> None:
    retries = {"expired": 10, "retries used up": 2}.get(outcome, 0)
    policy = {"jitter": False, "maxRetries": retries, "initialDelaySeconds": 3600, "backoffMultiplier": 10}
    webhook = await world.webhook(ordering="perSubject", retryPolicy=policy)
    bad = OutboundError("connect", "Refused.") if outcome == "unreachable" else answer(500)
    first_is_told = answer(404) if outcome == "refused" else bad
    world.receivers.otherwise = lambda request: first_is_told if b'"n":1' in request.body else answer(200)
    raise_numbered(world, 1)
    await world.settle()
    world.clock.advance(hours=20 if outcome == "expired" else 0)
    raise_numbered(world, 2)
    await world.run_until(START + timedelta(hours=23))
    world.clock.move_to(START + timedelta(hours=24))
    await world.sweep()
    first, second = world.deliveries(webhook)
    assert first.delivery_status == (
        DeliveryStatus.Expired if outcome == "expired" else DeliveryStatus.Failed
    )
    assert second.delivery_status == DELIVERED
    assert arrived(world)[-1] == 2


async def test_the_order_is_that_of_acceptance_whatever_the_order_of_the_announcements(
    world: WebhookWorld,
) -> None:
    await world.webhook(ordering="perSubject")
    raise_numbered(world, *range(5))
    announced = world.queue.take(DOMAIN_EVENTS_QUEUE)
    assert len(announced) == 5
    for message in reversed(announced):
        world.fan_out.handle([(message.body, "m")])
    await world.settle()
    assert arrived(world) == [0, 1, 2, 3, 4]


async def test_what_was_accepted_before_is_fanned_out_first_though_its_announcement_was_lost(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of it than a transaction takes, and of other subjects nothing."""
    monkeypatch.setattr(fan_out, "BYTES_PER_TRANSACTION", 3 * MIB)
    monkeypatch.setattr(fan_out, "EVENTS_PER_LOOK", 1)
    await world.webhook(ordering="perSubject")
    world.queue.losing = True
    for number in range(7):
        world.raise_event(subject="order/1", data={"n": number, "x": "a" * (MIB - 100)})
    raise_numbered(world, 100, subject="order/2")
    world.queue.losing = False
    raise_numbered(world, 7)
    await world.settle()
    assert arrived(world) == [0, 1, 2, 3, 4, 5, 6, 7]
    world.clock.advance(minutes=1)
    await world.sweep()
    assert arrived(world)[8:] == [100]


async def test_a_batch_is_delivered_in_the_order_of_its_body(world: WebhookWorld) -> None:
    await world.webhook(ordering="perSubject")
    bodies = [
        {"type": f"Step{n % 3}", "subject": f"order/{n % 2}", "data": {"n": n}, "id": f"id-{99 - n}"}
        for n in range(20)
    ]
    events = [RaiseEvent.model_validate_json(json.dumps(body)) for body in bodies]
    world.events.accept(world.principal, events)
    await world.settle()
    numbers = arrived(world)
    assert [n for n in numbers if n % 2] == list(range(1, 20, 2))
    assert [n for n in numbers if not n % 2] == list(range(0, 20, 2))


async def test_each_webhook_has_an_order_of_its_own(world: WebhookWorld) -> None:
    slow, quick = "https://slow.example/", "https://quick.example/"
    await world.webhook(url=slow, ordering="perSubject")
    await world.webhook(url=quick, ordering="perSubject")
    plain = "https://plain.example/"
    await world.webhook(url=plain)
    world.receivers.script(answer(500), url=slow)
    raise_numbered(world, 1, 2)
    await world.settle()
    posts = [len(world.receivers.posts_to(url)) for url in (slow, quick, plain)]
    assert posts == [1, 2, 2]


async def test_subjects_that_differ_in_case_have_lines_of_their_own(world: WebhookWorld) -> None:
    await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500))
    raise_numbered(world, 1, subject="Order/1")
    raise_numbered(world, 2, subject="order/1")
    await world.settle()
    assert sorted(arrived(world)) == [1, 2]


async def test_the_turn_is_given_with_the_result_and_found_though_its_message_is_lost(
    world: WebhookWorld,
) -> None:
    """A process that ends between the commit and the message leaves the same."""
    webhook = await world.webhook(ordering="perSubject")
    raise_numbered(world, 1, 2)
    world.fan_out.handle([(message.body, "m") for message in world.queue.take(DOMAIN_EVENTS_QUEUE)])
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    world.queue.down = True
    await world.engine.handle(batch)
    world.queue.down = False
    await world.settle()
    assert (arrived(world), states(world, webhook)) == ([1], [DELIVERED, PENDING])
    world.clock.advance(minutes=2)
    await world.sweep()
    assert arrived(world) == [1, 2]


async def test_one_whose_lease_lapsed_is_made_again_before_the_next_goes(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    hanging = Hanging()
    world.receivers.script(hanging)
    raise_numbered(world, 1, 2)
    world.fan_out.handle([(message.body, "m") for message in world.queue.take(DOMAIN_EVENTS_QUEUE)])
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    first = asyncio.create_task(world.engine.handle(batch))
    await hanging.reached_by(1)
    world.clock.advance(seconds=61)
    await world.sweep()
    assert arrived(world) == [1, 1, 2]
    hanging.let_go()
    await first
    await world.engine.drain()
    assert states(world, webhook) == [DELIVERED, DELIVERED]


async def test_what_a_paused_webhook_holds_goes_in_order_when_it_is_activated(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500), answer(200))
    raise_numbered(world, 1, 2)
    raise_numbered(world, 10, subject="order/2")
    await world.settle()
    await change(world, webhook, is_active=False)
    raise_numbered(world, 3)
    raise_numbered(world, 11, subject="order/2")
    await world.run_until(START + timedelta(minutes=2))
    held = {delivery.event_id: delivery.is_held for delivery in world.deliveries(webhook)}
    assert list(held.values()) == [True, True, False, True, True], "all but the one that was delivered"
    changed = await world.service.update(
        world.principal, webhook.webhook.webhook_id, UpdateWebhook(is_active=True), None
    )
    assert changed.released is not None
    assert changed.released.sent == 4
    await world.settle()
    numbers = arrived(world)[2:]
    assert [n for n in numbers if n < 10] == [1, 2, 3]
    assert [n for n in numbers if n >= 10] == [11]


async def test_one_answered_410_ends_and_those_behind_it_are_held(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed", ordering="perSubject")
    world.receivers.script(answer(410))
    raise_numbered(world, 1, 2, 3)
    await world.settle()
    assert world.webhook_now(webhook).state == WebhookState.Disabled
    assert [delivery.is_held for delivery in world.deliveries(webhook)] == [False, True, True]
    await change(world, webhook, is_active=True)
    await world.settle()
    assert arrived(world) == [1, 2, 3]


async def test_what_waits_expires_in_its_own_time_and_says_why(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500))
    raise_numbered(world, 1, 2)
    await world.settle()
    world.clock.advance(hours=10)
    raise_numbered(world, 3)
    world.fan_out.handle([(message.body, "m") for message in world.queue.take(DOMAIN_EVENTS_QUEUE)])
    world.clock.move_to(START + timedelta(hours=24))
    assert world.retries.sweep().expired == 2
    first, second, third = world.deliveries(webhook)
    assert first.error_message == "Not delivered within its time; expired."
    assert second.delivery_status == DeliveryStatus.Expired
    assert (second.waits_for, third.waits_for) == (None, None)
    why = "Its turn did not come within its time, for those before it in line; expired."
    assert second.error_message == why
    await world.settle()
    assert arrived(world) == [1, 3]


async def test_an_expired_one_that_no_sweep_has_seen_yet_is_passed_over(world: WebhookWorld) -> None:
    await world.webhook(ordering="perSubject")
    hanging = Hanging()
    world.receivers.script(hanging)
    raise_numbered(world, 1, 2)
    sending = asyncio.create_task(world.settle())
    await hanging.reached_by(1)
    world.clock.advance(hours=23)
    raise_numbered(world, 3)
    await world.settle()
    world.clock.move_to(START + timedelta(hours=24))
    hanging.let_go()
    await sending
    await world.engine.drain()
    await world.settle()
    assert arrived(world) == [1, 3]


async def test_a_replay_goes_in_the_order_of_acceptance_and_one_after_another(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(*[answer(400)] * 3)
    raise_numbered(world, 1, 2, 3)
    await world.settle()
    assert states(world, webhook) == [DeliveryStatus.Failed] * 3
    world.receivers.script(answer(200), answer(500))
    world.clock.advance(minutes=1)
    replayed = world.history.replay(world.principal, webhook.webhook.webhook_id, Replay(since=START))
    assert replayed.replayed == 3
    raise_numbered(world, 4)
    await world.settle()
    assert arrived(world)[3:] == [1, 2]
    await world.run_until(START + timedelta(minutes=5))
    assert arrived(world)[3:] == [1, 2, 2, 3, 4]


async def test_a_retry_by_hand_waits_for_the_one_whose_turn_it_is(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    webhook_id = webhook.webhook.webhook_id
    world.receivers.script(answer(400), answer(500))
    raise_numbered(world, 1, 2, 3)
    await world.settle()
    first, second, third = world.deliveries(webhook)
    again = world.history.retry(world.principal, webhook_id, first.webhook_delivery_id)
    assert again.waits_for == second.webhook_delivery_id
    with pytest.raises(Conflict, match=f"delivery {second.webhook_delivery_id} of the same subject"):
        world.history.retry(world.principal, webhook_id, third.webhook_delivery_id)
    # The one that has the turn is brought forward and keeps its place behind the first.
    world.history.retry(world.principal, webhook_id, second.webhook_delivery_id)
    await world.settle()
    assert arrived(world) == [1, 2, 1, 2, 3]


async def test_an_order_that_is_switched_on_takes_in_what_has_not_ended(world: WebhookWorld) -> None:
    webhook = await world.webhook(retryPolicy={"jitter": False})
    world.receivers.script(answer(500), answer(500), answer(500))
    raise_numbered(world, 1)
    await world.settle()
    world.clock.advance(seconds=5)
    raise_numbered(world, 2, 3)
    await world.settle()
    assert states(world, webhook) == [RETRYING] * 3
    await change(world, webhook, ordering="perSubject")
    raise_numbered(world, 4)
    world.receivers.script(answer(500))
    await world.run_until(START + timedelta(seconds=100))
    assert arrived(world)[3:] == [1], "the first failed again, and the others wait though they are due"
    await world.run_until(START + timedelta(minutes=10))
    await world.sweep()
    assert arrived(world)[4:] == [1, 2, 3, 4]


async def test_what_is_being_sent_when_an_order_is_switched_on_is_waited_for(world: WebhookWorld) -> None:
    webhook = await world.webhook()
    hanging = Hanging()
    world.receivers.script(hanging, hanging)
    raise_numbered(world, 1, 2)
    sending = asyncio.create_task(world.settle())
    await hanging.reached_by(2)
    await change(world, webhook, ordering="perSubject")
    raise_numbered(world, 3)
    await world.settle()
    assert sorted(arrived(world)) == [1, 2]
    hanging.let_go()
    await sending
    await world.engine.drain()
    await world.settle()
    assert arrived(world)[2:] == [3]
    assert set(states(world, webhook)) == {DELIVERED}


async def test_an_order_that_is_switched_off_lets_go_what_waited(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500))
    raise_numbered(world, 1, 2, 3)
    await world.settle()
    await change(world, webhook, ordering="none")
    await world.settle()
    assert sorted(arrived(world)) == [1, 2, 3]
    assert {delivery.waits_for for delivery in world.deliveries(webhook)} == {None}
    await world.run_until(START + timedelta(minutes=2))
    assert set(states(world, webhook)) == {DELIVERED}
    # Off and on again, nothing is left of the old line.
    await change(world, webhook, ordering="perSubject")
    raise_numbered(world, 4, 5)
    await world.settle()
    assert arrived(world)[4:] == [4, 5]


async def test_a_deleted_webhook_takes_its_lines_with_it(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500))
    raise_numbered(world, 1, 2)
    await world.settle()
    world.service.delete(world.principal, webhook.webhook.webhook_id, None)
    await world.run_until(START + timedelta(minutes=5))
    assert arrived(world) == [1]


async def test_a_rate_limit_and_a_retry_after_keep_the_order(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject", rateLimitPerSecond=2)
    world.receivers.script(answer(200), answer(429, retry_after="300"))
    raise_numbered(world, *range(8))
    await world.run_until(START + timedelta(seconds=290))
    assert arrived(world) == [0, 1]
    await world.run_until(START + timedelta(seconds=330))
    assert arrived(world) == [0, 1, *range(1, 8)]
    assert set(states(world, webhook)) == {DELIVERED}


async def test_a_person_erased_from_a_subject_keeps_the_place_in_line_and_leaves_no_trace_at_its_end(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500))
    raise_numbered(world, 1, 2, 3, subject="guest/jane@example.com")
    await world.settle()
    world.hub.use(ErasureService).request(world.principal, EraseSubject(identifiers=["jane@example.com"]))
    world.clock.advance(seconds=61)
    world.hub.use(ErasureService).erase_requested()
    await world.run_until(START + timedelta(minutes=5))
    await world.sweep()
    assert arrived(world) == [1, 1, 2, 3]
    assert b"jane" not in world.receivers.posts[-1][1].body
    assert set(states(world, webhook)) == {DELIVERED}
    with world.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT DISTINCT Line, LinePlace FROM WebhookDeliveries").all()
    assert [tuple(row) for row in kept] == [(None, None)]


async def test_a_test_is_sent_at_once_whatever_waits(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    webhook_id = webhook.webhook.webhook_id
    world.receivers.script(answer(500))
    raise_numbered(world, 1, 2, subject=f"webhook/{webhook_id}")
    await world.settle()
    sent = await world.history.test(world.principal, webhook_id, TestWebhook())
    assert (sent.delivery_status, sent.waits_for) == (DELIVERED, None)


async def test_a_line_in_which_nobody_has_the_turn_goes_on_with_the_next_sweep(world: WebhookWorld) -> None:
    """A process of an earlier version knows no lines and passes no turn."""
    webhook = await world.webhook(ordering="perSubject")
    world.receivers.script(answer(500))
    raise_numbered(world, 1, 2, 3)
    await world.settle()
    with world.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE WebhookDeliveries SET DeliveryStatus = 3, RequeueAt = NULL, NextRetryAt = NULL"
            " WHERE DeliveryStatus = 4"
        )
        connection.commit()
    await world.settle()
    assert arrived(world) == [1]
    await world.sweep()
    assert arrived(world) == [1, 2, 3]
    assert states(world, webhook) == [DeliveryStatus.Failed, DELIVERED, DELIVERED]


async def test_an_outage_of_the_database_between_two_of_a_line_changes_nothing(world: WebhookWorld) -> None:
    webhook = await world.webhook(ordering="perSubject")
    raise_numbered(world, 1, 2)
    world.fan_out.handle([(message.body, "m") for message in world.queue.take(DOMAIN_EVENTS_QUEUE)])
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    await world.engine.handle(batch)
    batch = [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    world.database.down = True
    with pytest.raises(Unavailable):
        await world.engine.handle(batch)
    world.database.down = False
    await world.engine.handle(batch)
    assert arrived(world) == [1, 2]
    assert states(world, webhook) == [DELIVERED, DELIVERED]


async def _at_random(world: WebhookWorld, webhook: WebhookWithSecret, random: Random) -> Sequence[str]:
    """Raise 40 events of four subjects among failures, pauses, lost messages and sweeps; return their ids."""
    raised: list[str] = []
    world.receivers.otherwise = lambda request: answer(random.choices((200, 500), (8, 2))[0])
    while len(raised) < 40:
        world.queue.losing = random.random() < 0.2
        for _ in range(random.randint(1, 6)):
            raised.append(world.raise_event(subject=f"order/{random.randint(1, 4)}"))
        announced = world.queue.take(DOMAIN_EVENTS_QUEUE)
        random.shuffle(announced)
        for message in announced:
            world.fan_out.handle([(message.body, "m")])
        deliveries = world.queue.take(WEBHOOK_DELIVERIES_QUEUE)
        random.shuffle(deliveries)
        await world.engine.handle([DeliveryMessage.of_queue(message.body) for message in deliveries])
        world.queue.losing = False
        step = random.random()
        if step < 0.15:
            await change(world, webhook, is_active=world.webhook_now(webhook).state != WebhookState.Active)
        elif step < 0.5:
            world.clock.advance(seconds=random.randint(1, 90))
            await world.sweep()
        elif step < 0.6:
            await world.settle()
    await change(world, webhook, is_active=True)
    return raised


@pytest.mark.parametrize("seed", range(2))
async def test_first_successes_are_in_the_order_of_acceptance_whatever_happens_between(
    world: WebhookWorld, seed: int
) -> None:
    policy = {"jitter": False, "maxRetries": 10, "initialDelaySeconds": 20, "backoffMultiplier": 1}
    webhook = await world.webhook(ordering="perSubject", retryPolicy=policy)
    raised = await _at_random(world, webhook, Random(seed))
    for _ in range(400):
        world.clock.advance(seconds=60)
        await world.sweep()
        if set(states(world, webhook)) <= {DELIVERED, DeliveryStatus.Failed}:
            break
    assert sorted(delivery.event_id for delivery in world.deliveries(webhook)) == sorted(raised)
    lines: dict[str, list[int]] = {}
    for _, request in world.receivers.posts:
        sent = json.loads(request.body)
        lines.setdefault(sent["subject"], []).append(raised.index(sent["id"]))
    assert len(lines) == 4
    for numbers in lines.values():
        assert numbers == sorted(numbers), "nobody is overtaken, not even by a first try"
