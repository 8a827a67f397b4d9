"""Whoever wants to administer the platform without being one of its people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from domain.apikeys.rules import check_grant, missing_scopes
from domain.authentication.claims import ScopeMode, principal_from_claims
from domain.core.errors import Forbidden, ValidationFailed
from domain.core.permissions import PERMISSIONS, PLATFORM_ADMIN
from domain.core.principal import Principal
from domain.tenants.service import TenantService
from infra.app.build import serving
from infra.app.settings import Settings
from tests.worlds.builders import OTHER_TENANT, OTHER_USER, TENANT, see_users
from tests.worlds.owned_world import PLATFORM_TENANT, PLATFORM_USER, OwnedWorld

SUSPEND = ("POST", "/api/platform/tenants/{tenantId}/suspend")
EVERYTHING = frozenset(PERMISSIONS)
ADMINISTRATOR = Principal(PLATFORM_TENANT, PLATFORM_USER, EVERYTHING)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OwnedWorld]:
    made = OwnedWorld(tmp_path)
    see_users(made.hub, made.owner, ADMINISTRATOR)
    with serving(made.hub):
        yield made
    made.close()


@pytest.mark.parametrize("claim", ["permissions", "roles", "scp", "scope"])
@pytest.mark.parametrize("value", [PLATFORM_ADMIN, [PLATFORM_ADMIN], f"{PLATFORM_ADMIN} audit:read"])
@pytest.mark.parametrize("platform", [PLATFORM_TENANT, None])
def test_a_claim_of_another_tenants_token_is_not_believed(
    claim: str, value: object, platform: UUID | None
) -> None:
    """Whoever administers a directory writes the roles in its tokens: the issuer is real, the claim is not ours."""
    claims = {"tid": str(OTHER_TENANT), "oid": str(OTHER_USER), claim: value}

    def is_believed(tenant: UUID, scopes: ScopeMode) -> bool:
        told = {**claims, "tid": str(tenant)}
        names = {"tenant_claim": "tid", "user_claim": "oid"}
        principal = principal_from_claims(told, **names, scopes=scopes, platform_tenant=platform)
        return PLATFORM_ADMIN in principal.permissions

    assert not is_believed(OTHER_TENANT, "needs-role")
    assert not is_believed(OTHER_TENANT, "grants")
    assert is_believed(PLATFORM_TENANT, "grants") == (platform is not None)


def test_a_scope_that_counts_for_nothing_still_bounds_what_the_app_may_do() -> None:
    claims = {
        "tid": str(OTHER_TENANT),
        "oid": str(OTHER_USER),
        "scp": PLATFORM_ADMIN,
        "roles": ["audit:read"],
    }
    principal = principal_from_claims(
        claims, tenant_claim="tid", user_claim="oid", platform_tenant=PLATFORM_TENANT
    )
    assert principal.permissions == frozenset()


def test_an_empty_setting_makes_nobody_the_platform() -> None:
    assert Settings(platform_tenant="").platform_tenant is None  # type: ignore[arg-type]
    assert Settings().platform_tenant is None


@pytest.mark.parametrize("tenant", [OTHER_TENANT, TENANT])
def test_a_token_of_another_tenant_suspends_nobody(world: OwnedWorld, tenant: UUID) -> None:
    forged = world.token(EVERYTHING, tenant=tenant, user=OTHER_USER)
    answer = world.call(*SUSPEND, {"reason": "Rival"}, forged, tenantId=str(TENANT))
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
    answer = world.call("GET", "/api/platform/tenants", None, forged)
    assert answer.status == 403


def test_no_key_is_given_the_permission_not_even_by_the_platforms_administrator(world: OwnedWorld) -> None:
    person = world.token(EVERYTHING, tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    body = {"keyName": "Automation", "scopes": ["audit:read", PLATFORM_ADMIN]}
    answer = world.call("POST", "/api/apikeys", body, person)
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "/scopes")
    with pytest.raises(ValidationFailed):
        check_grant(ADMINISTRATOR, [PLATFORM_ADMIN], catalogue=[PLATFORM_ADMIN], is_closed=False)
    scopes = world.call("GET", "/api/apikeys/scopes", None, person).body["items"]
    assert PLATFORM_ADMIN not in {item["scope"] for item in scopes}


def test_a_key_into_whose_row_the_permission_was_written_has_it_not(world: OwnedWorld) -> None:
    person = world.token(EVERYTHING, tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    body = {"keyName": "Automation", "scopes": ["integration:manage"]}
    issued = world.call("POST", "/api/apikeys", body, person).body
    with world.hub.database.write() as connection:
        changed = '["integration:manage", "platform:admin"]'
        connection.exec_driver_sql("UPDATE APIKeys SET Scopes = ?", (changed,))
        connection.commit()
    key = {"x-api-key": issued["key"]}
    for credentials in (key, {"authorization": f"Bearer {issued['key']}"}):
        answer = world.call(*SUSPEND, {"reason": "Rival"}, credentials, tenantId=str(TENANT))
        assert (answer.status, answer.body["code"]) == (403, "insufficient-scope")
    # Nor does one that it makes, and nobody who asks is told that it has it.
    body = {"keyName": "Child", "scopes": [PLATFORM_ADMIN]}
    assert world.call("POST", "/api/apikeys", body, key).status == 422
    asked = {"key": issued["key"], "scopes": [PLATFORM_ADMIN], "consume": False}
    assert world.call("POST", "/api/apikeys/verify", asked, person).body["code"] == "INSUFFICIENT_SCOPES"
    assert missing_scopes([PLATFORM_ADMIN], [PLATFORM_ADMIN]) == (PLATFORM_ADMIN,)


def test_the_use_case_refuses_a_key_whatever_it_holds(world: OwnedWorld) -> None:
    key = Principal(PLATFORM_TENANT, PLATFORM_USER, EVERYTHING, api_key_id=UUID(int=9))
    with pytest.raises(Forbidden):
        world.hub.use(TenantService).get(key, TENANT)


def test_the_platforms_administrator_does_not_shut_out_the_platform(world: OwnedWorld) -> None:
    person = world.token(EVERYTHING, tenant=PLATFORM_TENANT, user=PLATFORM_USER)
    own = {"tenantId": str(PLATFORM_TENANT)}
    answer = world.call(*SUSPEND, {"reason": "A slip"}, person, **own)
    assert (answer.status, answer.body["code"]) == (409, "platform-tenant")
    assert world.call("DELETE", "/api/platform/tenants/{tenantId}", None, person, **own).status == 409
    for unknown in (UUID(int=0), UUID(int=12345)):
        answer = world.call(*SUSPEND, {"reason": "Nobody"}, person, tenantId=str(unknown))
        assert answer.status == 404
