"""Looking at deliveries, retrying one, replaying a range, sending a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.core.errors import Conflict, Forbidden, NotFound, TooLarge, ValidationFailed
from domain.core.paging import PageRequest
from domain.core.ports import OutboundError
from domain.core.principal import Principal
from domain.webhooks.model import DeliveryStatus, Replay, TestWebhook, UpdateWebhook, WebhookState
from domain.webhooks.ports import DeliveryFilter
from domain.webhooks.service import WebhookWithSecret
from tests.worlds.builders import START, answer
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


async def failed(world: WebhookWorld, count: int = 1) -> WebhookWithSecret:
    """A webhook whose first deliveries failed for good, one a minute."""
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(*[answer(400)] * count)
    for _ in range(count):
        world.raise_event()
        await world.settle()
        world.clock.advance(minutes=1)
    return webhook


def only_delivery(world: WebhookWorld, webhook: WebhookWithSecret) -> UUID:
    [delivery] = world.deliveries(webhook)
    return delivery.webhook_delivery_id


async def test_a_failed_delivery_can_be_retried_with_a_fresh_budget(world: WebhookWorld) -> None:
    webhook = await failed(world)
    delivery_id = only_delivery(world, webhook)
    queued = world.history.retry(world.principal, webhook.webhook.webhook_id, delivery_id)
    assert queued.delivery_status == DeliveryStatus.Pending
    world.receivers.script(answer(500), answer(500))
    await world.run_until(START + timedelta(hours=1))
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Delivered
    assert [attempt.http_status_code for attempt in delivery.attempts] == [400, 500, 500, 200]


async def test_a_waiting_retry_can_be_brought_forward_and_its_old_message_changes_nothing(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(500))
    world.raise_event()
    await world.settle()
    world.history.retry(world.principal, webhook.webhook.webhook_id, only_delivery(world, webhook))
    await world.run_until(START + timedelta(hours=1))
    assert len(world.receivers.posts) == 2


async def test_a_delivered_delivery_cannot_be_retried(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.raise_event()
    await world.settle()
    with pytest.raises(Conflict) as refused:
        world.history.retry(world.principal, webhook.webhook.webhook_id, only_delivery(world, webhook))
    assert refused.value.code == "not-retryable"


async def test_nothing_is_retried_or_replayed_while_the_webhook_is_not_active(world: WebhookWorld) -> None:
    webhook = await failed(world)
    webhook_id = webhook.webhook.webhook_id
    await world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=False), None)
    with pytest.raises(Conflict) as refused:
        world.history.retry(world.principal, webhook_id, only_delivery(world, webhook))
    assert refused.value.code == "webhook-not-active"
    with pytest.raises(Conflict):
        world.history.replay(world.principal, webhook_id, Replay(since=START))


async def test_a_retry_asked_for_while_the_queue_is_down_is_made_by_the_retry_processor(
    world: WebhookWorld,
) -> None:
    webhook = await failed(world)
    world.queue.down = True
    world.history.retry(world.principal, webhook.webhook.webhook_id, only_delivery(world, webhook))
    world.queue.down = False
    # As long as a message is on its way as a rule: the queue cannot tell that it never came.
    world.clock.advance(seconds=119)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Pending]
    world.clock.advance(seconds=1)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


async def test_a_replay_sends_what_ended_in_the_range_and_nothing_else(world: WebhookWorld) -> None:
    webhook = await failed(world, 4)
    chosen = Replay(since=START + timedelta(minutes=1), until=START + timedelta(minutes=3))
    replayed = world.history.replay(world.principal, webhook.webhook.webhook_id, chosen)
    assert (replayed.replayed, replayed.more) == (2, False)
    await world.settle()
    states = [delivery.delivery_status for delivery in world.deliveries(webhook)]
    assert states == [
        DeliveryStatus.Failed,
        DeliveryStatus.Delivered,
        DeliveryStatus.Delivered,
        DeliveryStatus.Failed,
    ]


async def test_a_replay_can_send_delivered_ones_again_under_the_same_id(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    event_id = world.raise_event()
    await world.settle()
    world.clock.advance(seconds=1)
    webhook_id = webhook.webhook.webhook_id
    assert world.history.replay(world.principal, webhook_id, Replay(since=START)).replayed == 0
    replayed = world.history.replay(world.principal, webhook_id, Replay(since=START, status=["Delivered"]))
    assert replayed.replayed == 1
    await world.settle()
    assert [post.headers["webhook-id"] for post in world.receivers.posts_to()] == [event_id, event_id]


async def test_a_replay_can_be_narrowed_to_types(world: WebhookWorld) -> None:
    webhook = await failed(world)
    replayed = world.history.replay(
        world.principal, webhook.webhook.webhook_id, Replay(since=START, event_types=["Other"])
    )
    assert replayed.replayed == 0


async def test_a_range_that_ends_before_it_begins_is_refused(world: WebhookWorld) -> None:
    webhook = await failed(world)
    with pytest.raises(ValidationFailed):
        world.history.replay(world.principal, webhook.webhook.webhook_id, Replay(since=START, until=START))


async def test_an_expired_delivery_can_be_replayed_and_has_24_hours_again__BR_WH_05(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    await world.service.update(
        world.principal, webhook.webhook.webhook_id, UpdateWebhook(is_active=False), None
    )
    world.raise_event()
    await world.settle()
    world.clock.advance(hours=25)
    world.retries.sweep()
    await world.service.update(
        world.principal, webhook.webhook.webhook_id, UpdateWebhook(is_active=True), None
    )
    assert (
        world.history.replay(world.principal, webhook.webhook.webhook_id, Replay(since=START)).replayed == 1
    )
    await world.settle()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


async def test_a_test_event_is_posted_at_once_and_answers_with_what_the_receiver_said(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(202, b"thanks"))
    delivery = await world.history.test(
        world.principal, webhook.webhook.webhook_id, TestWebhook(data={"n": 1})
    )
    assert (delivery.delivery_status, delivery.http_status_code) == (DeliveryStatus.Delivered, 202)
    assert (delivery.response_body, delivery.event_type) == ("thanks", "webhook.test")
    [post] = world.receivers.posts_to()
    assert json.loads(post.body)["data"] == {"n": 1}


@pytest.mark.parametrize(
    "reply", [answer(500), OutboundError("timeout", "No answer.")], ids=["500", "timeout"]
)
async def test_a_test_that_fails_is_recorded_and_never_retried(world: WebhookWorld, reply: object) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(reply)  # type: ignore[arg-type]
    delivery = await world.history.test(world.principal, webhook.webhook.webhook_id, TestWebhook())
    assert delivery.delivery_status == DeliveryStatus.Failed
    await world.run_until(START + timedelta(hours=2))
    await world.sweep()
    assert len(world.receivers.posts) == 1


async def test_a_webhook_can_be_tested_before_it_is_verified(world: WebhookWorld) -> None:
    world.receivers.verification = lambda request: answer(500)
    webhook = await world.webhook("*")
    delivery = await world.history.test(world.principal, webhook.webhook.webhook_id, TestWebhook())
    assert delivery.delivery_status == DeliveryStatus.Delivered
    assert world.webhook_now(webhook).state == WebhookState.PendingVerification


async def test_a_test_payload_that_json_cannot_carry_is_refused(world: WebhookWorld) -> None:
    for data in ("NaN", '"\\ud800"', '{"a":1,"a":2}'):
        with pytest.raises(ValidationFailed):
            TestWebhook.of_json(f'{{"data":{{"x":{data}}}}}'.encode())


async def test_the_payload_of_a_test_is_posted_as_it_came(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    text = '{ "price": 10.10, "n":[-0,1E2, 0.123456789012345678] }'
    command = TestWebhook.of_json(f'{{"data":{text}}}'.encode())
    delivery = await world.history.test(world.principal, webhook.webhook.webhook_id, command)
    assert delivery.payload == text
    [post] = world.receivers.posts_to()
    assert post.body.endswith(f',"data":{text}}}'.encode())


async def test_a_test_payload_is_no_larger_than_an_event_may_be__BR_WH_08(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    most = {"x": "a" * (1024 * 1024 - len('{"x":""}'))}
    delivery = await world.history.test(world.principal, webhook.webhook.webhook_id, TestWebhook(data=most))
    assert delivery.delivery_status == DeliveryStatus.Delivered
    with pytest.raises(TooLarge) as refusal:
        more: dict[str, object] = {"x": most["x"] + "a"}
        await world.history.test(world.principal, webhook.webhook.webhook_id, TestWebhook(data=more))
    assert (refusal.value.code, refusal.value.errors[0].pointer) == ("BR-WH-08", "/data")


async def test_deliveries_are_listed_newest_first_and_can_be_narrowed(world: WebhookWorld) -> None:
    webhook = await failed(world, 3)
    world.raise_event()
    await world.settle()

    def listed(page: PageRequest = PageRequest(), **chosen: object) -> list[UUID]:  # noqa: B008 - immutable
        filter_ = replace(DeliveryFilter(), **chosen)  # type: ignore[arg-type]
        found = world.history.page(world.principal, webhook.webhook.webhook_id, filter_, page)
        return [delivery.webhook_delivery_id for delivery in found.items]

    oldest_first = [delivery.webhook_delivery_id for delivery in world.deliveries(webhook)]
    assert listed() == oldest_first[::-1]
    assert listed(PageRequest(2, 3)) == oldest_first[:1]
    assert listed(statuses=[DeliveryStatus.Delivered]) == oldest_first[3:]
    assert listed(since=START + timedelta(minutes=1), until=START + timedelta(minutes=2)) == oldest_first[1:2]


async def test_every_use_needs_the_permission_and_another_tenants_id_is_unknown(world: WebhookWorld) -> None:
    webhook = await failed(world)
    one, delivery = webhook.webhook.webhook_id, only_delivery(world, webhook)

    async def refusals(who: Principal) -> set[type[BaseException]]:
        seen: set[type[BaseException]] = set()
        for use in (
            lambda: world.history.page(who, one, DeliveryFilter(), PageRequest()),
            lambda: world.history.get(who, one, delivery),
            lambda: world.history.retry(who, one, delivery),
            lambda: world.history.replay(who, one, Replay(since=START)),
            lambda: asyncio.run(world.history.test(who, one, TestWebhook())),
        ):
            with pytest.raises((Forbidden, NotFound)) as refused:
                await asyncio.to_thread(use)
            seen.add(refused.type)
        return seen

    assert await refusals(replace(world.principal, permissions=frozenset())) == {Forbidden}
    assert await refusals(world.other) == {NotFound}
    with pytest.raises(NotFound):
        world.history.get(world.principal, one, UUID(int=12345))
