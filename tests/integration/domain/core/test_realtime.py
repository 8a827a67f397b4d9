"""Realtime messages: who may hear them, when they are sent, and the embedded twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from domain.apikeys.expiry import KeyConnections, KeyExpiry
from domain.apikeys.model import RotateApiKey
from domain.apikeys.service import ApiKeyService
from domain.core.errors import Unavailable
from domain.core.principal import Principal
from domain.core.realtime import (
    DELIVERY_UPDATED,
    NOBODY,
    SYNC_PROGRESS,
    groups_of,
    key_user,
    lifetime_of,
    user_of,
)
from domain.providers.contract import ProviderFailure
from infra.embedded import realtime_store
from infra.embedded.realtime import EmbeddedRealtime
from tests.worlds.apikey_world import ApiKeyWorld
from tests.worlds.builders import OTHER_TENANT, START, TENANT, USER, FakeClock, HeardRealtime, answer
from tests.worlds.integration_world import IntegrationWorld
from tests.worlds.sync_world import SyncWorld
from tests.worlds.webhook_world import WebhookWorld

KEY = UUID(int=0xC0)


def principal(*permissions: str, tenant: UUID = TENANT, key: UUID | None = None) -> Principal:
    return Principal(tenant, USER, frozenset(permissions), api_key_id=key)


@pytest.mark.parametrize(
    ("permissions", "kinds"),
    [
        ((), []),
        (("events:write",), []),
        (("webhook:manage",), ["deliveryUpdated"]),
        (("alerts:read",), ["alertChanged"]),
        (("integration:manage",), ["syncProgress", "integrationHealth"]),
        (("integration:manage", "webhook:manage"), ["syncProgress", "integrationHealth", "deliveryUpdated"]),
    ],
)
def test_a_caller_hears_what_its_permissions_allow(permissions: tuple[str, ...], kinds: list[str]) -> None:
    assert groups_of(principal(*permissions)) == [f"{TENANT}.{kind}" for kind in kinds]


def test_the_same_person_in_another_tenant_is_someone_else() -> None:
    assert user_of(principal()) != user_of(principal(tenant=OTHER_TENANT))
    assert user_of(principal(key=KEY)) == key_user(KEY) == f"key:{KEY}"


@pytest.mark.parametrize(
    ("left", "lasts"),
    [(None, 3600), (-30.0, 1), (0.2, 1), (90.9, 90), (3600.5, 3600), (86_400.0, 3600)],
)
def test_a_connection_lasts_no_longer_than_what_it_is_negotiated_with(left: float | None, lasts: int) -> None:
    ends = None if left is None else START + timedelta(seconds=left)
    assert lifetime_of(replace(principal(), expires_at=ends), START) == timedelta(seconds=lasts)


def test_connections_of_tokens_with_different_ends_are_told_apart() -> None:
    one, same, other = (
        replace(principal(), expires_at=START + timedelta(seconds=end)) for end in (60, 60, 61)
    )
    assert user_of(one) == user_of(same) != user_of(other)


def test_where_there_is_nobody_nothing_happens() -> None:
    assert not NOBODY.listening(TENANT, DELIVERY_UPDATED)
    with pytest.raises(Unavailable):
        NOBODY.negotiate(principal())


# -- when they are sent -----------------------------------------------------------------------------------


async def test_every_attempt_is_told_to_its_tenant(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    webhook = await world.webhook("BookingConfirmed")
    world.receivers.script(answer(500), answer(200))
    world.raise_event()
    await world.run_until(START + timedelta(minutes=2))
    sent = [(tenant, payload) for tenant, _, payloads in world.realtime.messages for payload in payloads]
    assert [
        (tenant, payload["deliveryStatus"], payload["attemptCount"], payload["httpStatusCode"])
        for tenant, payload in sent
    ] == [
        (TENANT, "Retrying", 1, 500),
        (TENANT, "Delivered", 2, 200),
    ]
    [delivery] = world.deliveries(webhook)
    assert {payload["webhookDeliveryId"] for _, payload in sent} == {str(delivery.webhook_delivery_id)}
    assert {kind for _, kind, _ in world.realtime.messages} == {DELIVERY_UPDATED}
    world.close()


async def test_results_that_are_recorded_together_are_told_together(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    await world.webhook("BookingConfirmed")
    for _ in range(20):
        world.raise_event()
    await world.run_until(START + timedelta(seconds=1))
    sizes = [len(payloads) for _, _, payloads in world.realtime.messages]
    assert sum(sizes) == 20
    assert len(sizes) < 10
    world.close()


async def test_nothing_is_sent_while_nobody_listens(tmp_path: Path) -> None:
    world = WebhookWorld(tmp_path)
    world.realtime.is_heard = False
    await world.webhook("BookingConfirmed")
    world.raise_event()
    await world.run_until(START + timedelta(minutes=1))
    assert len(world.receivers.posts) == 1
    assert world.realtime.messages == []
    world.close()


async def test_only_a_change_of_health_is_told(tmp_path: Path) -> None:
    world = IntegrationWorld(tmp_path)
    created = await world.create("REST")
    await world.check(3)
    world.realtime.messages.clear()
    world.api.failure = ProviderFailure("unavailable", "No answer.")
    await world.check(8)
    told = [payload for _, _, payloads in world.realtime.messages for payload in payloads]
    assert told[-1]["healthStatus"] == "Unhealthy"
    assert {payload["integrationId"] for payload in told} == {str(created.integration.integration_id)}
    assert all(payload["healthStatus"] != payload["previousHealthStatus"] for payload in told)
    assert len(told) < 8
    world.close()


async def test_a_sync_tells_of_every_batch_and_of_its_end(tmp_path: Path) -> None:
    world = SyncWorld(tmp_path)
    for index in range(10):
        world.crm.put(f"c{index:02d}", START - timedelta(days=1))
    await world.synced(await world.integration())
    told = [payloads[0] for _, kind, payloads in world.realtime.messages if kind == SYNC_PROGRESS]
    counts = [payload["recordsProcessed"] for payload in told]
    assert counts == sorted(counts)
    assert (told[0]["status"], told[-1]["status"], counts[-1]) == ("Running", "Completed", 10)
    world.close()


def test_whatever_ends_a_key_closes_its_connections__UC_AK_02(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path)
    heard = HeardRealtime()
    world.hub.__dict__["realtime"] = heard
    keys = world.hub.use(ApiKeyService)
    revoked, replaced, rotated = world.issue(), world.issue(), world.issue()
    expiring = world.issue(expiresAt=(world.clock.now() + timedelta(hours=2)).isoformat())
    keys.revoke(world.admin, revoked.key.api_key_id, None, None)
    keys.revoke(world.admin, revoked.key.api_key_id, None, None)
    assert heard.closed == [key_user(revoked.key.api_key_id)]
    keys.rotate(world.admin, replaced.key.api_key_id, RotateApiKey(grace_period_seconds=0), None)
    assert heard.closed[1:] == [key_user(replaced.key.api_key_id)]
    keys.rotate(world.admin, rotated.key.api_key_id, RotateApiKey(), None)
    assert len(heard.closed) == 2
    keys.confirm_rotation(world.admin, rotated.key.api_key_id)
    assert heard.closed[2:] == [key_user(rotated.key.api_key_id)]
    world.clock.advance(hours=3)
    assert world.hub.use(KeyExpiry).revoke_expired() == 1
    assert heard.closed[3:] == [key_user(expiring.key.api_key_id)]


def test_a_short_grace_period_closes_the_old_keys_connections_when_it_ends__UC_AK_02(tmp_path: Path) -> None:
    """What was negotiated before lasts an hour; the hourly expiry may be as far away."""
    world, heard = ApiKeyWorld(tmp_path), HeardRealtime()
    world.hub.__dict__["realtime"] = heard
    soon = (world.clock.now() + timedelta(minutes=1)).isoformat()
    rotated, expiring = world.issue(), world.issue(expiresAt=soon)
    world.hub.use(ApiKeyService).rotate(
        world.admin, rotated.key.api_key_id, RotateApiKey(grace_period_seconds=120), None
    )
    world.clock.advance(seconds=119)
    assert world.hub.use(KeyExpiry).end_rotations() == 0
    assert heard.closed == []
    world.clock.advance(seconds=1)
    assert world.hub.use(KeyExpiry).end_rotations() == 1
    assert heard.closed == [key_user(rotated.key.api_key_id)]
    old = world.hub.use(ApiKeyService).get(world.admin, rotated.key.api_key_id)
    assert (old.is_active, old.revoke_reason) == (False, "Rotated")
    assert world.hub.use(KeyExpiry).end_rotations() == 0
    assert world.hub.use(ApiKeyService).get(world.admin, expiring.key.api_key_id).is_active, (
        "left to the hourly expiry"
    )


def test_connections_that_could_not_be_closed_are_closed_once_the_service_is_back__UC_AK_02(
    tmp_path: Path,
) -> None:
    world, heard = ApiKeyWorld(tmp_path), HeardRealtime()
    world.hub.__dict__["realtime"] = heard
    keys, sweep = world.hub.use(ApiKeyService), world.hub.use(KeyConnections).sweep
    revoked, kept = world.issue(), world.issue()
    heard.is_away = True
    keys.revoke(world.admin, revoked.key.api_key_id, None, None)
    world.clock.advance(minutes=2)
    assert sweep() == 0
    world.clock.advance(days=3)
    heard.is_away = False
    assert sweep() == 1
    assert heard.closed == [key_user(revoked.key.api_key_id)]
    assert sweep() == 0, "closed for good"
    assert kept.key.is_active


def test_a_process_that_dies_before_it_closes_leaves_no_connection(tmp_path: Path) -> None:
    class Dies(HeardRealtime):
        def close(self, user: str) -> bool:
            raise KeyboardInterrupt

    world, heard = ApiKeyWorld(tmp_path), HeardRealtime()
    world.hub.__dict__["realtime"] = Dies()
    revoked = world.issue().key
    with pytest.raises(KeyboardInterrupt):
        world.hub.use(ApiKeyService).revoke(world.admin, revoked.api_key_id, None, None)
    world.clock.advance(minutes=1)
    KeyConnections(world.hub.transactions, world.clock, heard).sweep()
    assert heard.closed == [key_user(revoked.api_key_id)]


def test_a_negotiation_that_was_under_way_is_closed_as_well(tmp_path: Path) -> None:
    """Closing at once may come before the negotiation is through, so it is done again when that is over."""
    world, heard = ApiKeyWorld(tmp_path), HeardRealtime()
    world.hub.__dict__["realtime"] = heard
    revoked = world.issue().key
    world.hub.use(ApiKeyService).revoke(world.admin, revoked.api_key_id, None, None)
    world.clock.advance(seconds=59)
    assert world.hub.use(KeyConnections).sweep() == 0
    world.clock.advance(seconds=1)
    assert world.hub.use(KeyConnections).sweep() == 1
    assert heard.closed == [key_user(revoked.api_key_id)] * 2


def test_one_that_is_refused_keeps_no_other_open_and_an_outage_ends_the_run(tmp_path: Path) -> None:
    class Refuses(HeardRealtime):
        def __init__(self, *refused: UUID) -> None:
            super().__init__()
            self.refused = {key_user(api_key_id) for api_key_id in refused}
            self.asked = 0

        def close(self, user: str) -> bool:
            self.asked += 1
            return user not in self.refused and super().close(user)

    world = ApiKeyWorld(tmp_path)
    keys = [world.issue().key.api_key_id for _ in range(6)]
    for key in keys:
        world.hub.use(ApiKeyService).revoke(world.admin, key, None, None)
        world.clock.advance(seconds=1)
    world.clock.advance(minutes=1)
    away = Refuses()
    away.is_away = True
    assert KeyConnections(world.hub.transactions, world.clock, away).sweep() == 0
    assert away.asked == 3
    refuses = Refuses(*keys[:2])
    assert KeyConnections(world.hub.transactions, world.clock, refuses).sweep() == 4
    assert refuses.closed == [key_user(key) for key in keys[2:]]


# -- the embedded twin ------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def realtime(tmp_path: Path, clock: FakeClock) -> Iterator[EmbeddedRealtime]:
    made = EmbeddedRealtime(tmp_path, "http://localhost:7071/", clock)
    yield made
    made.shut()


def test_a_token_is_good_for_an_hour_and_for_its_hub(realtime: EmbeddedRealtime, clock: FakeClock) -> None:
    negotiated = realtime.negotiate(principal("webhook:manage"))
    assert negotiated.url == "http://localhost:7071/client/?hub=integration-hub"
    assert negotiated.access_token not in repr(negotiated)
    admitted = realtime.admit(negotiated.access_token, "integration-hub")
    assert admitted is not None
    assert admitted.groups == {f"{TENANT}.deliveryUpdated"}
    assert realtime.admit(negotiated.access_token, "another") is None
    clock.advance(minutes=59)
    assert realtime.admit(negotiated.access_token, "integration-hub") is not None
    clock.advance(minutes=1)
    assert realtime.admit(negotiated.access_token, "integration-hub") is None


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_what_is_no_token_lets_nobody_in(realtime: EmbeddedRealtime, token: str) -> None:
    assert realtime.admit(token, "integration-hub") is None


def test_another_directorys_token_lets_nobody_in(realtime: EmbeddedRealtime, tmp_path: Path) -> None:
    other = EmbeddedRealtime(tmp_path / "other", "http://localhost", FakeClock())
    assert realtime.admit(other.negotiate(principal()).access_token, "integration-hub") is None
    other.shut()


def test_closing_shuts_out_what_was_negotiated_before_and_nothing_else(
    realtime: EmbeddedRealtime, clock: FakeClock
) -> None:
    before = realtime.negotiate(principal(key=KEY)).access_token
    other = realtime.negotiate(principal()).access_token
    realtime.close(key_user(KEY))
    clock.advance(seconds=30)
    after = realtime.negotiate(principal(key=KEY)).access_token
    assert [realtime.admit(token, "integration-hub") is None for token in (before, other, after)] == [
        True,
        False,
        False,
    ]


def test_another_process_is_heard_and_its_listeners_count(
    realtime: EmbeddedRealtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = EmbeddedRealtime(tmp_path, "http://localhost", FakeClock())
    watch = other.watch()
    assert not realtime.listening(TENANT, DELIVERY_UPDATED)
    other.announce("other", frozenset({f"{TENANT}.{DELIVERY_UPDATED}"}))
    monkeypatch.setattr("infra.embedded.realtime.GROUPS_KEPT_SECONDS", -1)
    assert realtime.listening(TENANT, DELIVERY_UPDATED)
    assert not realtime.listening(TENANT, SYNC_PROGRESS)
    realtime.publish(TENANT, DELIVERY_UPDATED, [{"n": 1}])
    realtime.close("key:1")
    news = watch.look()
    assert [tuple(message) for message in news.messages] == [
        (f"{TENANT}.deliveryUpdated", "deliveryUpdated", '[{"n":1}]')
    ]
    assert news.closed == ["key:1"]
    assert watch.look() == realtime_store.NOTHING_NEW
    monkeypatch.setattr(realtime_store, "PRESENCE_SECONDS", -1.0)
    assert not realtime.listening(TENANT, DELIVERY_UPDATED)
    watch.end()
    other.shut()


def test_old_messages_do_not_pile_up(realtime: EmbeddedRealtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime_store, "ROWS_KEPT", 3)
    watch = realtime.watch()
    for number in range(10):
        realtime.publish(TENANT, SYNC_PROGRESS, [{"n": number}])
    assert [message.payloads for message in watch.look().messages] == [
        f'[{{"n":{number}}}]' for number in (7, 8, 9)
    ]
    watch.end()
