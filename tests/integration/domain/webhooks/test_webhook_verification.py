"""A receiver must be reachable and mean to receive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import standardwebhooks.webhooks

from domain.core.errors import Conflict, ValidationFailed
from domain.core.paging import PageRequest
from domain.core.ports import OutboundError
from domain.webhooks.model import UpdateWebhook, WebhookState
from domain.webhooks.ports import WebhookFilter
from infra.outbound.request import OutboundRequest
from tests.worlds.builders import RECEIVER, Hanging, Reply, answer, echo
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    made = WebhookWorld(tmp_path)
    yield made
    made.close()


def change(**fields: object) -> UpdateWebhook:
    return UpdateWebhook.model_validate_json(json.dumps(fields))


async def test_a_receiver_that_echoes_the_challenge_is_verified_and_active(world: WebhookWorld) -> None:
    created = await world.webhook("*")
    assert created.webhook.state == WebhookState.Active
    assert created.webhook.verified_at == world.clock.now()
    assert created.verification is not None
    assert created.verification.verified
    [request] = world.receivers.verifications
    body = json.loads(request.body)
    assert body["type"] == "webhook.verification"
    assert body["data"]["webhookId"] == str(created.webhook.webhook_id)
    headers = dict(request.headers)
    assert headers["webhook-id"] == body["id"]
    library = standardwebhooks.webhooks.Webhook(created.secret)
    made = library.sign(body["id"], world.clock.now(), request.body.decode())
    assert headers["webhook-signature"] == made


@pytest.mark.parametrize(
    ("receiver", "reason"),
    [
        (lambda request: answer(200, b'{"challenge":"wrong"}'), "must answer with JSON"),
        (lambda request: answer(200, b"ok"), "must answer with JSON"),
        (lambda request: answer(200, b"[" * 60_000), "must answer with JSON"),
        (lambda request: answer(200, b'{"challenge":null}'), "must answer with JSON"),
        (lambda request: answer(200, b""), "must answer with JSON"),
        (lambda request: replace(echo(request), status=201), None),
        (lambda request: replace(echo(request), status=404), "answered 404"),
        (lambda request: answer(301, location="https://elsewhere.example/"), "answered 301"),
        (
            lambda request: OutboundError("timeout", "No answer within 10 seconds."),
            "No answer within 10 seconds",
        ),
        (lambda request: OutboundError("tls", "The certificate is not valid."), "certificate"),
    ],
    ids=["wrong echo", "text", "deep", "null", "empty", "201", "404", "redirect", "timeout", "tls"],
)
async def test_any_other_answer_leaves_it_pending_with_the_reason(
    world: WebhookWorld, receiver: Callable[[OutboundRequest], Reply], reason: str | None
) -> None:
    world.receivers.verification = receiver
    created = await world.webhook("*")
    assert created.verification is not None
    assert created.verification.verified == (reason is None)
    assert (created.webhook.state == WebhookState.Active) == (reason is None)
    assert (reason or "Verified.") in created.verification.detail
    assert created.secret not in created.verification.detail


async def test_any_2xx_verifies_where_the_setting_says_so(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path, any_2xx=True)
    world.receivers.verification = lambda request: answer(204)
    assert (await world.webhook("*")).webhook.state == WebhookState.Active
    world.receivers.verification = lambda request: answer(400)
    assert (await world.webhook("*")).webhook.state == WebhookState.PendingVerification
    world.close()


async def test_an_address_the_product_may_never_call_is_refused(world: WebhookWorld) -> None:
    world.receivers.blocked.add(RECEIVER)
    with pytest.raises(ValidationFailed) as refused:
        await world.webhook("*")
    assert refused.value.code == "address-not-allowed"
    assert [error.pointer for error in refused.value.errors] == ["/url"]
    assert world.service.page(world.principal, WebhookFilter(), PageRequest()).total == 0


async def test_verification_can_be_tried_again_and_stays_once_it_succeeded(world: WebhookWorld) -> None:
    world.receivers.verification = lambda request: answer(500)
    created = await world.webhook("*")
    webhook_id = created.webhook.webhook_id
    _, failed, _ = await world.service.verify(world.principal, webhook_id)
    assert (failed.verified, failed.http_status_code) == (False, 500)
    world.receivers.verification = echo
    webhook, verified, _ = await world.service.verify(world.principal, webhook_id)
    assert (webhook.state, verified.verified) == (WebhookState.Active, True)
    asked = len(world.receivers.verifications)
    _, again, _ = await world.service.verify(world.principal, webhook_id)
    assert again.verified
    assert len(world.receivers.verifications) == asked


async def test_a_new_address_is_verified_with_the_same_secret_and_sends_what_was_held(
    world: WebhookWorld,
) -> None:
    created = await world.webhook("*")
    world.receivers.verification = lambda request: answer(500)
    webhook_id = created.webhook.webhook_id
    moved, verification, _ = await world.service.update(
        world.principal, webhook_id, change(url="https://b.example/"), None
    )
    assert (moved.state, verification and verification.verified) == (WebhookState.PendingVerification, False)
    world.raise_event()
    await world.settle()
    assert world.receivers.posts == []

    world.receivers.verification = echo
    active, _, _ = await world.service.verify(world.principal, webhook_id)
    assert active.state == WebhookState.Active
    await world.sweep()
    assert [request.url for _, request in world.receivers.posts] == ["https://b.example/"]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://b.example/", "BR-WH-01"),
        ("https://user@b.example/", "validation-failed"),
        ("https://b.example/#a", "validation-failed"),
        ("https://blocked.example/", "address-not-allowed"),
    ],
)
async def test_a_new_address_keeps_the_rules_of_the_first__BR_WH_01(
    world: WebhookWorld, url: str, code: str
) -> None:
    before = (await world.webhook("*")).webhook
    world.receivers.blocked.add("https://blocked.example/")
    with pytest.raises(ValidationFailed) as refused:
        await world.service.update(world.principal, before.webhook_id, change(url=url), None)
    assert refused.value.code == code
    assert [error.pointer for error in refused.value.errors] == ["/url"]
    assert world.service.get(world.principal, before.webhook_id) == before
    assert len(world.receivers.verifications) == 1


async def test_a_disabled_webhook_that_moves_is_active_once_its_new_address_is_verified(
    world: WebhookWorld,
) -> None:
    webhook_id = (await world.webhook("*")).webhook.webhook_id
    with world.transactions.write() as tx:
        tx.pipeline.disable(webhook_id, "50 deliveries in a row failed for good.")
        tx.commit()
    world.receivers.verification = lambda request: answer(500)
    moved, _, released = await world.service.update(
        world.principal, webhook_id, change(url="https://b.example/"), None
    )
    assert (moved.state, released) == (WebhookState.PendingVerification, None)
    with pytest.raises(Conflict):
        await world.service.update(world.principal, webhook_id, change(isActive=True), None)
    world.receivers.verification = echo
    active, _, _ = await world.service.verify(world.principal, webhook_id)
    assert (active.state, active.disabled_reason) == (WebhookState.Active, None)


async def test_the_same_address_needs_no_new_verification(world: WebhookWorld) -> None:
    created = await world.webhook("*")
    webhook, verification, _ = await world.service.update(
        world.principal, created.webhook.webhook_id, change(url=RECEIVER), None
    )
    assert (webhook.state, verification) == (WebhookState.Active, None)


@pytest.mark.parametrize("fields", [{"isActive": False}, {}], ids=["pausing with the move", "paused before"])
async def test_a_paused_webhook_that_moves_stays_paused(
    world: WebhookWorld, fields: dict[str, object]
) -> None:
    created = await world.webhook("*")
    webhook_id = created.webhook.webhook_id
    if not fields:
        await world.service.update(world.principal, webhook_id, change(isActive=False), None)
    moved, verification, _ = await world.service.update(
        world.principal, webhook_id, change(url="https://b.example/", **fields), None
    )
    assert verification is not None
    assert (verification.verified, moved.state) == (True, WebhookState.Paused)
    world.raise_event()
    await world.settle()
    assert [delivery.is_held for delivery in world.deliveries(created)] == [True]


async def test_a_verification_that_comes_late_does_not_undo_a_pause(world: WebhookWorld) -> None:
    world.receivers.verification = lambda request: answer(500)
    created = await world.webhook("*")
    webhook_id = created.webhook.webhook_id
    late = Hanging()

    async def echoes_late(request: OutboundRequest) -> Reply:
        await late(request)
        return echo(request)

    world.receivers.verification = echoes_late
    slow = asyncio.create_task(world.service.verify(world.principal, webhook_id))
    await late.reached_by(1)
    world.receivers.verification = echo
    await world.service.verify(world.principal, webhook_id)
    await world.service.update(world.principal, webhook_id, change(isActive=False), None)
    late.let_go()
    webhook, _, _ = await slow
    assert webhook.state == world.webhook_now(webhook).state == WebhookState.Paused


async def test_an_address_changed_while_it_is_verified_is_not_taken_for_verified(world: WebhookWorld) -> None:
    world.receivers.verification = lambda request: answer(500)
    created = await world.webhook("*")
    webhook_id = created.webhook.webhook_id
    late = Hanging()

    async def echoes_late(request: OutboundRequest) -> Reply:
        await late(request)
        return echo(request)

    world.receivers.verification = echoes_late
    slow = asyncio.create_task(world.service.verify(world.principal, webhook_id))
    await late.reached_by(1)
    world.receivers.verification = lambda request: answer(500)
    await world.service.update(world.principal, webhook_id, change(url="https://b.example/"), None)
    late.let_go()
    _, verification, _ = await slow
    assert not verification.verified
    now = world.webhook_now(created)
    assert (now.url, now.state) == ("https://b.example/", WebhookState.PendingVerification)


async def test_the_secret_is_shown_although_the_database_fails_after_the_webhook_is_stored(
    world: WebhookWorld,
) -> None:
    def goes_down(request: OutboundRequest) -> Reply:
        world.database.down = True
        return echo(request)

    world.receivers.verification = goes_down
    created = await world.webhook("*")
    world.database.down = False
    assert created.secret.startswith("whsec_")
    assert created.verification is not None
    assert not created.verification.verified
    world.receivers.verification = echo
    webhook, _, _ = await world.service.verify(world.principal, created.webhook.webhook_id)
    assert webhook.state == WebhookState.Active


async def test_a_webhook_that_was_never_verified_cannot_be_switched_on(world: WebhookWorld) -> None:
    world.receivers.verification = lambda request: answer(500)
    created = (await world.webhook("*")).webhook
    with pytest.raises(Conflict) as refused:
        await world.service.update(world.principal, created.webhook_id, change(isActive=True), None)
    assert refused.value.code == "verification-pending"
