"""Claims become a principal, or an error that names the claim."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.authentication.claims import principal_from_claims
from domain.core.errors import InvalidToken
from domain.core.permissions import PERMISSIONS
from domain.core.principal import Principal, guid

TENANT = UUID("11111111-1111-4111-8111-111111111111")
USER = UUID("22222222-2222-4222-8222-222222222222")
OTHER = UUID("33333333-3333-4333-8333-333333333333")


def principal(**claims: Any) -> Principal:
    return principal_from_claims(
        {"tid": str(TENANT), "oid": str(USER), **claims}, tenant_claim="tid", user_claim="oid"
    )


@pytest.mark.parametrize(
    ("claims", "needs_role", "grants"),
    [
        ({"permissions": ["events:write"]}, {"events:write"}, {"events:write"}),
        ({"roles": ["audit:read", "webhook:manage"]}, {"audit:read", "webhook:manage"}, ...),
        ({"roles": ["audit:read"], "permissions": "events:write"}, {"audit:read", "events:write"}, ...),
        ({"scp": "events:write audit:read"}, set(), {"events:write", "audit:read"}),
        ({"scp": ["events:write"]}, set(), {"events:write"}),
        ({"scope": "openid events:write"}, set(), {"events:write"}),
        ({"roles": ["audit:read"], "scp": "events:write"}, set(), {"audit:read", "events:write"}),
        (
            {"roles": ["audit:read", "events:write"], "scp": "events:write"},
            {"events:write"},
            {"audit:read", "events:write"},
        ),
        (
            {"permissions": ["audit:read", "events:write"], "scope": ["audit:read", "alerts:read"]},
            {"audit:read"},
            {"audit:read", "events:write", "alerts:read"},
        ),
        ({"roles": ["audit:read"], "scp": "access_as_user"}, {"audit:read"}, ...),
        ({"roles": ["audit:read"], "scp": ""}, {"audit:read"}, ...),
        ({"roles": ["integration:ADMIN", "*", "", 7, None, ["events:write"]]}, set(), ...),
        ({"roles": {"events:write": True}, "scp": 3}, set(), ...),
        ({}, set(), ...),
    ],
)
def test_permissions_are_the_users_and_scopes_bound_them_unless_they_grant(
    claims: dict[str, Any], needs_role: set[str], grants: Any
) -> None:
    ids = {"tid": str(TENANT), "oid": str(USER), **claims}
    assert principal(**claims).permissions == needs_role
    granted = principal_from_claims(ids, tenant_claim="tid", user_claim="oid", scopes="grants")
    assert granted.permissions == (needs_role if grants is ... else grants)


@pytest.mark.parametrize(
    ("email", "kept"),
    [
        ("admin@b.example", "admin@b.example"),
        ("Admin <admin@b.example>", None),
        ("a@b.example,c@d.example", None),
        ("admin", None),
        (["admin@b.example"], None),
        ("", None),
    ],
)
def test_the_callers_email_is_the_claim_of_that_name_if_it_is_one_address(
    email: Any, kept: str | None
) -> None:
    assert principal(email=email, preferred_username="other@b.example").email == kept
    assert principal(preferred_username="other@b.example", upn="other@b.example").email is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
        ("\N{GRINNING FACE}" * 100, "\N{GRINNING FACE}" * 100),
        ("x" + "\N{GRINNING FACE}" * 100, "x" + "\N{GRINNING FACE}" * 99),
        ("Zo\x00ë", "Zoë"),
    ],
)
def test_a_name_is_cut_to_what_its_column_takes(name: str, shown: str) -> None:
    assert principal(name=name).name == shown


def test_the_user_is_the_user_claim_even_beside_a_sub_that_is_a_guid() -> None:
    assert principal(sub=str(OTHER)).user_id == USER


def test_a_guid_sub_stands_in_for_a_missing_user_claim() -> None:
    claims = {"tid": str(TENANT), "sub": str(OTHER)}
    assert principal_from_claims(claims, tenant_claim="tid", user_claim="oid").user_id == OTHER


@pytest.mark.parametrize("sub", [None, "auth0|7", 7])
def test_a_sub_that_is_no_guid_does_not(sub: object) -> None:
    with pytest.raises(InvalidToken, match=r"The claim 'oid' is missing\."):
        principal_from_claims({"tid": str(TENANT), "sub": sub}, tenant_claim="tid", user_claim="oid")


def test_a_bad_user_claim_is_refused_and_not_replaced_by_sub() -> None:
    with pytest.raises(InvalidToken, match=r"The claim 'oid' is not a GUID\."):
        principal(oid="nobody", sub=str(OTHER))


def test_a_missing_tenant_is_named() -> None:
    with pytest.raises(InvalidToken, match=r"The claim 'org' is missing\."):
        principal_from_claims({"oid": str(USER)}, tenant_claim="org", user_claim="oid")


@pytest.mark.parametrize(
    "value",
    [
        f"{{{TENANT}}}",
        f"urn:uuid:{TENANT}",
        TENANT.hex,
        f"{TENANT}\n",
        f" {TENANT}",
        "\u0661" * 8,
        1,
        None,
        [],
        "",
    ],
)
def test_a_tenant_has_one_spelling_only(value: object) -> None:
    with pytest.raises(InvalidToken, match=r"The claim 'tid' is not a GUID\."):
        principal(tid=value)


def test_the_name_is_shortened_and_cannot_break_a_log_line() -> None:
    assert principal(name="Ada\r\nLovelace\x1b[31m").name == "AdaLovelace[31m"
    assert len(principal(name="x" * 5000).name) == 200
    assert principal(preferred_username="ada@example.com").name == "ada@example.com"
    assert principal(name=["Ada"]).name == ""


@given(st.uuids())
def test_every_guid_is_read_in_either_case(value: UUID) -> None:
    assert guid(str(value)) == guid(str(value).upper()) == value


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_names = st.sampled_from(["tid", "oid", "sub", "permissions", "roles", "scp", "scope", "name"])
_values = _json | st.uuids().map(str) | st.lists(st.sampled_from(sorted(PERMISSIONS)))


@given(st.dictionaries(_names, _values))
def test_any_claims_give_a_principal_of_just_those_ids_or_unauthenticated(claims: dict[str, Any]) -> None:
    try:
        found = principal_from_claims(claims, tenant_claim="tid", user_claim="oid")
    except InvalidToken as error:
        assert "'tid'" in error.detail or "'oid'" in error.detail
    else:
        assert str(found.tenant_id) == claims["tid"].lower()
        assert str(found.user_id) == claims.get("oid", claims.get("sub", "")).lower()
        assert found.permissions <= PERMISSIONS.keys()
        assert all(permission in json.dumps(claims) for permission in found.permissions)
