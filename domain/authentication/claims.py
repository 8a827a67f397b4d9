"""Verified claims become a principal. Apart from `service`: adapters in infra/authentication need only this."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from domain.core.errors import InvalidToken
from domain.core.permissions import PERMISSIONS
from domain.core.principal import EMAIL_ADDRESS, Principal, guid
from domain.core.text_length import cut

_PERMISSION_CLAIMS = ("permissions", "roles", "scp", "scope")
_NAME_LENGTH = 200


def principal_from_claims(claims: Mapping[str, object], *, tenant_claim: str, user_claim: str) -> Principal:
    """Return the principal that verified claims describe.

    - The user is `user_claim`; only where that is absent, `sub` if it is a GUID.
    - Permissions are the union of `permissions`, `roles`, `scp` and `scope`, each a list or a space-separated string
      (RFC 8693 section 4.2, RFC 9068 section 2.2.3), less what the product does not know.
    - Raises InvalidToken naming the claim when the tenant or the user is missing or not a GUID."""
    if user_claim not in claims and guid(claims.get("sub")) is not None:
        user_claim = "sub"
    return Principal(
        tenant_id=_required_guid(claims, tenant_claim),
        user_id=_required_guid(claims, user_claim),
        permissions=frozenset(_words(claims)) & PERMISSIONS.keys(),
        name=_display_name(claims),
        email=_email(claims),
    )


def _required_guid(claims: Mapping[str, object], name: str) -> UUID:
    value = guid(claims.get(name))
    if value is None:
        problem = "is not a GUID" if name in claims else "is missing"
        raise InvalidToken(f"The claim '{name}' {problem}.")
    return value


def _words(claims: Mapping[str, object]) -> Iterator[str]:
    for name in _PERMISSION_CLAIMS:
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
