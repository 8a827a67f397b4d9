"""What becomes of a delivery by the bytes that its receiver answers, over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from domain.core.ports import OutboundError, OutboundResponse
from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.service import WebhookWithSecret
from infra.app.settings import Settings
from infra.outbound.client import OutboundClient
from infra.outbound.request import OutboundRequest
from tests.worlds.answer_shapes import SHAPES, Shape, ShapeReceiver
from tests.worlds.builders import RECEIVER, Behaviour
from tests.worlds.webhook_world import WebhookWorld


def posting(client: OutboundClient, served: Mapping[str, str]) -> Behaviour:
    """Post over sockets. A body has little time, so that shapes that stall do not hold up the test."""

    async def reply(request: OutboundRequest) -> OutboundResponse | OutboundError:
        try:
            return await client.send(
                replace(
                    request, url=served[request.url], timeout_seconds=10, body_seconds=1.0, repeatable=True
                )
            )
        except OutboundError as error:
            return error

    return reply


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a delivery came to, beside what its shape says that it must."""

    status: DeliveryStatus
    codes: tuple[int | None, int | None]
    attempts: tuple[int, int]
    is_gone: bool
    note: str | None
    text: str | None


def outcome_of(world: WebhookWorld, webhook: WebhookWithSecret, receiver: ShapeReceiver) -> Outcome:
    [delivery] = world.deliveries(webhook)
    last, shape = delivery.attempts[-1], receiver.shape
    error = (last.error_message or "").removeprefix(f"The receiver answered {shape.code}.")
    return Outcome(
        delivery.delivery_status,
        (delivery.http_status_code, last.http_status_code),
        (len(delivery.attempts), len(receiver.posts)),
        world.service.get(world.principal, webhook.webhook.webhook_id).state == WebhookState.Disabled,
        shape.note if shape.note is not None and shape.note in error else error or None,
        last.response_body if shape.text is not None else None,
    )


def wanted_of(shape: Shape) -> Outcome:
    return Outcome(
        shape.status,
        (shape.code, shape.code),
        (shape.attempts, shape.attempts),
        shape.is_gone,
        shape.note,
        shape.text,
    )


async def test_each_shape_of_an_answer_leads_to_its_status_code_attempts_and_note(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path, webhooks_per_tenant=500, linger=10.0)
    client = OutboundClient(Settings(environment="development"))
    receivers = {
        f"{RECEIVER}/{name.replace(' ', '-')}": ShapeReceiver(shape) for name, shape in SHAPES.items()
    }
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(world.close)
        stack.push_async_callback(client.close)
        for receiver in receivers.values():
            await stack.enter_async_context(receiver.serving())
        served = {url: receiver.url for url, receiver in receivers.items()}
        world.receivers.otherwise = posting(client, served)
        webhooks = {url: await world.webhook("Shaped", url=url) for url in receivers}
        world.raise_event("Shaped")
        await world.settle()
        came = {url: outcome_of(world, webhook, receivers[url]) for url, webhook in webhooks.items()}
    assert len(came) >= 30
    wanted = {url: wanted_of(receiver.shape) for url, receiver in receivers.items()}
    assert [(url, came[url], wanted[url]) for url in wanted if came[url] != wanted[url]] == []
