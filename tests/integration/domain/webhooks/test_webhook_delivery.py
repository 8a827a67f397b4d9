"""The life of a delivery: attempts, retries and results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import standardwebhooks.webhooks

from domain.core.ports import OutboundError, OutboundFailure
from domain.core.shown_address import shown_address
from domain.journal.event_types import FROM_HUB, FROM_PLATFORM, EventOrigin
from domain.journal.events import DomainEvent
from domain.journal.ports import EventRef
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE
from domain.webhooks.model import AttemptOutcome, DeliveryStatus, WebhookState
from domain.webhooks.signing import signature
from tests.worlds.builders import RECEIVER, START, TENANT, Receivers, Reply, answer
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


def minutes_of_posts(receivers: Receivers) -> list[float]:
    return [(moment - START) / timedelta(minutes=1) for moment, _ in receivers.posts]


async def test_four_failures_then_success_is_five_attempts_at_0_1_3_7_and_15_minutes__BR_WH_04_UC_WH_03(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(*[answer(500, b"oops")] * 4)
    event_id = world.raise_event()
    await world.run_until(START + timedelta(hours=1))

    assert minutes_of_posts(world.receivers) == [0, 1, 3, 7, 15]
    [delivery] = world.deliveries(webhook)
    assert (delivery.delivery_status, delivery.attempt_count) == (DeliveryStatus.Delivered, 5)
    assert [attempt.number for attempt in delivery.attempts] == [1, 2, 3, 4, 5]
    assert [attempt.http_status_code for attempt in delivery.attempts] == [500, 500, 500, 500, 200]
    assert [attempt.outcome for attempt in delivery.attempts] == [AttemptOutcome.Failed] * 4 + [
        AttemptOutcome.Delivered
    ]
    assert (delivery.next_retry_at, delivery.event_id) == (None, event_id)
    posts = world.receivers.posts_to()
    assert {post.headers["webhook-id"] for post in posts} == {event_id}
    assert len({post.body for post in posts}) == 1
    assert len({post.headers["webhook-timestamp"] for post in posts}) == 5


async def test_each_attempt_is_signed_anew_over_the_same_bytes__BR_WH_02(world: WebhookWorld) -> None:
    webhook = await world.webhook()
    world.receivers.script(answer(500))
    world.raise_event()
    await world.run_until(START + timedelta(minutes=2))
    for post in world.receivers.posts_to():
        made = signature(
            webhook.secret, post.headers["webhook-id"], int(post.headers["webhook-timestamp"]), post.body
        )
        assert post.headers["webhook-signature"] == made


async def test_a_delivery_fails_for_good_after_its_fifth_retry__BR_WH_03_BR_WH_06(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"maxRetries": 10, "jitter": False})
    world.receivers.otherwise = lambda request: answer(503)
    world.raise_event()
    await world.run_until(START + timedelta(hours=23))
    assert minutes_of_posts(world.receivers) == [0, 1, 3, 7, 15, 31]
    [delivery] = world.deliveries(webhook)
    assert (delivery.delivery_status, delivery.next_retry_at) == (DeliveryStatus.Failed, None)


async def test_a_retry_is_planned_where_people_can_see_it(world: WebhookWorld) -> None:
    webhook = await world.webhook()
    world.receivers.script(answer(500, b"try later"))
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Retrying
    assert delivery.next_retry_at == START + timedelta(minutes=1)
    assert (delivery.http_status_code, delivery.response_body) == (500, "try later")
    assert delivery.error_message == "The receiver answered 500."


async def test_retry_after_is_honoured(world: WebhookWorld) -> None:
    await world.webhook()
    world.receivers.script(
        answer(429, retry_after="600"), answer(503, retry_after="Sun, 01 Mar 2026 10:00:00 GMT")
    )
    world.raise_event()
    await world.run_until(START + timedelta(hours=2))
    assert minutes_of_posts(world.receivers) == [0, 10, 60]


@pytest.mark.parametrize("kind", ["timeout", "connect", "tls", "protocol"])
async def test_no_answer_is_retried_and_the_attempt_says_why(
    world: WebhookWorld, kind: OutboundFailure
) -> None:
    webhook = await world.webhook()
    world.receivers.script(OutboundError(kind, "It did not work.", 30_000))
    world.raise_event()
    await world.run_until(START + timedelta(minutes=2))
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Delivered
    first = delivery.attempts[0]
    assert (first.outcome, first.http_status_code, first.duration_ms) == (AttemptOutcome.Failed, None, 30_000)
    assert first.error_message == f"{kind}: It did not work."


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (answer(400), AttemptOutcome.Failed),
        (answer(404), AttemptOutcome.Failed),
        (answer(302, location="https://elsewhere.example/"), AttemptOutcome.Failed),
        (OutboundError("blocked", "The address is not public."), AttemptOutcome.Refused),
    ],
    ids=["400", "404", "redirect", "blocked"],
)
async def test_what_cannot_succeed_fails_at_once(
    world: WebhookWorld, reply: Reply, outcome: AttemptOutcome
) -> None:
    webhook = await world.webhook()
    world.receivers.script(reply)
    world.raise_event()
    await world.run_until(START + timedelta(hours=1))
    [delivery] = world.deliveries(webhook)
    assert (delivery.delivery_status, delivery.attempt_count) == (DeliveryStatus.Failed, 1)
    assert [attempt.outcome for attempt in delivery.attempts] == [outcome]


async def test_410_disables_the_webhook_with_an_event_and_an_alert(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    listener = await world.webhook("WebhookDisabled", url="https://listener.example/")
    world.receivers.script(answer(410))
    world.raise_event()
    await world.settle()

    now = world.webhook_now(webhook)
    assert (now.state, now.disabled_reason) == (WebhookState.Disabled, "The receiver answered 410 Gone.")
    [event] = world.raised("WebhookDisabled")
    assert event == {
        "webhookId": str(webhook.webhook.webhook_id),
        "url": shown_address(RECEIVER),
        "reason": "The receiver answered 410 Gone.",
        "consecutiveFailures": 1,
        "disabledAt": "2026-03-01T09:00:00.000000Z",
    }
    assert [(alert["kind"], alert["data"]) for alert in world.alerts()] == [("webhook-disabled", event)]
    assert len(world.deliveries(listener)) == 1


async def test_a_delivery_not_made_within_24_hours_expires__BR_WH_05(world: WebhookWorld) -> None:
    policy = {"maxRetries": 5, "initialDelaySeconds": 3600, "backoffMultiplier": 10, "jitter": False}
    webhook = await world.webhook("BookingConfirmed", retryPolicy=policy)
    world.receivers.otherwise = lambda request: answer(500)
    world.raise_event()
    await world.run_until(START + timedelta(hours=30))
    assert minutes_of_posts(world.receivers) == [0, 60, 660]
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Expired


async def test_a_delivery_that_nobody_could_try_expires_and_says_so__BR_WH_05(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    await world.webhook("WebhookSent", "WebhookDeliveryFailed", url="https://watcher.example/")
    world.raise_event()
    await asyncio.to_thread(
        world.fan_out.handle, [(message.body, "m") for message in world.queue.take("domain-events")]
    )
    world.queue.take(WEBHOOK_DELIVERIES_QUEUE)
    world.clock.advance(hours=25)
    assert world.retries.sweep().expired == 1
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Expired
    assert delivery.error_message == "Not delivered within its time; expired."
    [failed] = world.raised("WebhookDeliveryFailed")
    assert (failed["attemptCount"], failed["nextRetryAt"]) == (0, None)


@pytest.mark.parametrize(
    ("origin", "told"), [(FROM_HUB, 0), (None, 0), (FROM_PLATFORM, 1)], ids=["hub", "unknown", "platform"]
)
async def test_an_expiry_of_what_the_hub_told_about_a_delivery_is_told_nobody(
    world: WebhookWorld, origin: EventOrigin | None, told: int
) -> None:
    await world.webhook("*", "WebhookSent", "WebhookDeliveryFailed", url="https://watcher.example/")
    sent = DomainEvent("e1", TENANT, "WebhookSent", "{}", world.clock.now(), origin=origin)
    with world.transactions.write() as tx:
        tx.outbox.append([sent])
        tx.commit()
    await asyncio.to_thread(world.fan_out.fan_out, [EventRef(TENANT, "e1")])
    world.clock.advance(hours=25)
    assert world.retries.sweep().expired == 1
    assert len(world.raised("WebhookDeliveryFailed")) == told


async def test_the_first_4_kib_of_the_answer_are_kept_whatever_they_are(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(200, b"a" * 5000), answer(200, b"\x00\xff" + "é".encode()))
    for _ in range(2):
        world.raise_event()
        await world.settle()
    kept = [delivery.response_body or "" for delivery in world.deliveries(webhook)]
    assert kept == ["a" * 4096, "\ufffd\ufffdé"]


async def test_the_receivers_libraries_accept_a_delivery(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.clock.move_to(datetime.now(world.clock.now().tzinfo))
    world.raise_event(data={"guest": "Zoë"}, subject="booking/42")
    await world.settle()
    [post] = world.receivers.posts_to()
    payload = standardwebhooks.webhooks.Webhook(webhook.secret).verify(post.body, dict(post.headers))
    assert (payload["type"], payload["subject"], payload["data"]) == (
        "BookingConfirmed",
        "booking/42",
        {"guest": "Zoë"},
    )


async def test_each_attempt_keeps_its_headers_with_credentials_masked(world: WebhookWorld) -> None:
    webhook = await world.webhook()
    said = {
        "content_type": "text/plain",
        "set_cookie": "sid=s3cret",
        "x_api_key": "s3cret",
        "x_long": "x" * 9000,
    }
    world.receivers.script(answer(500, b"oops", **said), OutboundError("timeout", "No answer."))
    event_id = world.raise_event()
    await world.run_until(START + timedelta(minutes=2))
    first, second = world.deliveries(webhook)[0].attempts[:2]
    assert json.loads(first.response_headers or "") == {
        "content-type": "text/plain",
        "set-cookie": "********",
        "x-api-key": "********",
    }
    for attempt in (first, second):
        sent = json.loads(attempt.request_headers or "")
        assert sent["webhook-id"] == event_id
        assert sent["webhook-signature"].startswith("v1,")
    assert second.response_headers is None


@pytest.mark.parametrize(("length", "kept"), [(4_096, 4_096), (4_097, 4_096)])
async def test_the_first_4_kib_of_an_answer_are_kept(world: WebhookWorld, length: int, kept: int) -> None:
    webhook = await world.webhook("*")
    world.receivers.script(answer(400, b"x" * length))
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert delivery.response_body == "x" * kept
