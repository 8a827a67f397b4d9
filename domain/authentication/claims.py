"""Verified claims become a principal. Apart from `service`: adapters in infra/authentication need only this."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Literal
from uuid import UUID

from domain.core.errors import InvalidToken
from domain.core.permissions import PERMISSIONS, PLATFORM_ONLY
from domain.core.principal import EMAIL_ADDRESS, Principal, guid
from domain.core.text_length import cut

logger = logging.getLogger("hub.auth")

_OF_THE_USER = ("permissions", "roles")
_OF_THE_APP = ("scp", "scope")
_NAME_LENGTH = 200
_CLIENT_LENGTH = 100
_REMEMBERED = 1_000

#: What scopes do: `needs-role` bounds what the user may do, `grants` adds to it.
ScopeMode = Literal["needs-role", "grants"]


def principal_from_claims(
    claims: Mapping[str, object],
    *,
    tenant_claim: str,
    user_claim: str,
    scopes: ScopeMode = "needs-role",
    platform_tenant: UUID | None = None,
) -> Principal:
    """Return the principal that verified claims describe.

    - The user is `user_claim`; only where that is absent, `sub` if it is a GUID.
    - Permissions come from `permissions` and `roles`, less what the product does not know. Scopes (`scp`, `scope`) are
      what the user let an app do, not what the user may do: where they name permissions, only those of the user's that
      they name are left. With `grants` they are permissions themselves. A claim is a list or a space-separated string
      (RFC 8693 section 4.2, RFC 9068 section 2.2.3).
    - What only people of the `platform_tenant` may have is dropped from every other tenant's: whoever administers
      its directory writes the roles of its tokens.
    - Raises InvalidToken naming the claim when the tenant or the user is missing or not a GUID."""
    if user_claim not in claims and guid(claims.get("sub")) is not None:
        user_claim = "sub"
    held, named = _permissions(claims, _OF_THE_USER), _permissions(claims, _OF_THE_APP)
    permissions = held | named if scopes == "grants" else held & named if named else held
    tenant_id = _required_guid(claims, tenant_claim)
    if tenant_id != platform_tenant:
        permissions -= PLATFORM_ONLY
    principal = Principal(
        tenant_id=tenant_id,
        user_id=_required_guid(claims, user_claim),
        permissions=permissions,
        name=_display_name(claims),
        email=_email(claims),
    )
    if without_role := named - principal.permissions:
        _tell(principal, claims, without_role)
    return principal


_told: OrderedDict[tuple[UUID, UUID, frozenset[str]], None] = OrderedDict()
_lock = Lock()


def _tell(principal: Principal, claims: Mapping[str, object], without_role: frozenset[str]) -> None:
    """Log, once for each user, that a token names permissions that count for nothing."""
    key = principal.tenant_id, principal.user_id, without_role
    with _lock:
        if key in _told:
            return
        _told[key] = None
        if len(_told) > _REMEMBERED:
            _told.popitem(last=False)
    client = next((text for name in ("azp", "appid") if isinstance(text := claims.get(name), str)), None)
    logger.warning(
        "scopes without a role",
        extra={
            "tenantId": str(principal.tenant_id),
            "userId": str(principal.user_id),
            "client": None if client is None else cut(client, _CLIENT_LENGTH),
            "scopes": sorted(without_role),
        },
    )


def _permissions(claims: Mapping[str, object], names: Sequence[str]) -> frozenset[str]:
    return frozenset(word for word in _words(claims, names) if word in PERMISSIONS)


def _required_guid(claims: Mapping[str, object], name: str) -> UUID:
    value = guid(claims.get(name))
    if value is None:
        problem = "is not a GUID" if name in claims else "is missing"
        raise InvalidToken(f"The claim '{name}' {problem}.")
    return value


def _words(claims: Mapping[str, object], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        value = claims.get(name)
        if isinstance(value, str):
            yield from value.split(" ")
        elif isinstance(value, list | tuple):
            yield from (word for word in value if isinstance(word, str))


def _email(claims: Mapping[str, object]) -> str | None:
    value = claims.get("email")
    return value if isinstance(value, str) and EMAIL_ADDRESS.fullmatch(value) else None


def _display_name(claims: Mapping[str, object]) -> str:
    for claim in ("name", "preferred_username"):
        value = claims.get(claim)
        if isinstance(value, str) and value:
            return cut("".join(character for character in value if character.isprintable()), _NAME_LENGTH)
    return ""
