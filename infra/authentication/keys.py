"""Public keys that tokens are checked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jwt import PyJWK
from jwt.exceptions import PyJWTError

#: The only algorithms accepted (RFC 8725 section 3.1): asymmetric, so a public key can never sign.
ALGORITHMS: Final = ("RS256", "ES256")

# What verification needs of a JWK (RFC 7518 section 6): a private part published by mistake is not taken in.
_PUBLIC_MEMBERS = ("kty", "alg", "crv", "x", "y", "n", "e")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of an issuer. `issuer` is the key's own issuer where the set states it (Entra ID does)."""

    jwk: PyJWK
    issuer: str | None = None


class KeySource(Protocol):
    """Where keys come from."""

    @property
    def generation(self) -> int:
        """A number that differs as soon as the key set does."""

    def find(self, kid: str) -> SigningKey | None:
        """Return the key of that id, or None when the issuer does not have it.

        Raises Unavailable when that cannot be told because the keys cannot be fetched."""


def parse_key_set(document: object) -> dict[str, SigningKey]:
    """Return the usable signing keys of a JWK Set by key id; others are left out (RFC 7517 section 5).

    Raises ValueError when the document is no key set or holds no usable key."""
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("not a JWK Set")
    keys: dict[str, SigningKey] = {}
    for member in members:
        if isinstance(member, dict) and isinstance(kid := member.get("kid"), str):
            key = _signing_key(member)
            if key is not None:
                keys.setdefault(kid, key)
    if not keys:
        raise ValueError("the JWK Set holds no usable signing key")
    return keys


def _signing_key(member: Mapping[str, Any]) -> SigningKey | None:
    if member.get("kty") not in ("RSA", "EC") or member.get("use", "sig") != "sig":
        return None
    try:
        jwk = PyJWK({name: member[name] for name in _PUBLIC_MEMBERS if name in member})
        jwk.Algorithm.prepare_key(jwk.key)  # from_jwk does not check that the curve is the algorithm's
    except (PyJWTError, LookupError, TypeError, ValueError):  # a member missing, or of a wrong type
        return None
    if jwk.algorithm_name not in ALGORITHMS:
        return None
    issuer = member.get("issuer")
    return SigningKey(jwk, issuer if isinstance(issuer, str) else None)
