"""Usage: buckets, roll-up, retention; and what happens while usage cannot be counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.apikeys.model import RotateApiKey
from domain.apikeys.rate_limit import Charge, Contended, RateLimiter, RateStatus
from domain.apikeys.rules import VerificationCode
from domain.apikeys.service import ApiKeyService
from domain.apikeys.usage import UsageService
from domain.apikeys.verifier import KeyVerifier, VerificationRequest
from domain.core.errors import Unavailable, ValidationFailed
from domain.core.ports import QueueMessage
from domain.core.tenants import KnownStandings
from domain.monitoring.metrics import MetricsService
from functions.http.kit.origin import client_ip
from tests.worlds.apikey_world import START, ApiKeyWorld


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path)


def usage(world: ApiKeyWorld, key_id: Any, by: Any = "hour", **bounds: Any) -> Any:
    found = world.hub.use(UsageService).usage(
        world.admin, key_id, by=by, **{"since": None, "until": None, **bounds}
    )
    return [
        (bucket.start.isoformat()[:13], bucket.accepted, bucket.limited, bucket.refused)
        for bucket in found.buckets
    ]


def test_hours_and_days_add_up_over_a_rotation(world: ApiKeyWorld) -> None:
    old = world.issue(rateLimitPerHour=2)
    for _ in range(3):
        world.verify(old.plain)
    world.clock.advance(hours=1)
    new = world.hub.use(ApiKeyService).rotate(world.admin, old.key.api_key_id, RotateApiKey(), None)
    world.verify(old.plain)
    world.verify(new.plain, "webhook:manage")
    world.verify(new.plain)
    assert usage(world, old.key.api_key_id) == [("2026-03-01T12", 2, 1, 0), ("2026-03-01T13", 1, 0, 0)]
    assert usage(world, new.key.api_key_id) == [("2026-03-01T13", 1, 0, 1)]
    world.clock.advance(days=1)
    world.verify(new.plain)
    assert usage(world, new.key.api_key_id, "day") == [("2026-03-01T00", 1, 0, 1), ("2026-03-02T00", 1, 0, 0)]
    assert usage(world, old.key.api_key_id, "day") == [("2026-03-01T00", 3, 1, 0)]


@pytest.mark.parametrize(("seconds_later", "is_told"), [(-1, True), (0, True), (1, False)])
def test_a_key_revoked_at_the_beginning_of_the_hours_asked_for_still_has_them(
    world: ApiKeyWorld, seconds_later: int, is_told: bool
) -> None:
    issued = world.issue()
    world.verify(issued.plain)
    world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, None, None)
    since = world.clock.now() + timedelta(seconds=seconds_later)
    world.clock.advance(hours=1)
    told = world.hub.use(UsageService).hours(
        world.admin.tenant_id, None, since=since, until=world.clock.now()
    )
    assert bool(told) is is_told


def test_the_hour_at_hand_is_left_out_of_a_range_that_ends_before_it(world: ApiKeyWorld) -> None:
    issued = world.issue()
    world.verify(issued.plain)
    world.clock.advance(hours=1)
    world.verify(issued.plain)
    until = world.clock.now() - timedelta(seconds=1)
    found = usage(world, issued.key.api_key_id, since=until - timedelta(minutes=59), until=until)
    assert found == [("2026-03-01T12", 1, 0, 0)]


def test_a_range_is_bounded_and_in_order(world: ApiKeyWorld) -> None:
    key_id = world.issue().key.api_key_id
    for since, until in ((START, START), (START.replace(year=2025), START)):
        with pytest.raises(ValidationFailed):
            usage(world, key_id, since=since, until=until)


def test_the_roll_up_writes_totals_and_may_run_twice(world: ApiKeyWorld) -> None:
    issued, unused = world.issue(), world.issue()
    for _ in range(3):
        world.verify(issued.plain)
    for _ in range(2):
        assert world.hub.use(UsageService).roll_up() == 2
    key = world.hub.use(ApiKeyService).get(world.admin, issued.key.api_key_id)
    assert (key.usage_count, key.last_used_at, key.version) == (3, START, 1)
    idle = world.hub.use(ApiKeyService).get(world.admin, unused.key.api_key_id)
    assert (idle.usage_count, idle.last_used_at) == (0, None)
    world.clock.advance(hours=5)
    world.verify(issued.plain)
    world.hub.use(UsageService).roll_up()
    assert world.hub.use(ApiKeyService).get(world.admin, issued.key.api_key_id).usage_count == 4


def test_the_roll_up_keeps_refusals_of_hours_gone_by(world: ApiKeyWorld) -> None:
    issued = world.issue(rate_limit_per_hour=2)
    for _ in range(2):
        for _ in range(5):
            world.verify(issued.plain)
        world.verify(issued.plain, "apikey:verify")
        world.clock.advance(hours=2)
    for _ in range(2):
        world.hub.use(UsageService).roll_up()
    keys = world.hub.use(MetricsService).read().stored.keys
    assert (keys.active, keys.accepted, keys.limited, keys.refused) == (1, 4, 6, 2)


def test_hour_buckets_are_dropped_when_old(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path, api_key_usage_days=2)
    issued = world.issue()
    for _ in range(30):
        world.verify(issued.plain)
        world.clock.advance(hours=3)
    before = len(usage(world, issued.key.api_key_id, since=START))
    deleted = world.hub.use(UsageService).forget_old()
    left = usage(world, issued.key.api_key_id, since=START)
    assert (before, deleted, len(left)) == (30, 14, 16)
    assert world.hub.use(UsageService).forget_old() == 0


class Broken(RateLimiter):
    def __init__(self, error: Unavailable) -> None:
        self.error = error

    def charge(self, quota_id: object, charges: Sequence[Charge]) -> Sequence[RateStatus]:
        raise self.error


class Alerts:
    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, queue: str, messages: Sequence[QueueMessage]) -> None:
        self.sent += [f"{queue}: {message.body}" for message in messages]


def verifier(world: ApiKeyWorld, error: Unavailable, on_failure: Any) -> tuple[KeyVerifier, Alerts]:
    alerts = Alerts()
    key_verifier = KeyVerifier(
        world.hub.transactions,
        Broken(error),
        alerts,
        world.clock,
        on_failure=on_failure,
        standings=world.hub.use(KnownStandings),
    )
    return key_verifier, alerts


def test_while_the_store_is_down_requests_pass_and_one_alert_a_minute_is_raised(world: ApiKeyWorld) -> None:
    issued = world.issue()
    request = request_about(issued)
    key_verifier, alerts = verifier(world, Unavailable("Tables are down."), "open")
    for _ in range(5):
        result = key_verifier.verify(request)
        assert (result.code, result.rate) == (VerificationCode.VALID, None)
    assert len(alerts.sent) == 1
    assert alerts.sent[0].startswith('alerts: {"kind": "rate-limit-store-down"')
    world.clock.advance(minutes=1)
    key_verifier.verify(request)
    assert len(alerts.sent) == 2
    world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, None, None)
    assert key_verifier.verify(request).code is VerificationCode.REVOKED


def test_or_are_refused_where_the_setting_says_closed(world: ApiKeyWorld) -> None:
    closed, _ = verifier(world, Unavailable("Tables are down."), "closed")
    with pytest.raises(Unavailable):
        closed.verify(request_about(world.issue()))


def test_contention_never_lets_a_request_pass_uncounted(world: ApiKeyWorld) -> None:
    contended, alerts = verifier(world, Contended("Busy."), "open")
    with pytest.raises(Contended):
        contended.verify(request_about(world.issue()))
    assert alerts.sent == []


def request_about(issued: Any) -> Any:
    return VerificationRequest(issued.plain.hash)


async def test_requests_that_come_together_and_one_after_the_other_are_all_verified(
    world: ApiKeyWorld,
) -> None:
    issued = [world.issue(rateLimitPerHour=5) for _ in range(3)]
    for _ in range(5):
        results = await asyncio.gather(
            *(world.hub.use(KeyVerifier).verify_soon(request_about(issued[index % 3])) for index in range(6))
        )
        assert len(results) == 6
    codes = [(await world.hub.use(KeyVerifier).verify_soon(request_about(key))).code for key in issued]
    assert codes == [VerificationCode.RATE_LIMITED] * 3


@pytest.mark.parametrize(
    ("header", "hops", "expected"),
    [
        ("198.51.100.7:5555", 1, "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", 1, "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7, 10.0.0.1:80", 2, "198.51.100.7"),
        ("[2001:db8::1]:443", 1, "2001:db8::1"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("::ffff:192.0.2.9", 1, "192.0.2.9"),
        ("fe80::1%" + "z" * 60, 1, "fe80::1"),
        ("198.51.100.7", 2, None),
        ("198.51.100.7", 0, None),
        ("unknown", 1, None),
        (None, 1, None),
    ],
)
def test_only_what_our_own_proxies_wrote_is_believed(
    header: str | None, hops: int, expected: str | None
) -> None:
    assert client_ip(header, hops) == expected
