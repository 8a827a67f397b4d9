"""A receiver that sends deliveries back to the hub: a loop must end, honest traffic must not be held."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.core.errors import Conflict
from domain.core.json_text import JsonText
from domain.core.paging import PageRequest
from domain.incoming.receive import Caller, IncomingReceiver
from domain.journal.events import RaiseEvent
from domain.journal.hops import HopCounter
from domain.providers.contract import IncomingRequest
from domain.webhooks.loop_brake import LoopService
from domain.webhooks.loops import LoopBrake, LoopState
from infra.clock import Uuid7Generator
from infra.embedded.secrets import EmbeddedSecretStore
from infra.hop_key import SecretStoreHopKey
from tests.worlds.builders import TENANT, USER, answer
from tests.worlds.incoming_world import seed, signed_by_stripe, stripe_event
from tests.worlds.webhook_world import WebhookWorld

#: What a forwarder makes of a delivery; `number` counts its calls.
Forwarder = Callable[[dict[str, Any], int], dict[str, Any]]

FORWARDERS: dict[str, Forwarder] = {
    "the data alone": lambda body, number: {"type": body["type"], "data": body["data"]},
    "the whole body as data": lambda body, number: {"type": body["type"], "data": body},
    "the data in another object": lambda body, number: {
        "type": "Forwarded",
        "data": {"payload": body["data"]},
    },
    "the data and a moment": lambda body, number: {
        "type": body["type"],
        "data": {**body["data"], "of": body["id"], "at": number},
    },
    "the body as a text": lambda body, number: {"type": "Forwarded", "data": {"raw": json.dumps(body)[:400]}},
    "the data with its members in another order": lambda body, number: {
        "type": body["type"],
        "data": dict(sorted(body["data"].items(), reverse=number % 2 == 0)),
    },
    "two types in turn": lambda body, number: {
        "type": "Ping" if body["type"] == "Pong" else "Pong",
        "data": body["data"],
    },
    "a type of its own each time": lambda body, number: {"type": f"Forwarded.n{number}", "data": body},
}


class Looping:
    """A world whose receivers send every delivery back, without its headers."""

    def __init__(self, world: WebhookWorld, forwarder: Forwarder) -> None:
        self.world, self._forwarder, self._count = world, forwarder, 0
        world.receivers.otherwise = self._forward

    def _forward(self, request: Any) -> Any:
        self._count += 1
        event = self._forwarder(json.loads(request.body), self._count)
        self.world.raise_event(
            **{"type_" if name == "type" else name: value for name, value in event.items()}
        )
        return answer(200)

    @property
    def deliveries(self) -> int:
        return len(self.world.receivers.posts)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    world = WebhookWorld(tmp_path, ids=Uuid7Generator())
    yield world
    world.close()


@pytest.fixture
def strict_world(tmp_path: Path) -> Iterator[WebhookWorld]:
    """A hub that takes fewer events a minute for a loop, so that a test needs fewer."""
    world = WebhookWorld(tmp_path, ids=Uuid7Generator(), settings={"loop_echoes_per_minute": 15})
    yield world
    world.close()


def brakes(world: WebhookWorld) -> list[LoopBrake]:
    return list(world.hub.use(LoopService).page(world.principal, PageRequest(1, 50)).items)


def told(world: WebhookWorld) -> list[object]:
    return [alert["kind"] for alert in world.alerts() if str(alert["kind"]).startswith("event-loop")]


async def let_a_minute_pass(world: WebhookWorld) -> None:
    await asyncio.wait_for(world.run_until(world.clock.now() + timedelta(seconds=60)), timeout=30)


@pytest.mark.parametrize("name", FORWARDERS)
async def test_a_loop_of_bodies_alone_ends_and_raises_an_alert(strict_world: WebhookWorld, name: str) -> None:
    world = strict_world
    await world.webhook("*")
    loop = Looping(world, FORWARDERS[name])
    world.raise_event(data={"booking": 42, "room": "Blue"})
    await let_a_minute_pass(world)
    assert "event-loop" in told(world)
    assert LoopState.Confirmed in {brake.state for brake in brakes(world)}
    before = loop.deliveries
    for _ in range(3):
        world.clock.advance(seconds=60)
        world.hub.use(LoopService).settle()
        await world.sweep()
    assert loop.deliveries == before


async def test_a_loop_ends_within_a_thousand_deliveries(world: WebhookWorld) -> None:
    await world.webhook("*")
    loop = Looping(world, FORWARDERS["the data alone"])
    world.raise_event()
    await let_a_minute_pass(world)
    assert loop.deliveries < 150
    assert told(world) == ["event-loop"]


async def test_three_webhooks_that_multiply_events_end_within_a_thousand_deliveries(
    world: WebhookWorld,
) -> None:
    for number in range(3):
        await world.webhook("*", url=f"https://receiver.example/{number}")
    loop = Looping(world, FORWARDERS["the data alone"])
    world.raise_event()
    await let_a_minute_pass(world)
    assert loop.deliveries < 1_000
    assert "event-loop" in told(world)


async def test_a_loop_through_another_tenant_ends(strict_world: WebhookWorld) -> None:
    world = strict_world
    await world.webhook("*")
    await world.webhook("*", url="https://other.example/hook", owner=world.other)

    def forward(request: Any) -> Any:
        body = json.loads(request.body)
        owner = world.principal if "other.example" in request.url else world.other
        world.raise_event(body["type"], owner, data=body["data"])
        return answer(200)

    world.receivers.otherwise = forward
    world.raise_event()
    await let_a_minute_pass(world)
    assert len(world.receivers.posts) < 200
    assert "event-loop" in told(world)


async def test_a_loop_through_an_incoming_webhook_ends(strict_world: WebhookWorld) -> None:
    world = strict_world
    await world.webhook("*")
    stripe = seed(world.hub, tenant=TENANT, user=USER)

    async def forward(request: Any) -> Any:
        body = {"id": f"evt_{len(world.receivers.posts)}", "type": "charge.succeeded"}
        sent = {**body, "data": {"object": json.loads(request.body)}}
        signed = signed_by_stripe(json.dumps(sent).encode(), world.clock.now())
        url = f"http://localhost:7071/api/webhooks/incoming/{stripe.integration_id}"
        incoming = IncomingRequest("POST", url, signed.headers, {}, signed.body, world.clock.now())
        await world.hub.use(IncomingReceiver).receive(stripe.integration_id, incoming, Caller())
        return answer(200)

    world.receivers.otherwise = forward
    world.raise_event()
    await let_a_minute_pass(world)
    assert len(world.receivers.posts) < 1_000
    assert "event-loop" in told(world)


async def test_other_events_of_the_tenant_go_on_beside_a_loop(strict_world: WebhookWorld) -> None:
    world = strict_world
    await world.webhook("Looping", url="https://looping.example/hook")
    await world.webhook("BookingConfirmed")
    loop = Looping(world, FORWARDERS["the data alone"])
    world.raise_event("Looping")
    await let_a_minute_pass(world)
    world.receivers.otherwise = lambda request: answer(200)
    assert loop.deliveries > 0
    for number in range(50):
        world.raise_event("BookingConfirmed", data={"booking": number})
    await world.settle()
    assert len(world.receivers.posts_to()) == 50


async def test_a_loop_that_keeps_the_header_ends_after_eight_deliveries(world: WebhookWorld) -> None:
    await world.webhook("*")
    refused: list[Conflict] = []

    def forward(request: Any) -> Any:
        event = RaiseEvent(type="Forwarded", data=JsonText(json.dumps({"n": len(world.receivers.posts)})))
        try:
            world.events.accept(world.principal, [event], hops=request.headers["webhook-hops"])
        except Conflict as error:
            refused.append(error)
        return answer(200)

    world.receivers.otherwise = forward
    world.raise_event()
    await world.settle()
    counts = [int(request.headers["webhook-hops"].split(".")[0]) for _, request in world.receivers.posts]
    assert counts == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [error.code for error in refused] == ["too-many-hops"]
    assert audited(world) == [("event.refused", {"hops": 8})]


async def test_a_header_cannot_be_lowered_or_kept_for_another_day(world: WebhookWorld) -> None:
    counter, now = world.hub.use(HopCounter), world.clock.now()
    header = counter.header(7, now)
    assert counter.read(header, now) == 7
    assert counter.read(header.replace("7.", "1.", 1), now) == 0
    assert counter.read(header, now + timedelta(days=1)) == 0
    other = HopCounter(SecretStoreHopKey(EmbeddedSecretStore(world.hub.settings.home / "other")))
    assert other.read(header, now) == 0


async def test_an_incoming_webhook_that_was_delivered_eight_times_in_a_row_is_refused(
    world: WebhookWorld,
) -> None:
    stripe, counter = seed(world.hub, tenant=TENANT, user=USER), world.hub.use(HopCounter)
    await world.webhook("stripe.*")

    async def receive(event_id: str, hops: int) -> None:
        signed = signed_by_stripe(stripe_event(event_id), world.clock.now())
        headers = {**signed.headers, "webhook-hops": counter.header(hops, world.clock.now())}
        url = f"http://localhost:7071/api/webhooks/incoming/{stripe.integration_id}"
        incoming = IncomingRequest("POST", url, headers, {}, signed.body, world.clock.now())
        await world.hub.use(IncomingReceiver).receive(stripe.integration_id, incoming, Caller())

    await receive("evt_1", 6)
    with pytest.raises(Conflict) as refused:
        await receive("evt_2", 8)
    assert refused.value.code == "too-many-hops"
    assert audited(world) == [("incoming.refused", {"hops": 8})]
    await world.settle()
    headers = [request.headers["webhook-hops"] for _, request in world.receivers.posts]
    assert [header.split(".")[0] for header in headers] == ["7"]


def audited(world: WebhookWorld) -> list[tuple[str, object]]:
    with world.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT Action, After FROM AuditLog WHERE Action LIKE '%.refused'")
        return [(action, json.loads(after)) for action, after in rows]
