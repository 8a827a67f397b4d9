"""What deliveries do to their webhook: events, counters, disabling, pausing, rotating."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE, DeliveryMessage
from domain.webhooks.model import (
    DeliveryStatus,
    Replay,
    RotateSecret,
    TestWebhook,
    UpdateWebhook,
    WebhookState,
)
from domain.webhooks.ports import Released
from domain.webhooks.signing import signature
from domain.webhooks.sweep import DeliveryCleanup
from tests.worlds.builders import START, Hanging, answer
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


async def test_a_delivery_raises_webhook_sent_with_the_specified_fields(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    await world.webhook("WebhookSent", "WebhookDeliveryFailed", url="https://watcher.example/")
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert world.raised("WebhookSent") == [
        {
            "webhookDeliveryId": str(delivery.webhook_delivery_id),
            "webhookId": str(webhook.webhook.webhook_id),
            "statusCode": 200,
            "deliveredAt": "2026-03-01T09:00:00.000000Z",
        }
    ]


async def test_each_failed_attempt_raises_webhook_delivery_failed_with_the_specified_fields(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"maxRetries": 1, "jitter": False})
    await world.webhook("WebhookSent", "WebhookDeliveryFailed", url="https://watcher.example/")
    world.receivers.script(answer(500), answer(500))
    world.raise_event()
    await world.run_until(START + timedelta(hours=1))
    [delivery] = world.deliveries(webhook)
    common = {
        "webhookDeliveryId": str(delivery.webhook_delivery_id),
        "webhookId": str(webhook.webhook.webhook_id),
        "errorMessage": "The receiver answered 500.",
    }
    assert world.raised("WebhookDeliveryFailed") == [
        common | {"attemptCount": 1, "nextRetryAt": "2026-03-01T09:01:00.000000Z"},
        common | {"attemptCount": 2, "nextRetryAt": None},
    ]


async def test_a_webhook_that_names_webhook_sent_gets_it_and_there_is_no_loop(world: WebhookWorld) -> None:
    await world.webhook("BookingConfirmed")
    watcher = await world.webhook("WebhookSent", "WebhookDeliveryFailed", url="https://watcher.example/")
    world.receivers.script(answer(500), answer(200), url="https://watcher.example/")
    world.raise_event()
    await world.run_until(START + timedelta(hours=1))
    assert [delivery.event_type for delivery in world.deliveries(watcher)] == ["WebhookSent"]
    assert len(world.receivers.posts_to("https://watcher.example/")) == 2
    assert len(world.raised("WebhookSent")) == 1
    assert world.raised("WebhookDeliveryFailed") == []


async def test_a_wildcard_does_not_ask_for_events_about_deliveries(world: WebhookWorld) -> None:
    webhook = await world.webhook("*")
    world.raise_event()
    await world.run_until(START + timedelta(hours=1))
    assert [delivery.event_type for delivery in world.deliveries(webhook)] == ["BookingConfirmed"]
    assert world.raised("WebhookSent") == []  # nobody would hear it


async def test_counters_and_the_last_trigger_are_kept(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(200), answer(400), answer(500), answer(200))
    for _ in range(3):
        world.raise_event()
        await world.settle()
        world.clock.advance(seconds=1)
    await world.run_until(START + timedelta(minutes=5))
    now = world.webhook_now(webhook)
    assert (now.success_count, now.failure_count, now.consecutive_failures) == (2, 1, 0)
    assert now.failing_since is None
    assert now.last_triggered_at == START + timedelta(seconds=2, minutes=1)
    assert now.version == webhook.webhook.version


async def test_fifty_deliveries_in_a_row_that_failed_over_an_hour_disable_the_webhook(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.otherwise = lambda request: answer(400)
    world.raise_event()
    await world.settle()
    world.clock.advance(hours=1)
    for _ in range(48):
        world.raise_event()
    await world.run_until(world.clock.now() + timedelta(seconds=1))
    assert world.webhook_now(webhook).state == WebhookState.Active
    world.raise_event()
    await world.settle()
    now = world.webhook_now(webhook)
    assert (now.state, now.consecutive_failures) == (WebhookState.Disabled, 50)
    assert now.disabled_reason == "50 deliveries in a row failed for good."
    assert len(world.raised("WebhookDisabled")) == len(world.alerts()) == 1


async def test_a_burst_that_fails_within_the_hour_is_one_outage(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.otherwise = lambda request: answer(400)
    for _ in range(60):
        world.raise_event()
    await world.run_until(world.clock.now() + timedelta(seconds=1))
    world.clock.advance(minutes=58)
    for _ in range(60):
        world.raise_event()
    await world.run_until(world.clock.now() + timedelta(seconds=1))
    now = world.webhook_now(webhook)
    assert (now.state, now.failure_count) == (WebhookState.Active, 120)


async def test_silence_after_a_failure_and_an_attempt_that_is_retried_disable_nothing(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"maxRetries": 1, "jitter": False})
    world.receivers.script(answer(500), answer(500), answer(503), answer(200))
    world.raise_event()
    await world.run_until(START + timedelta(minutes=5))
    world.clock.advance(days=9)
    world.raise_event()
    await world.settle()
    assert world.webhook_now(webhook).state == WebhookState.Active
    await world.run_until(world.clock.now() + timedelta(minutes=5))
    now = world.webhook_now(webhook)
    assert (now.state, now.success_count, now.failing_since) == (WebhookState.Active, 1, None)


async def test_deliveries_that_came_too_fast_or_ran_out_of_time_disable_nothing(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"maxRetries": 0})
    world.receivers.otherwise = lambda request: answer(429)
    for _ in range(3):
        for _ in range(30):
            world.raise_event()
        await world.settle()
        world.clock.advance(days=3)
    now = world.webhook_now(webhook)
    assert (now.state, now.failure_count, now.consecutive_failures) == (WebhookState.Active, 90, 0)

    slow = await world.webhook(
        "Other",
        url="https://slow.example/",
        retryPolicy={"initialDelaySeconds": 3600, "backoffMultiplier": 10},
    )
    world.receivers.otherwise = lambda request: answer(500)
    for _ in range(4):
        world.raise_event("Other")
        await world.run_until(world.clock.now() + timedelta(days=2))
    now = world.webhook_now(slow)
    assert {delivery.delivery_status for delivery in world.deliveries(slow)} == {DeliveryStatus.Expired}
    assert (now.state, now.failure_count, now.consecutive_failures) == (WebhookState.Active, 4, 0)


async def test_one_410_disables_at_once(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(410))
    world.raise_event()
    await world.settle()
    assert world.webhook_now(webhook).disabled_reason == "The receiver answered 410 Gone."


@pytest.mark.parametrize("status", [500, 404, 410, 429, 200])
async def test_calls_of_test_count_nowhere(world: WebhookWorld, status: int) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"strategy": "adaptive"})
    webhook_id = webhook.webhook.webhook_id
    before = world.webhook_now(webhook)
    world.receivers.otherwise = lambda request: answer(status)
    for _ in range(60):
        delivery = await world.history.test(world.principal, webhook_id, TestWebhook())
        world.clock.advance(hours=3)
    assert (delivery.is_test, delivery.http_status_code) == (True, status)
    assert world.webhook_now(webhook) == before
    assert world.alerts() == world.raised("WebhookDisabled") == []
    with world.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM SignalDeltas").scalar() == 0


async def test_a_test_that_was_interrupted_is_still_a_test(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"jitter": False})
    hanging = Hanging(answer(410))
    world.receivers.script(hanging, answer(410))
    testing = asyncio.create_task(
        world.history.test(world.principal, webhook.webhook.webhook_id, TestWebhook())
    )
    await hanging.reached_by(1)
    world.clock.advance(seconds=61)
    await world.sweep()
    [delivery] = world.deliveries(webhook)
    assert (delivery.delivery_status, delivery.attempt_count) == (DeliveryStatus.Failed, 2)
    hanging.let_go()
    await testing
    now = world.webhook_now(webhook)
    assert (now.state, now.failure_count) == (WebhookState.Active, 0)


async def test_held_deliveries_expire_a_day_after_their_event_and_a_replay_sends_them(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    webhook_id = webhook.webhook.webhook_id
    await world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=False), None)
    for hour in (0, 0, 12, 23):
        world.clock.move_to(START + timedelta(hours=hour))
        world.raise_event()
        await world.settle()
    world.clock.move_to(START + timedelta(hours=24))
    await world.sweep()
    held = [(delivery.delivery_status, delivery.is_held) for delivery in world.deliveries(webhook)]
    assert held == [(DeliveryStatus.Expired, True)] * 2 + [(DeliveryStatus.Pending, True)] * 2
    assert world.webhook_now(webhook).failure_count == 0
    resumed = await world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=True), None)
    assert resumed.released == Released(sent=2, waiting_for_replay=2)
    await world.settle()
    assert len(world.receivers.posts) == 2

    world.clock.move_to(START + timedelta(days=29))
    assert world.hub.use(DeliveryCleanup).delete_old() == (0, 0)
    replayed = world.history.replay(world.principal, webhook_id, Replay(since=START))
    assert replayed.replayed == 2
    await world.settle()
    assert {delivery.delivery_status for delivery in world.deliveries(webhook)} == {DeliveryStatus.Delivered}
    assert not any(delivery.is_held for delivery in world.deliveries(webhook))


async def test_one_success_begins_the_row_again(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(*[answer(400)] * 30, answer(200), *[answer(400)] * 49)
    for _ in range(80):
        world.raise_event()
        await world.settle()
    now = world.webhook_now(webhook)
    assert (now.state, now.consecutive_failures) == (WebhookState.Active, 49)


async def test_five_days_of_nothing_but_failure_disable_the_webhook(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"maxRetries": 0})
    world.receivers.otherwise = lambda request: answer(500)
    for day in range(6):  # the last, five days after the first, decides
        assert world.webhook_now(webhook).state == WebhookState.Active, day
        world.raise_event()
        await world.settle()
        world.clock.advance(days=1)
    now = world.webhook_now(webhook)
    assert (now.state, now.disabled_reason) == (
        WebhookState.Disabled,
        "Deliveries failed for good over 5 days, and none succeeded.",
    )


async def test_a_webhook_paused_between_fan_out_and_delivery_holds_and_resume_releases(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    webhook_id = webhook.webhook.webhook_id
    world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    await world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=False), None)
    await world.settle()
    assert [delivery.is_held for delivery in world.deliveries(webhook)] == [True]
    assert world.receivers.posts == []

    await world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=True), None)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


async def test_a_webhook_resumed_while_its_message_was_handled_does_not_strand_the_delivery(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    webhook_id = webhook.webhook.webhook_id
    world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    await world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=False), None)
    reading = world.engine._endpoints

    def then_resumed(ids: list[UUID]) -> object:
        found = reading(ids)
        asyncio.run(world.service.update(world.principal, webhook_id, UpdateWebhook(is_active=True), None))
        return found

    world.engine._endpoints = then_resumed  # type: ignore[assignment,method-assign]
    await world.engine.handle(
        [DeliveryMessage.of_queue(message.body) for message in world.queue.take(WEBHOOK_DELIVERIES_QUEUE)]
    )
    world.engine._endpoints = reading  # type: ignore[method-assign]
    assert [delivery.is_held for delivery in world.deliveries(webhook)] == [False]
    world.clock.advance(minutes=3)
    await world.sweep()
    assert [delivery.delivery_status for delivery in world.deliveries(webhook)] == [DeliveryStatus.Delivered]


async def test_the_message_of_a_deleted_webhook_is_dropped_quietly(
    world: WebhookWorld, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.raise_event()
    world.fan_out.handle([(message.body, "m") for message in world.queue.take("domain-events")])
    world.service.delete(world.principal, webhook.webhook.webhook_id, None)
    caplog.clear()
    await world.settle()
    assert world.receivers.posts == []
    assert caplog.records == []


async def test_a_webhook_deleted_while_it_is_posted_to_leaves_nothing_behind(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    await world.webhook("WebhookSent", "WebhookDeliveryFailed", url="https://watcher.example/")
    hanging = Hanging()
    world.receivers.script(hanging)
    world.raise_event()
    posting = asyncio.create_task(world.settle())
    await hanging.reached_by(1)
    world.service.delete(world.principal, webhook.webhook.webhook_id, None)
    hanging.let_go()
    await posting
    await world.engine.drain()
    assert world.raised("WebhookSent") == []


async def test_a_rotated_secret_signs_beside_the_new_one_until_the_overlap_ends(world: WebhookWorld) -> None:
    webhook = await world.webhook("BookingConfirmed")
    rotated = world.service.rotate_secret(
        world.principal, webhook.webhook.webhook_id, RotateSecret(overlap_seconds=60)
    )
    world.raise_event()
    await world.settle()
    world.clock.advance(seconds=60)
    world.raise_event()
    await world.settle()

    during, after = world.receivers.posts_to()

    def signed_by(secret: str, post: object) -> bool:
        headers = post.headers  # type: ignore[attr-defined]
        made = signature(secret, headers["webhook-id"], int(headers["webhook-timestamp"]), post.body)  # type: ignore[attr-defined]
        return made in headers["webhook-signature"].split(" ")

    assert signed_by(rotated.secret, during)
    assert signed_by(webhook.secret, during)
    assert signed_by(rotated.secret, after)
    assert not signed_by(webhook.secret, after)
    assert len(after.headers["webhook-signature"].split(" ")) == 1


async def test_a_webhook_whose_secret_does_not_open_does_not_stop_the_others(
    world: WebhookWorld, caplog: pytest.LogCaptureFixture
) -> None:
    broken = await world.webhook("*", url="https://broken.example/")
    await world.webhook("*", url="https://sound.example/")
    with world.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE Webhooks SET Secret = ? WHERE WebhookId = ?",
            (world.cipher.seal("whsec_AAAA", context="elsewhere"), broken.webhook.webhook_id.hex),
        )
        connection.commit()
    world.raise_event()
    await world.settle()
    assert [request.url for _, request in world.receivers.posts] == ["https://sound.example/"]
    assert [delivery.delivery_status for delivery in world.deliveries(broken)] == [DeliveryStatus.Pending]
    assert "whsec_" not in caplog.text


async def test_a_retry_after_that_lies_too_late_is_recorded_and_every_retry_is_made(
    world: WebhookWorld,
) -> None:
    webhook = await world.webhook("BookingConfirmed", retryPolicy={"maxRetries": 2, "jitter": False})
    refusal = answer(429, retry_after="172800")
    world.receivers.otherwise = lambda request: refusal
    world.raise_event()
    await world.run_until(START + timedelta(hours=1))
    [delivery] = world.deliveries(webhook)
    assert (delivery.delivery_status, delivery.attempt_count) == (DeliveryStatus.Failed, 3)
    assert [attempt.error_message for attempt in delivery.attempts] == [
        *[
            "The receiver answered 429. Its Retry-After ('172800') lies too late for this delivery; "
            "the schedule is followed."
        ]
        * 2,
        "The receiver answered 429.",
    ]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://new.example/hook", "it points to https://new.example/h...#faf6ef34"),
        ("/moved?token=s3cret#part", "it points to https://receiver.example/m...#1148436b"),
        ("//user:pass@elsewhere.example/", "it points to https://elsewhere.example/#af7417c1"),
        ("https://[broken/", "its Location cannot be read."),
        (None, "it has no Location."),
    ],
)
async def test_a_redirect_fails_and_says_where_it_pointed(
    world: WebhookWorld, location: str | None, said: str
) -> None:
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(308, **({"location": location} if location else {})))
    world.raise_event()
    await world.settle()
    [delivery] = world.deliveries(webhook)
    assert delivery.delivery_status == DeliveryStatus.Failed
    assert delivery.error_message == f"The receiver answered 308. Redirects are not followed; {said}"
