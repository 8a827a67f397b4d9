"""A leaked key, or somebody who may do less than an administrator, makes and changes keys to get more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.apikeys.model import RotateApiKey, UpdateApiKey
from domain.apikeys.rules import VerificationCode
from domain.apikeys.service import ApiKeyService, Issued
from domain.core.errors import Forbidden
from domain.core.principal import Principal
from domain.incoming.model import UpdateIncoming
from domain.recommendations.decisions import Applier
from domain.recommendations.model import Change, Operation, RecommendationSubject, SubjectType
from domain.webhooks.service import WebhookService
from tests.worlds.apikey_world import START, ApiKeyWorld
from tests.worlds.builders import HeardRealtime
from tests.worlds.incoming_desk import OWNER, Desk

SCOPES = ["integration:manage", "events:read"]
SOON = START + timedelta(hours=1)
OFFICE = ["203.0.113.0/24"]


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path)


def leaked(world: ApiKeyWorld, **limits: Any) -> tuple[Issued, Principal]:
    """Return a key that manages keys, and who calls with it; its allow list is that of the caller."""
    key = world.issue(**{"scopes": SCOPES, **limits})
    return key, caller_of(world, key)


def caller_of(world: ApiKeyWorld, key: Issued) -> Principal:
    verified = world.verify(key.plain, ip="203.0.113.7")
    assert verified.code is VerificationCode.VALID
    return Principal(
        key.key.tenant_id, key.key.created_by, frozenset(key.key.scopes), api_key_id=key.key.api_key_id
    )


def refused(action: Callable[[], object], code: str) -> str:
    with pytest.raises(Forbidden) as refusal:
        action()
    assert refusal.value.code == code
    return refusal.value.detail


@pytest.mark.parametrize(
    ("limits", "wanted", "said"),
    [
        ({"expiresAt": SOON}, {"expiresAt": SOON + timedelta(microseconds=1)}, "expires later"),
        ({"allowedIps": OFFICE}, {"allowedIps": []}, "anywhere"),
        ({"allowedIps": OFFICE}, {"allowedIps": ["203.0.112.0/23"]}, "203.0.112.0/23"),
        ({"allowedIps": OFFICE}, {"allowedIps": ["203.0.113.7", "::/0"]}, "::/0"),
        ({"allowedIps": OFFICE}, {"allowedIps": ["::ffff:198.51.100.0/120"]}, "198.51.100.0/24"),
        ({"allowedIps": ["203.0.113.0/24", "0.0.0.0/1"]}, {"allowedIps": ["0.0.0.0/0"]}, "0.0.0.0/0"),
        ({"rateLimitPerHour": 10}, {"rateLimitPerHour": 11}, "11"),
    ],
)
def test_a_key_makes_no_key_that_has_more_than_itself(
    world: ApiKeyWorld, limits: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    _, thief = leaked(world, **limits)
    assert said in refused(lambda: world.issue(thief, **wanted), "exceeds-credential")


def test_what_a_key_leaves_out_its_child_inherits(world: ApiKeyWorld) -> None:
    key, thief = leaked(world, expiresAt=SOON, allowedIps=OFFICE, rateLimitPerHour=50)
    child = world.issue(thief, expiresAt=None).key
    assert (child.expires_at, child.allowed_ips, child.rate_limit_per_hour) == (SOON, OFFICE, 5)
    assert child.made_by_key == key.key.api_key_id


def test_ranges_are_compared_as_sets_of_addresses(world: ApiKeyWorld) -> None:
    _, halves = leaked(
        world, allowedIps=["203.0.113.0/25", "203.0.113.128/25", "2001:db8::/33", "2001:db8:8000::/33"]
    )
    whole = ["203.0.113.0/24", "2001:db8::/32"]
    assert world.issue(halves, allowedIps=whole).key.allowed_ips == whole
    own, caller = leaked(world, allowedIps=["203.0.113.0/24"])
    tightened = UpdateApiKey.model_validate({"allowedIps": ["203.0.113.64/26", "203.0.113.0/26"]})
    world.hub.use(ApiKeyService).update(caller, own.key.api_key_id, tightened, None)
    widened = UpdateApiKey.model_validate({"allowedIps": ["203.0.113.0/25", "203.0.113.128/32"]})
    assert "203.0.113.128" in refused(
        lambda: world.hub.use(ApiKeyService).update(caller, own.key.api_key_id, widened, None),
        "person-needed",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"allowedIps": []},
        {"allowedIps": ["203.0.113.0/24", "198.51.100.1"]},
        {"rateLimitPerHour": 51},
        {"scopes": [*SCOPES, "audit:read"]},
    ],
)
def test_a_key_loosens_neither_itself_nor_another(world: ApiKeyWorld, change: dict[str, Any]) -> None:
    own, thief = leaked(world, allowedIps=OFFICE, rateLimitPerHour=50)
    child = world.issue(thief, rateLimitPerHour=50)
    service, command = world.hub.use(ApiKeyService), UpdateApiKey.model_validate(change)
    for key in (own, child):
        refused(lambda key=key: service.update(thief, key.key.api_key_id, command, None), "person-needed")  # type: ignore[misc]
    if "scopes" not in change:
        assert service.update(world.admin, own.key.api_key_id, command, None).version == 2


def test_a_rotation_by_a_key_outlives_nothing(world: ApiKeyWorld) -> None:
    service = world.hub.use(ApiKeyService)
    own, thief = leaked(world, expiresAt=SOON)
    later = RotateApiKey.model_validate({"expiresAt": (SOON + timedelta(days=900)).isoformat()})
    refused(lambda: service.rotate(thief, own.key.api_key_id, later, None), "person-needed")
    child = world.issue(thief, expiresAt=SOON - timedelta(minutes=1))
    to_own_end = RotateApiKey.model_validate({"expiresAt": SOON.isoformat()})
    refused(lambda: service.rotate(thief, child.key.api_key_id, to_own_end, None), "person-needed")
    assert service.rotate(thief, own.key.api_key_id, RotateApiKey(), None).key.expires_at == SOON
    assert service.rotate(world.admin, child.key.api_key_id, to_own_end, None).key.expires_at == SOON


_ACTS: dict[str, Callable[[ApiKeyService, Principal, UUID], object]] = {
    "update": lambda keys, caller, key: keys.update(caller, key, UpdateApiKey(description="mine"), None),
    "rotate": lambda keys, caller, key: keys.rotate(caller, key, RotateApiKey(), None),
    "revoke": lambda keys, caller, key: keys.revoke(caller, key, "mine", None),
}


@pytest.mark.parametrize("act", _ACTS.values(), ids=_ACTS)
@pytest.mark.parametrize(
    ("stronger", "code"),
    [
        ({"scopes": ["audit:read"]}, "insufficient-scope"),
        ({"expiresAt": SOON + timedelta(hours=1)}, "exceeds-credential"),
        ({"expiresAt": SOON, "allowedIps": []}, "exceeds-credential"),
        ({"expiresAt": SOON, "allowedIps": OFFICE, "rateLimitPerHour": 51}, "exceeds-credential"),
    ],
)
def test_a_key_reaches_no_key_that_it_could_not_have_made(
    world: ApiKeyWorld,
    act: Callable[[ApiKeyService, Principal, UUID], object],
    stronger: dict[str, Any],
    code: str,
) -> None:
    victim = world.issue(**{"allowedIps": OFFICE, "rateLimitPerHour": 50, **stronger}).key
    _, thief = leaked(world, expiresAt=SOON, allowedIps=OFFICE, rateLimitPerHour=50)
    refused(lambda: act(world.hub.use(ApiKeyService), thief, victim.api_key_id), code)
    assert world.hub.use(ApiKeyService).get(world.admin, victim.api_key_id) == victim


@pytest.mark.parametrize("act", _ACTS.values(), ids=_ACTS)
def test_a_person_reaches_no_key_with_permissions_that_they_lack(
    world: ApiKeyWorld, act: Callable[[ApiKeyService, Principal, UUID], object]
) -> None:
    victim = world.issue(scopes=["audit:read", "bookings:read"]).key
    clerk = world.user("integration:manage", tenant=world.admin.tenant_id)
    assert "audit:read" in refused(
        lambda: act(world.hub.use(ApiKeyService), clerk, victim.api_key_id), "insufficient-scope"
    )
    assert (
        act(world.hub.use(ApiKeyService), clerk, world.issue(scopes=["bookings:read"]).key.api_key_id)
        != victim
    )


def test_a_key_confirms_no_rotation_of_a_stronger_one(world: ApiKeyWorld) -> None:
    service = world.hub.use(ApiKeyService)
    victim = service.rotate(
        world.admin, world.issue(scopes=["audit:read"]).key.api_key_id, RotateApiKey(), None
    )
    _, thief = leaked(world)
    refused(lambda: service.confirm_rotation(thief, victim.key.api_key_id), "insufficient-scope")
    own, _ = leaked(world)
    successor = service.rotate(caller_of(world, own), own.key.api_key_id, RotateApiKey(), None)
    assert service.confirm_rotation(caller_of(world, successor), own.key.api_key_id) == successor.key


def test_a_key_launders_no_quota_through_children_and_their_children(world: ApiKeyWorld) -> None:
    service = world.hub.use(ApiKeyService)
    _, thief = leaked(world, rateLimitPerHour=100)
    child = world.issue(thief, scopes=SCOPES, rateLimitPerHour=60)
    refused(lambda: world.issue(thief, rateLimitPerHour=41), "exceeds-credential")
    grandchild = world.issue(caller_of(world, child), scopes=SCOPES, rateLimitPerHour=40)
    refused(lambda: world.issue(caller_of(world, grandchild), rateLimitPerHour=1), "exceeds-credential")
    # Used up and thrown away, or made smaller afterwards, it still counts.
    service.update(thief, child.key.api_key_id, UpdateApiKey(rate_limit_per_hour=1), None)
    service.revoke(thief, grandchild.key.api_key_id, None, None)
    refused(lambda: world.issue(thief, rateLimitPerHour=1), "exceeds-credential")
    # Neither does a rotation begin anew: a line shares one quota.
    rotated = service.rotate(thief, thief_id(thief), RotateApiKey(grace_period_seconds=0), None)
    refused(lambda: world.issue(caller_of(world, rotated), rateLimitPerHour=1), "exceeds-credential")
    world.clock.advance(minutes=60, microseconds=1)
    assert world.issue(caller_of(world, rotated), rateLimitPerHour=40).key.rate_limit_per_hour == 40


def thief_id(thief: Principal) -> UUID:
    assert thief.api_key_id is not None
    return thief.api_key_id


def test_a_key_that_was_tightened_or_ended_since_its_request_came_is_judged_as_it_is_now(
    world: ApiKeyWorld,
) -> None:
    service = world.hub.use(ApiKeyService)
    key, thief = leaked(world)
    service.update(world.admin, key.key.api_key_id, UpdateApiKey(scopes=["integration:manage"]), None)
    refused(lambda: world.issue(thief, scopes=["events:read"]), "insufficient-scope")
    service.revoke(world.admin, key.key.api_key_id, None, None)
    refused(lambda: world.issue(thief, scopes=["integration:manage"]), "forbidden")


async def test_a_recommendation_applied_by_a_key_loosens_nothing(world: ApiKeyWorld) -> None:
    key, thief = leaked(world)
    subject = RecommendationSubject(SubjectType.ApiKey, key.key.api_key_id, "Key", 1)
    more = Change(Operation.UpdateApiKey, {"rateLimitPerHour": 5_000})
    applier = Applier(
        world.hub.use(WebhookService), world.hub.use(ApiKeyService), lambda: pytest.fail("no sync")
    )
    with pytest.raises(Forbidden) as refusal:
        await applier.apply(thief, subject, more)
    assert refusal.value.code == "person-needed"
    await applier.apply(world.admin, subject, more)


@pytest.mark.parametrize(
    ("change", "closes"),
    [
        ({"scopes": ["integration:manage"]}, True),
        ({"allowedIps": ["203.0.113.0/25"]}, True),
        ({"allowedIps": ["203.0.113.0/25", "203.0.113.128/25"]}, False),
        ({"scopes": ["integration:manage", "webhook:manage"]}, False),
        ({"rateLimitPerHour": 1}, False),
    ],
)
def test_a_connection_does_not_outlast_what_let_it_in(
    world: ApiKeyWorld, change: dict[str, Any], closes: bool
) -> None:
    heard = HeardRealtime()
    world.hub.__dict__["realtime"] = heard
    key = world.issue(scopes=["integration:manage", "webhook:manage", "events:read"], allowedIps=OFFICE).key
    command = UpdateApiKey.model_validate(change)
    world.hub.use(ApiKeyService).update(world.admin, key.api_key_id, command, None)
    assert heard.closed == [f"key:{key.api_key_id}"] * closes


def test_a_key_lets_no_further_addresses_send_webhooks(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    integration, service = desk.stripe.integration_id, desk.service
    thief = replace(OWNER, api_key_id=UUID(int=7))
    whole, half = (
        UpdateIncoming(allowed_ips=["203.0.113.0/24"]),
        UpdateIncoming(allowed_ips=["203.0.113.0/25"]),
    )
    service.update(thief, integration, whole, None)
    service.update(thief, integration, half, None)
    for wider in (
        whole,
        UpdateIncoming(allowed_ips=[]),
        UpdateIncoming(allowed_ips=["203.0.113.1", "2001:db8::1"]),
    ):
        refused(lambda wider=wider: service.update(thief, integration, wider, None), "person-needed")  # type: ignore[misc]
    assert service.settings(OWNER, integration).endpoint.allowed_ips == half.allowed_ips
    service.update(OWNER, integration, UpdateIncoming(allowed_ips=[]), None)
