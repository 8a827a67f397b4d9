"""App Service Authentication: the platform verified the caller and states who it is in a header.

The header is not signed; anybody can send it where the feature is off. It counts only by explicit setting.
Format: https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from domain.authentication.claims import principal_from_claims
from domain.core.errors import InvalidToken
from domain.core.principal import Principal
from infra.app.settings import Settings

#: Lower-case, as the Functions host passes header names.
PRINCIPAL_HEADER: Final = "x-ms-client-principal"
MAX_HEADER_BYTES: Final = 32 * 1024

_NOT_VALID = "The App Service Authentication header is not valid."
_LISTS = frozenset({"permissions", "roles", "scp", "scope"})
_SHORT = {
    "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid",
    "http://schemas.microsoft.com/identity/claims/tenantid": "tid",
    "http://schemas.microsoft.com/identity/claims/scope": "scp",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/role": "roles",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier": "sub",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name": "preferred_username",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress": "email",
}


def principal_from_app_service(header: str | None, settings: Settings) -> Principal | None:
    """Return the principal that the header `X-MS-CLIENT-PRINCIPAL` states, or None when there is no such header.

    Always None unless `auth_app_service` is set. Raises InvalidToken when the value is over 32 KiB, cannot be
    read, or lacks tenant or user."""
    if not settings.auth_app_service or not header:
        return None
    return principal_from_claims(
        _claims(_decode(header)),
        tenant_claim=settings.auth_tenant_claim,
        user_claim=settings.auth_user_claim,
        scopes=settings.auth_scp,
        platform_tenant=settings.platform_tenant,
    )


def _decode(header: str) -> dict[str, Any]:
    if len(header) > MAX_HEADER_BYTES:
        raise InvalidToken(_NOT_VALID)
    try:
        document = json.loads(base64.b64decode(header, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise InvalidToken(_NOT_VALID) from None
    if not isinstance(document, dict) or not isinstance(document.get("claims"), list):
        raise InvalidToken(_NOT_VALID)
    return document


def _claims(document: dict[str, Any]) -> dict[str, object]:
    names = dict(_SHORT)
    for member, short in (("role_typ", "roles"), ("name_typ", "preferred_username")):
        kind = document.get(member)
        if isinstance(kind, str) and kind not in (*names, *names.values()):
            names[kind] = short
    claims = _merge((names.get(kind, kind), value) for kind, value in _pairs(document["claims"]))
    if names.get(str(document.get("name_typ"))) == "email":
        claims.setdefault("preferred_username", claims.get("email"))
    return claims


def _pairs(entries: Iterable[object]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        match entry:
            case {"typ": str(kind), "val": str(value)}:
                yield kind, value
            case _:
                raise InvalidToken(_NOT_VALID)


def _merge(pairs: Iterable[tuple[str, str]]) -> dict[str, object]:
    """Gather the claims by name.

    Permission claims may repeat, one value each. A second, different value for any other claim leaves it with
    none: which one is true cannot be told."""
    single: dict[str, set[str]] = {}
    words: dict[str, list[str]] = {}
    for kind, value in pairs:
        if kind in _LISTS:
            words.setdefault(kind, []).extend(value.split(" "))
        else:
            single.setdefault(kind, set()).add(value)
    unambiguous = {kind: next(iter(values)) if len(values) == 1 else None for kind, values in single.items()}
    return {**unambiguous, **words}
