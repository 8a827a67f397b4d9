"""The brake on loops: honest traffic that looks like one, and what people do with a brake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain.core.errors import Conflict, Forbidden, NotFound
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.journal.events import RaiseEvent
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE
from domain.webhooks.loop_brake import LoopService, ReleaseLoop
from domain.webhooks.loops import LoopBrake, LoopState
from infra.clock import Uuid7Generator
from tests.worlds.builders import TENANT, USER, answer
from tests.worlds.webhook_world import WebhookWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[WebhookWorld]:
    world = WebhookWorld(tmp_path, ids=Uuid7Generator(), settings={"loop_echoes_per_minute": 15})
    yield world
    world.close()


def brakes(world: WebhookWorld) -> list[LoopBrake]:
    return list(world.hub.use(LoopService).page(world.principal, PageRequest(1, 50)).items)


def told(world: WebhookWorld) -> list[object]:
    return [alert["kind"] for alert in world.alerts() if str(alert["kind"]).startswith("event-loop")]


async def test_a_burst_of_five_thousand_events_is_not_held(world: WebhookWorld) -> None:
    await world.webhook("BookingConfirmed", rateLimitPerSecond=1)
    hotel = {"id": str(uuid4()), "name": "Grand", "rooms": list(range(20))}
    world.raise_event("HotelChanged", data=hotel)
    for first in range(0, 5_000, 500):
        body = [{"type": "BookingConfirmed", "data": {"n": first + n, "hotel": hotel}} for n in range(500)]
        events = [RaiseEvent.model_validate_json(json.dumps(event)) for event in body]
        world.events.accept(world.principal, events)
        world.fan_out.handle([(message.body, "") for message in world.queue.take(DOMAIN_EVENTS_QUEUE)])
        world.clock.advance(milliseconds=500)
    assert brakes(world) == []
    with world.transactions.read() as tx:
        assert tx.loops.going_round(TENANT, world.clock.now() - timedelta(minutes=1)).total() == 0


@pytest.mark.parametrize("equal", [True, False])
async def test_what_a_receiver_raises_once_for_each_delivery_is_not_held(
    world: WebhookWorld, equal: bool
) -> None:
    await world.webhook("BookingConfirmed")
    world.receivers.otherwise = lambda request: _raise_once(world, json.loads(request.body), equal=equal)
    for number in range(100):
        world.raise_event("BookingConfirmed", data={"booking": number})
    await world.settle()
    assert len(world.raised("BookingSynced")) == 100
    assert brakes(world) == []


def _raise_once(world: WebhookWorld, body: dict[str, Any], *, equal: bool) -> Any:
    world.raise_event("BookingSynced", data=body["data"] if equal else {"from": body})
    return answer(200)


async def test_a_source_of_equal_events_is_held_for_seconds_only(world: WebhookWorld) -> None:
    await world.webhook("Heartbeat")
    for _ in range(60):
        world.raise_event("Heartbeat", data={"status": "ok"})
        await world.run_until(world.clock.now() + timedelta(seconds=1))
    world.hub.use(LoopService).settle()
    await world.settle()
    assert [brake.state for brake in brakes(world)] == [LoopState.Released]
    assert len(world.receivers.posts) == 60
    assert "event-loop" not in told(world)


async def test_equal_events_that_end_abruptly_are_let_go_when_none_comes_back(
    world: WebhookWorld,
) -> None:
    await world.webhook("Imported")
    for _ in range(60):
        world.raise_event("Imported", data={})
        await world.settle()
    assert len(world.receivers.posts) < 60
    await world.run_until(world.clock.now() + timedelta(seconds=7))
    assert len(world.receivers.posts) == 60
    assert "event-loop" not in told(world)


async def loop(world: WebhookWorld) -> LoopBrake:
    """Let a receiver send every event back until the brake is sure of it; return the brake."""
    await world.webhook("*")

    def forward(request: Any) -> Any:
        body = json.loads(request.body)
        world.raise_event(body["type"], data=body["data"])
        return answer(200)

    world.receivers.otherwise = forward
    world.raise_event("Looping")
    await world.run_until(world.clock.now() + timedelta(seconds=10))
    (brake,) = brakes(world)
    assert brake.state is LoopState.Confirmed
    return brake


async def test_events_held_are_delivered_when_a_person_releases_them(world: WebhookWorld) -> None:
    brake = await loop(world)
    assert brake.held == 1
    posts = len(world.receivers.posts)
    world.receivers.otherwise = lambda request: answer(200)
    world.clock.advance(minutes=5)
    released = world.hub.use(LoopService).release(world.principal, brake.loop_brake_id, ReleaseLoop())
    await world.settle()
    assert released.state is LoopState.Released
    assert len(world.receivers.posts) == posts + 1
    assert told(world) == ["event-loop", "event-loop-over"]
    assert [each.held for each in brakes(world)] == [0]


async def test_events_held_are_discarded_when_a_person_wants_that(world: WebhookWorld) -> None:
    brake = await loop(world)
    posts = len(world.receivers.posts)
    command = ReleaseLoop(held="discard")
    world.hub.use(LoopService).release(world.principal, brake.loop_brake_id, command)
    await world.sweep()
    assert len(world.receivers.posts) == posts
    assert [each.held for each in brakes(world)] == [0]


async def test_a_loop_that_was_released_without_an_end_is_held_again(world: WebhookWorld) -> None:
    brake = await loop(world)
    world.clock.advance(minutes=5)
    world.hub.use(LoopService).release(world.principal, brake.loop_brake_id, ReleaseLoop())
    await world.run_until(world.clock.now() + timedelta(seconds=60))
    (again,) = brakes(world)
    assert (again.state, again.trips) == (LoopState.Confirmed, 2)


async def test_a_type_that_a_person_trusts_is_not_held(world: WebhookWorld) -> None:
    brake = await loop(world)
    world.receivers.otherwise = lambda request: answer(200)
    command = ReleaseLoop(trust_hours=1)
    world.hub.use(LoopService).release(world.principal, brake.loop_brake_id, command)
    for _ in range(40):
        world.raise_event("Looping")
        await world.settle()
    assert [each.state for each in brakes(world)] == [LoopState.Released]
    assert [each.held for each in brakes(world)] == [0]


async def test_a_brake_is_released_by_its_own_tenant_with_the_permission_and_once(
    world: WebhookWorld,
) -> None:
    brake = await loop(world)
    service, command = world.hub.use(LoopService), ReleaseLoop()
    with pytest.raises(NotFound):
        service.release(world.other, brake.loop_brake_id, command)
    assert list(service.page(world.other, PageRequest(1, 50)).items) == []
    nobody = Principal(TENANT, USER, frozenset())
    with pytest.raises(Forbidden):
        service.page(nobody, PageRequest(1, 50))
    with pytest.raises(Forbidden):
        service.release(nobody, brake.loop_brake_id, command)
    service.release(world.principal, brake.loop_brake_id, command)
    with pytest.raises(Conflict) as again:
        service.release(world.principal, brake.loop_brake_id, command)
    assert again.value.code == "not-held"


async def test_no_loop_is_looked_for_where_the_setting_is_0(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path, ids=Uuid7Generator(), settings={"loop_echoes_per_minute": 0})
    await world.webhook("Heartbeat")
    for _ in range(30):
        world.raise_event("Heartbeat", data={})
        await world.settle()
    with world.transactions.read() as tx:
        assert tx.loops.going_round(TENANT, world.clock.now() - timedelta(minutes=1)).total() == 0
    world.close()
