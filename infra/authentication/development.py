"""The development issuer: real signed tokens without an identity provider.

Its private key lives in the embedded state, so whoever can read that directory can be anybody. The
production environment never trusts it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import jwt
from jwt.algorithms import ECAlgorithm

from infra.authentication.keys import SigningKey, parse_key_set

DEVELOPMENT_ISSUER: Final = "https://issuer.integration-hub.localhost"
DEVELOPMENT_AUDIENCE: Final = "api://integration-hub"

_FILE = "dev-issuer.json"


def ensure_key(home: Path) -> dict[str, Any]:
    """Return the development issuer's private ES256 key (a JWK), made if it is not there.

    It is kept in `home/dev-issuer.json`, which appears whole and is readable by its owner only; of several
    processes that start at once, all get the same key. Raises ValueError when the file holds something else."""
    path = home / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        _create(path)
        text = path.read_text(encoding="utf-8")
    try:
        key = json.loads(text)
        jwt.PyJWK(key, "ES256")
        if not {"d", "kid"} <= key.keys():
            raise ValueError("not a private key")
    except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
        raise ValueError(f"{path} holds no development signing key; remove it and start again.") from None
    return dict(key)


def mint_token(
    home: Path,
    *,
    tenant_id: UUID,
    user_id: UUID,
    permissions: Sequence[str],
    ttl_seconds: int,
    name: str = "",
    email: str | None = None,
    audience: str = DEVELOPMENT_AUDIENCE,
) -> str:
    """Return a token of the development issuer, valid from now for `ttl_seconds`.

    It has the shape of Entra ID's tokens (`tid`, `oid`, `roles`)."""
    key = ensure_key(home)
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": DEVELOPMENT_ISSUER,
        "aud": audience,
        "iat": now,
        "nbf": now,
        "exp": now + ttl_seconds,
        "jti": secrets.token_hex(16),
        "sub": str(user_id),
        "tid": str(tenant_id),
        "oid": str(user_id),
        "roles": list(permissions),
    }
    if name:
        claims["name"] = name
    if email:
        claims["email"] = email
    return jwt.encode(claims, jwt.PyJWK(key, "ES256"), algorithm="ES256", headers={"kid": key["kid"]})


class DevelopmentKeys:
    """A KeySource of the one public key in `home`, read when the first token arrives.

    It is read again when a token names another key: the state directory may have been removed and made anew."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._keys: Mapping[str, SigningKey] = {}
        self._generation = 0

    @property
    def generation(self) -> int:
        return self._generation

    def find(self, kid: str) -> SigningKey | None:
        if kid not in self._keys:
            private = ensure_key(self._home)
            if private["kid"] not in self._keys:
                self._keys = parse_key_set({"keys": [private]})
                self._generation += 1
        return self._keys.get(kid)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(_new_key(), file)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the key another process has just put there.
        path.hardlink_to(fresh)
    except FileExistsError:
        return
    finally:
        fresh.unlink(missing_ok=True)


def _new_key() -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import ec

    key: dict[str, Any] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    required = {member: key[member] for member in ("crv", "kty", "x", "y")}
    canonical = json.dumps(required, separators=(",", ":"), sort_keys=True).encode()
    thumbprint = jwt.utils.base64url_encode(hashlib.sha256(canonical).digest()).decode()  # RFC 7638
    return {**key, "kid": thumbprint, "alg": "ES256", "use": "sig"}
