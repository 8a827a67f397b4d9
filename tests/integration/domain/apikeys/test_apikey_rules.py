"""BR-AK-01 to 07 and section 7.2."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.model import ApiKey, CreateApiKey, KeyFilter, KeyStatus, RotateApiKey, UpdateApiKey
from domain.apikeys.rules import VerificationCode, ip_allowed
from domain.apikeys.service import ApiKeyService, Issued
from domain.apikeys.verifier import INVALID, KeyVerificationService, VerifyApiKey
from domain.core.errors import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    RuleViolation,
    ValidationFailed,
)
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from infra.sql.apikeys.repository import SqlApiKeys
from tests.worlds.apikey_world import START, ApiKeyWorld


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    return ApiKeyWorld(tmp_path)


def refused(code: str, action: Callable[[], object]) -> None:
    with pytest.raises(RuleViolation) as violation:
        action()
    assert violation.value.code == code


@pytest.mark.parametrize(
    "act",
    [
        lambda keys, caller, key: keys.get(caller, key),
        lambda keys, caller, key: keys.create(caller, CreateApiKey(key_name="Mine", scopes=["events:read"])),
        lambda keys, caller, key: keys.update(caller, key, UpdateApiKey(rate_limit_per_hour=7), None),
        lambda keys, caller, key: keys.rotate(caller, key, RotateApiKey(), None),
        lambda keys, caller, key: keys.confirm_rotation(caller, key),
        lambda keys, caller, key: keys.revoke(caller, key, None, None),
    ],
    ids=["get", "create", "update", "rotate", "confirm", "revoke"],
)
def test_every_act_on_keys_needs_the_permission(
    world: ApiKeyWorld, act: Callable[[ApiKeyService, Principal, Any], object]
) -> None:
    issued = world.issue()
    nobody = world.user("webhook:manage", tenant=world.admin.tenant_id)
    with pytest.raises(Forbidden, match="integration:manage"):
        act(world.hub.use(ApiKeyService), nobody, issued.key.api_key_id)
    assert world.hub.use(ApiKeyService).get(world.admin, issued.key.api_key_id) == issued.key


def test_of_three_keys_in_a_row_the_middle_one_names_the_rotation_at_hand(world: ApiKeyWorld) -> None:
    keys, first = world.hub.use(ApiKeyService), world.issue().key.api_key_id
    second = keys.rotate(world.admin, first, RotateApiKey(), None).key.api_key_id
    keys.confirm_rotation(world.admin, second)
    third = keys.rotate(world.admin, second, RotateApiKey(), None).key.api_key_id
    keys.confirm_rotation(world.admin, second)
    active = [keys.get(world.admin, key_id).is_active for key_id in (first, second, third)]
    assert active == [False, False, True]


def update(world: ApiKeyWorld, key_id: Any, **fields: Any) -> Any:
    return world.hub.use(ApiKeyService).update(world.admin, key_id, UpdateApiKey.model_validate(fields), None)


def as_key(world: ApiKeyWorld, *scopes: str) -> Principal:
    issued = world.issue(scopes=list(scopes))
    return replace(world.admin, permissions=frozenset(scopes), api_key_id=issued.key.api_key_id)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keyName", ""),
        ("keyName", "   "),
        ("keyName", "x" * 101),
        ("keyName", "a\nb"),
        ("scopes", []),
        ("scopes", ["Events:Read"]),
        ("scopes", ["everything"]),
        ("scopes", "events:read"),
        ("rateLimitPerHour", 0),
        ("rateLimitPerHour", 10_001),
        ("rateLimitPerHour", "100"),
        ("rateLimitPerHour", True),
        ("expiresAt", "2026-12-31"),
        ("allowedIps", ["10.0.0.0/33"]),
        ("allowedIps", ["localhost"]),
        ("unknown", 1),
    ],
)
def test_a_malformed_key_request_is_refused__7_2(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        CreateApiKey.model_validate({"keyName": "Key", "scopes": ["events:read"], field: value})
    assert refusal.value.errors()[0]["loc"][0] == field


def test_the_bounds_of_section_7_2_are_taken(world: ApiKeyWorld) -> None:
    for rate in (1, 10_000):
        assert world.issue(keyName="x" * 100, rateLimitPerHour=rate).key.rate_limit_per_hour == rate


@pytest.mark.parametrize("seconds", [-1, 0])
def test_an_expiry_that_is_not_in_the_future_is_refused__7_2(world: ApiKeyWorld, seconds: int) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        world.issue(expiresAt=START + timedelta(seconds=seconds))
    assert [error.pointer for error in refusal.value.errors] == ["/expiresAt"]


def test_only_the_hash_of_a_key_is_kept__BR_AK_02(world: ApiKeyWorld, tmp_path: Path) -> None:
    issued = world.issue()
    world.verify(issued.plain)
    world.hub.use(ApiKeyService).rotate(world.admin, issued.key.api_key_id, RotateApiKey(), None)
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert issued.key.key_hash.encode() in stored
    assert issued.plain.text.encode() not in stored
    assert issued.plain.text not in repr(issued)


def test_the_limit_of_active_keys_holds_under_fifty_concurrent_creations__BR_AK_03(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path, api_key_limit_per_tenant=10)
    for _ in range(5):
        world.issue()

    def create(_: int) -> bool:
        try:
            world.issue()
        except RuleViolation as violation:
            assert violation.code == "BR-AK-03"
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(create, range(50))) == 5


def test_revoked_and_expired_keys_make_room_and_rotation_needs_none__BR_AK_03(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path, api_key_limit_per_tenant=2)
    first = world.issue(expiresAt=START + timedelta(hours=1))
    second = world.issue()
    refused("BR-AK-03", world.issue)
    world.hub.use(ApiKeyService).rotate(world.admin, second.key.api_key_id, RotateApiKey(), None)
    world.clock.advance(hours=1)
    assert world.verify(first.plain).code is VerificationCode.EXPIRED
    refused("BR-AK-03", world.issue)
    world.hub.use(ApiKeyService).confirm_rotation(world.admin, second.key.api_key_id)
    world.issue()


def test_a_key_is_refused_from_the_second_it_expires_and_revoked_by_the_timer__BR_AK_04(
    world: ApiKeyWorld,
) -> None:
    issued = world.issue(expiresAt=START + timedelta(seconds=10))
    world.clock.advance(seconds=9, microseconds=999_999)
    assert world.verify(issued.plain).code is VerificationCode.VALID
    world.clock.advance(microseconds=1)
    assert world.verify(issued.plain).code is VerificationCode.EXPIRED
    assert world.hub.use(KeyExpiry).revoke_expired() == 1
    assert world.hub.use(KeyExpiry).revoke_expired() == 0
    key = world.hub.use(ApiKeyService).get(world.admin, issued.key.api_key_id)
    assert (key.is_active, key.revoke_reason, key.revoked_by) == (False, "Expired", None)
    assert [name for name, _ in world.events()] == ["APIKeyGenerated", "APIKeyExpired", "APIKeyRevoked"]
    assert world.verify(issued.plain).code is VerificationCode.EXPIRED


def test_the_old_key_of_a_rotation_says_expired_before_and_after_the_timer__BR_AK_04(
    world: ApiKeyWorld,
) -> None:
    old = world.issue()
    command = RotateApiKey(grace_period_seconds=60)
    world.hub.use(ApiKeyService).rotate(world.admin, old.key.api_key_id, command, None)
    world.clock.advance(seconds=60)
    assert world.verify(old.plain).code is VerificationCode.EXPIRED
    assert world.hub.use(KeyExpiry).end_rotations() == 1
    assert world.verify(old.plain).code is VerificationCode.EXPIRED


def test_a_key_that_a_person_revoked_after_its_expiry_says_revoked(world: ApiKeyWorld) -> None:
    issued = world.issue(expiresAt=START + timedelta(seconds=10))
    world.clock.advance(seconds=11)
    world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, None, None)
    assert world.verify(issued.plain).code is VerificationCode.REVOKED
    assert world.hub.use(KeyExpiry).revoke_expired() == 0


def test_a_key_revoked_during_the_expiry_is_skipped_and_the_others_go_on__BR_AK_04(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [world.issue(expiresAt=START + timedelta(seconds=10)).key for _ in range(3)]
    world.clock.advance(seconds=10)
    reading = SqlApiKeys.expired

    def raced(self: SqlApiKeys, now: datetime, limit: int, *, rotated: bool) -> list[ApiKey]:
        """As where reads take no locks: one is changed between the read and the write."""
        first, *others = reading(self, now, limit, rotated=rotated)
        return [replace(first, version=first.version - 1), *others]

    with monkeypatch.context() as patched:
        patched.setattr(SqlApiKeys, "expired", raced)
        assert world.hub.use(KeyExpiry).revoke_expired() == 2
    assert world.hub.use(KeyExpiry).revoke_expired() == 1
    assert not any(world.hub.use(ApiKeyService).get(world.admin, key.api_key_id).is_active for key in keys)


def test_the_hourly_limit_is_enforced_per_key__BR_AK_05(world: ApiKeyWorld) -> None:
    mine, other = world.issue(rateLimitPerHour=2), world.issue(rateLimitPerHour=2)
    codes = [world.verify(mine.plain).code for _ in range(3)]
    assert codes == [VerificationCode.VALID, VerificationCode.VALID, VerificationCode.RATE_LIMITED]
    assert world.verify(other.plain).code is VerificationCode.VALID
    update(world, mine.key.api_key_id, rateLimitPerHour=3)
    assert world.verify(mine.plain).code is VerificationCode.VALID


def test_scopes_only_shrink__BR_AK_06(world: ApiKeyWorld) -> None:
    issued = world.issue(scopes=["events:read", "bookings:write"])
    key_id = issued.key.api_key_id
    refused("BR-AK-06", lambda: update(world, key_id, scopes=["events:read", "customers:read"]))
    assert update(world, key_id, scopes=["events:read"]).scopes == ["events:read"]
    refused("BR-AK-06", lambda: update(world, key_id, scopes=["events:read", "bookings:write"]))
    assert world.verify(issued.plain, "bookings:write").missing == ("bookings:write",)


def test_a_revoked_key_never_returns__BR_AK_07(world: ApiKeyWorld) -> None:
    issued = world.issue()
    key_id = issued.key.api_key_id
    world.hub.use(ApiKeyService).revoke(world.admin, key_id, "Leaked", None)
    refused("BR-AK-07", lambda: update(world, key_id, isActive=True))
    refused("BR-AK-07", lambda: update(world, key_id, keyName="Other"))
    refused(
        "BR-AK-07", lambda: world.hub.use(ApiKeyService).rotate(world.admin, key_id, RotateApiKey(), None)
    )
    with world.hub.transactions.write() as tx, pytest.raises(PreconditionFailed):
        tx.api_keys.update(world.admin.tenant_id, replace(issued.key, version=2))
    assert world.verify(issued.plain).code is VerificationCode.REVOKED
    world.hub.use(ApiKeyService).revoke(world.admin, key_id, "Again", None)
    assert world.hub.use(ApiKeyService).get(world.admin, key_id).revoke_reason == "Leaked"


def test_a_key_gives_no_more_than_its_creator_has(world: ApiKeyWorld) -> None:
    manager = world.user("integration:manage", tenant=world.admin.tenant_id)
    with pytest.raises(Forbidden, match="webhook:manage") as refusal:
        world.issue(manager, scopes=["integration:manage", "webhook:manage"])
    assert refusal.value.scopes == ("webhook:manage",)
    world.issue(manager, scopes=["integration:manage", "customers:read"])


def test_a_key_that_creates_keys_gives_only_its_own_scopes(world: ApiKeyWorld) -> None:
    creator = as_key(world, "integration:manage", "events:read")
    world.issue(creator, scopes=["events:read"])
    for scope in ("customers:read", "webhook:manage"):
        with pytest.raises(Forbidden, match=scope):
            world.issue(creator, scopes=["events:read", scope])


def test_rotating_a_stronger_key_is_no_way_to_get_hold_of_it(world: ApiKeyWorld) -> None:
    strong = world.issue(scopes=["webhook:manage"])
    weak = as_key(world, "integration:manage")
    with pytest.raises(Forbidden, match="webhook:manage"):
        world.hub.use(ApiKeyService).rotate(weak, strong.key.api_key_id, RotateApiKey(), None)


def test_a_closed_catalogue_refuses_what_it_does_not_hold(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path, api_key_scopes="events:read", api_key_scopes_closed=True)
    world.issue(scopes=["events:read", "webhook:manage"])
    with pytest.raises(ValidationFailed, match="customers:read"):
        world.issue(scopes=["customers:read"])


def test_another_tenants_key_is_unknown(world: ApiKeyWorld) -> None:
    issued = world.issue()
    stranger = world.user()
    keys, key_id = world.hub.use(ApiKeyService), issued.key.api_key_id
    for action in (
        lambda: keys.get(stranger, key_id),
        lambda: keys.update(stranger, key_id, UpdateApiKey(key_name="x"), None),
        lambda: keys.revoke(stranger, key_id, None, None),
        lambda: keys.rotate(stranger, key_id, RotateApiKey(), None),
        lambda: keys.confirm_rotation(stranger, key_id),
        lambda: keys.get(world.admin, uuid4()),
    ):
        with pytest.raises(NotFound):
            action()
    assert keys.page(stranger, KeyFilter(), PageRequest()).total == 0


async def test_verification_tells_a_stranger_nothing_and_takes_nothing(world: ApiKeyWorld) -> None:
    issued = world.issue(rateLimitPerHour=1)
    command = VerifyApiKey(key=issued.plain.text)
    verify = world.hub.use(KeyVerificationService).verify
    stranger = await verify(world.user(), command)
    assert (stranger.valid, stranger.code, stranger.key) == (False, "NOT_FOUND", None)
    sibling = world.user("integration:manage", "apikey:verify")
    known = await verify(sibling, command)
    assert (known.valid, known.code, known.key) == (True, "VALID", issued.key)
    hidden = await verify(sibling, command)
    assert (hidden.valid, hidden.code, hidden.key, hidden.rate) == (False, INVALID, None, None)
    own = await verify(world.admin, command)
    assert (own.code, own.key) == ("RATE_LIMITED", issued.key)


async def test_asking_without_consuming_is_free(world: ApiKeyWorld) -> None:
    issued = world.issue(rateLimitPerHour=1)
    command = VerifyApiKey(key=issued.plain.text, consume=False)
    for _ in range(3):
        verified = await world.hub.use(KeyVerificationService).verify(world.admin, command)
        assert verified.valid
        assert verified.rate is not None
        assert verified.rate.remaining == 1


@pytest.mark.parametrize(
    ("ip", "allowed"),
    [
        ("203.0.113.7", True),
        ("203.0.114.7", False),
        ("10.0.0.1", True),
        ("10.0.0.10", False),
        ("::ffff:203.0.113.7", True),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("not an address", False),
        (None, False),
    ],
)
def test_an_allow_list_is_compared_as_networks_not_as_text(
    world: ApiKeyWorld, ip: str | None, allowed: bool
) -> None:
    issued = world.issue(allowedIps=["203.0.113.99/24", "10.0.0.1", "2001:db8::/32"])
    assert issued.key.allowed_ips == ["203.0.113.0/24", "10.0.0.1", "2001:db8::/32"]
    assert ip_allowed(ip, issued.key.allowed_ips) is allowed
    assert world.verify(issued.plain, ip=ip).code is (
        VerificationCode.VALID if allowed else VerificationCode.IP_NOT_ALLOWED
    )


def test_a_key_is_not_valid_before_its_time(world: ApiKeyWorld) -> None:
    issued = world.issue(notBefore=START + timedelta(hours=1))
    assert world.verify(issued.plain).code is VerificationCode.NOT_YET_VALID
    world.clock.advance(hours=1)
    assert world.verify(issued.plain).code is VerificationCode.VALID


def test_both_keys_of_a_rotation_share_one_quota(world: ApiKeyWorld) -> None:
    old = world.issue(rateLimitPerHour=3)
    new = world.hub.use(ApiKeyService).rotate(world.admin, old.key.api_key_id, RotateApiKey(), None)
    codes = [world.verify(plain).code for plain in (old.plain, new.plain, old.plain, new.plain, old.plain)]
    assert codes.count(VerificationCode.VALID) == 3


@pytest.mark.parametrize(
    ("expires_in", "grace", "left"), [(60, 3600, 60), (7200, 3600, 3600), (None, 3600, 3600)]
)
def test_a_rotation_never_lengthens_the_old_keys_life(
    world: ApiKeyWorld, expires_in: int | None, grace: int, left: int
) -> None:
    expires_at = START + timedelta(seconds=expires_in) if expires_in else None
    old = world.issue(expiresAt=expires_at)
    issued = world.hub.use(ApiKeyService).rotate(
        world.admin, old.key.api_key_id, RotateApiKey(grace_period_seconds=grace), None
    )
    assert issued.old is not None
    assert issued.old.expires_at == START + timedelta(seconds=left)
    assert issued.key.expires_at == expires_at
    world.clock.advance(seconds=left)
    assert world.verify(old.plain).code is VerificationCode.EXPIRED


def rotated(world: ApiKeyWorld, old: Issued, **fields: Any) -> Issued:
    command = RotateApiKey.model_validate(fields)
    return world.hub.use(ApiKeyService).rotate(world.admin, old.key.api_key_id, command, None)


@pytest.mark.parametrize("seconds", [-1, 0])
def test_the_new_key_of_a_rotation_expires_in_the_future_too__7_2(world: ApiKeyWorld, seconds: int) -> None:
    old = world.issue()
    with pytest.raises(ValidationFailed) as refusal:
        rotated(world, old, expiresAt=START + timedelta(seconds=seconds))
    assert [error.pointer for error in refusal.value.errors] == ["/expiresAt"]
    assert world.verify(old.plain).code is VerificationCode.VALID
    new = rotated(world, old, expiresAt=START + timedelta(seconds=1))
    assert world.verify(new.plain).code is VerificationCode.VALID
    world.clock.advance(seconds=1)
    assert world.verify(new.plain).code is VerificationCode.EXPIRED


def test_the_new_key_of_a_rotation_expires_after_the_beginning_it_inherits__7_2(world: ApiKeyWorld) -> None:
    begins = START + timedelta(days=2)
    old = world.issue(notBefore=begins)
    for expires_at in (begins - timedelta(seconds=1), begins):
        with pytest.raises(ValidationFailed) as refusal:
            rotated(world, old, expiresAt=expires_at)
        assert [error.pointer for error in refusal.value.errors] == ["/expiresAt"]
    new = rotated(world, old, expiresAt=begins + timedelta(seconds=1))
    assert world.verify(new.plain).code is VerificationCode.NOT_YET_VALID


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_key_that_has_ended_is_neither_changed_nor_rotated(world: ApiKeyWorld, how: str) -> None:
    old = world.issue(expiresAt=START + timedelta(hours=1))
    if how == "revoked":
        world.hub.use(ApiKeyService).revoke(world.admin, old.key.api_key_id, None, None)
    world.clock.advance(hours=1)
    with pytest.raises(RuleViolation):
        rotated(world, old)
    with pytest.raises(RuleViolation):
        update(world, old.key.api_key_id, keyName="Renamed")


def test_a_confirmed_rotation_ends_the_old_key_at_once(world: ApiKeyWorld) -> None:
    old = world.issue()
    new = world.hub.use(ApiKeyService).rotate(world.admin, old.key.api_key_id, RotateApiKey(), None)
    for key_id in (old.key.api_key_id, new.key.api_key_id):
        with pytest.raises(Conflict) as pending:
            world.hub.use(ApiKeyService).rotate(world.admin, key_id, RotateApiKey(), None)
        assert pending.value.code == "rotation-pending"
    assert world.hub.use(ApiKeyService).confirm_rotation(world.admin, new.key.api_key_id) == new.key
    assert world.verify(old.plain).code is VerificationCode.REVOKED
    assert world.verify(new.plain).code is VerificationCode.VALID
    with pytest.raises(Conflict):
        world.hub.use(ApiKeyService).confirm_rotation(world.admin, old.key.api_key_id)
    assert [name for name, _ in world.events()] == ["APIKeyGenerated", "APIKeyRotated", "APIKeyRevoked"]


def test_a_rotation_without_grace_leaves_one_key(world: ApiKeyWorld) -> None:
    old = world.issue()
    new = world.hub.use(ApiKeyService).rotate(
        world.admin, old.key.api_key_id, RotateApiKey(grace_period_seconds=0), None
    )
    assert world.verify(old.plain).code is VerificationCode.REVOKED
    assert world.verify(new.plain).code is VerificationCode.VALID


def test_events_carry_the_specifications_payload__3_2(world: ApiKeyWorld) -> None:
    issued = world.issue(keyName="Mobile", scopes=["events:read"])
    world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, "Left the company", None)
    (generated, first), (revoked, second) = world.events()
    key_id, user_id = str(issued.key.api_key_id), str(world.admin.user_id)
    assert (generated, revoked) == ("APIKeyGenerated", "APIKeyRevoked")
    assert first == {
        "apiKeyId": key_id,
        "keyName": "Mobile",
        "scopes": ["events:read"],
        "expiresAt": None,
        "createdBy": user_id,
    }
    assert second == {
        "apiKeyId": key_id,
        "keyName": "Mobile",
        "revokedBy": user_id,
        "revokedAt": "2026-03-01T12:00:00.000000Z",
        "reason": "Left the company",
    }


def test_a_stale_version_is_refused(world: ApiKeyWorld) -> None:
    issued = world.issue()
    update(world, issued.key.api_key_id, keyName="Renamed")
    with pytest.raises(PreconditionFailed):
        world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, None, 1)
    world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, None, 2)


def test_lists_filter_by_status_scope_and_name(world: ApiKeyWorld) -> None:
    world.issue(keyName="Mobile", scopes=["events:read"])
    world.issue(
        keyName="Web", scopes=["tickets:write-all", "events:read"], expiresAt=START + timedelta(hours=1)
    )
    world.issue(keyName="Later", notBefore=START + timedelta(hours=3))
    revoked = world.issue(keyName="Old 100%", scopes=["bookings:write"])
    world.hub.use(ApiKeyService).revoke(world.admin, revoked.key.api_key_id, None, None)
    world.clock.advance(hours=2)

    def names(**conditions: Any) -> list[str]:
        page = world.hub.use(ApiKeyService).page(world.admin, KeyFilter(**conditions), PageRequest())
        return [key.key_name for key in page.items]

    assert names() == ["Mobile", "Web", "Later", "Old 100%"]
    assert names(status=KeyStatus.Active) == ["Mobile"]
    assert names(status=KeyStatus.Expired) == ["Web"]
    assert names(status=KeyStatus.NotYetValid) == ["Later"]
    assert names(status=KeyStatus.Revoked) == ["Old 100%"]
    assert names(scope="events:write") == []
    assert names(scope="bookings:write") == ["Old 100%"]
    assert names(name_contains="%") == ["Old 100%"]


def test_managing_keys_needs_the_permission__8_1(world: ApiKeyWorld) -> None:
    reader = world.user("audit:read")
    with pytest.raises(Forbidden, match="integration:manage"):
        world.issue(reader)


@pytest.mark.parametrize(
    ("scope", "near"),
    [
        ("webhook:mange", "webhook:manage"),
        ("webhook:read", "webhook:manage"),
        ("audit:write", "audit:read"),
        ("alerts:mangae", "alerts:manage"),
        ("events:wirte", "events:write"),
        ("integration:mangae", "integration:manage"),
    ],
)
def test_an_action_that_a_resource_of_the_hub_does_not_have_is_refused_with_the_nearest(
    world: ApiKeyWorld, scope: str, near: str
) -> None:
    with pytest.raises(ValidationFailed, match=scope) as refusal:
        world.issue(scopes=["bookings:write", scope])
    [error] = refusal.value.errors
    assert error.pointer == "/scopes"
    assert f"Did you mean {near}" in error.detail


def test_the_scopes_of_other_modules_and_those_of_the_catalogue_are_taken(tmp_path: Path) -> None:
    world = ApiKeyWorld(tmp_path, api_key_scopes="events:read webhook:audit")
    world.issue(scopes=["events:read", "webhook:audit", "seating:plan"])


def test_the_specifications_own_sample_is_taken__5_2(world: ApiKeyWorld) -> None:
    world.issue(scopes=["events:read", "customers:read", "bookings:write"])


@pytest.mark.parametrize(
    ("entry", "stored", "inside", "outside"),
    [
        ("::ffff:198.51.100.7", "198.51.100.7", "198.51.100.7", "198.51.100.8"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8", "10.9.9.9", "11.0.0.1"),
        ("::ffff:c633:6400/120", "198.51.100.0/24", "198.51.100.255", "198.51.101.0"),
        ("::ffff:0:0/96", "0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::/32", "2001:db8::1", "203.0.113.1"),
    ],
)
def test_an_ipv4_network_written_as_ipv6_allows_its_ipv4_addresses(
    world: ApiKeyWorld, entry: str, stored: str, inside: str, outside: str
) -> None:
    issued = world.issue(allowedIps=[entry])
    assert issued.key.allowed_ips == [stored]
    for allowed in (issued.key.allowed_ips, [entry]):  # as stored now, and before
        assert ip_allowed(inside, allowed)
        assert not ip_allowed(outside, allowed)
    if ":" not in inside:
        assert ip_allowed(f"::ffff:{inside}", issued.key.allowed_ips)


def test_a_range_that_reaches_beyond_the_ipv4_addresses_in_it_is_refused(world: ApiKeyWorld) -> None:
    with pytest.raises(ValidationError):
        world.issue(allowedIps=["::ffff:192.0.2.0/90"])


@pytest.mark.parametrize(
    ("ip", "allowed"),
    [
        ("203.0.113.7:54321", True),
        ("[2001:db8::5]:443", True),
        ("[2001:db8::5]", True),
        ("[::ffff:203.0.113.7]:80", True),
        ("203.0.114.7:54321", False),
        ("203.0.113.7:port", False),
        ("203.0.113.7:1:2", False),
    ],
)
def test_the_address_of_verify_may_have_a_port(world: ApiKeyWorld, ip: str, allowed: bool) -> None:
    issued = world.issue(allowedIps=["203.0.113.0/24", "2001:db8::/32"])
    asked = VerifyApiKey(key="ihk_any", ip=ip).ip
    assert ip_allowed(asked, issued.key.allowed_ips) is allowed
