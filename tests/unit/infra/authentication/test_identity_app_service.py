"""The header of App Service Authentication."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.errors import InvalidToken
from infra.app.settings import Settings
from infra.authentication.app_service import MAX_HEADER_BYTES, principal_from_app_service

TENANT = "11111111-1111-4111-8111-111111111111"
USER = "22222222-2222-4222-8222-222222222222"
OTHER = "33333333-3333-4333-8333-333333333333"
ON = Settings(auth_app_service=True)
OFF = Settings(auth_app_service=False)

ROLE = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
NAME = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
EMAIL = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"
OID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
TID = "http://schemas.microsoft.com/identity/claims/tenantid"
SCOPE = "http://schemas.microsoft.com/identity/claims/scope"


def header(*claims: tuple[str, str], name_typ: str = NAME, role_typ: str = ROLE) -> str:
    document = {
        "auth_typ": "aad",
        "claims": [{"typ": kind, "val": value} for kind, value in claims],
        "name_typ": name_typ,
        "role_typ": role_typ,
    }
    return encode(document)


def encode(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def test_long_claim_types_are_understood() -> None:
    value = header(
        (TID, TENANT), (OID, USER), (ROLE, "audit:read"), (ROLE, "webhook:manage"), (SCOPE, "webhook:manage openid"),
        (NAME, "ada@example.com"), ("name", "Ada"),
    )  # fmt: skip
    principal = principal_from_app_service(value, ON)
    assert principal is not None
    assert (principal.tenant_id, principal.user_id) == (UUID(TENANT), UUID(USER))
    assert principal.permissions == {"webhook:manage"}, "the app may do no more for its user"
    assert principal.name == "Ada"


def test_an_email_address_is_the_callers_and_names_one_who_has_no_other_name() -> None:
    value = header((TID, TENANT), (OID, USER), (EMAIL, "ada@example.com"), name_typ=EMAIL)
    principal = principal_from_app_service(value, ON)
    assert principal is not None
    assert (principal.email, principal.name) == ("ada@example.com", "ada@example.com")


def test_short_claim_types_and_the_headers_own_role_type_are_understood() -> None:
    value = header(
        ("tid", TENANT), ("oid", USER), ("groups-as-roles", "audit:read"), role_typ="groups-as-roles"
    )
    principal = principal_from_app_service(value, ON)
    assert principal is not None
    assert principal.permissions == {"audit:read"}


def test_the_header_is_nothing_unless_the_setting_trusts_it() -> None:
    assert principal_from_app_service(header(("tid", TENANT), ("oid", USER)), OFF) is None
    assert principal_from_app_service("garbage", OFF) is None


@pytest.mark.parametrize("value", [None, ""])
def test_no_header_is_no_principal(value: str | None) -> None:
    assert principal_from_app_service(value, ON) is None


@pytest.mark.parametrize(
    "value",
    [
        "%%%",
        "é",
        "e30",
        encode([]),
        encode({}),
        encode({"claims": {}}),
        encode({"claims": ["tid"]}),
        encode({"claims": [{"typ": "tid"}]}),
        encode({"claims": [{"typ": "tid", "val": 7}]}),
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode(b"[" * 20_000).decode(),
    ],
)
def test_a_garbled_header_is_refused(value: str) -> None:
    with pytest.raises(InvalidToken, match="header is not valid"):
        principal_from_app_service(value, ON)


def test_an_oversized_header_is_refused() -> None:
    value = header(("tid", TENANT), ("oid", USER), ("filler", "x" * MAX_HEADER_BYTES))
    with pytest.raises(InvalidToken, match="header is not valid"):
        principal_from_app_service(value, ON)


@pytest.mark.parametrize("second", [("tid", OTHER), (TID, OTHER)])
def test_two_different_tenants_are_no_tenant(second: tuple[str, str]) -> None:
    with pytest.raises(InvalidToken, match="'tid'"):
        principal_from_app_service(header(("tid", TENANT), second, ("oid", USER)), ON)


def test_the_same_tenant_twice_is_one_tenant() -> None:
    principal = principal_from_app_service(header(("tid", TENANT), (TID, TENANT), ("oid", USER)), ON)
    assert principal is not None
    assert str(principal.tenant_id) == TENANT


def test_a_name_type_cannot_take_over_the_tenant() -> None:
    value = header(("tid", TENANT), ("oid", USER), name_typ="tid", role_typ="oid")
    principal = principal_from_app_service(value, ON)
    assert principal is not None
    assert (str(principal.tenant_id), principal.permissions) == (TENANT, frozenset())


@given(st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_whatever_the_header_holds_only_unauthenticated_is_raised(value: str) -> None:
    if value:
        with pytest.raises(InvalidToken):
            principal_from_app_service(value, ON)
