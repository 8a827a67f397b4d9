"""Bearer tokens: JSON Web Tokens (RFC 7519) signed by the configured issuer, checked as RFC 8725 advises."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    MissingRequiredClaimError,
    PyJWTError,
)

from domain.authentication.claims import principal_from_claims
from domain.core.errors import ExpiredToken, InvalidToken
from domain.core.principal import Principal, guid
from infra.app.settings import Settings
from infra.authentication.discovery import TENANT_PLACEHOLDER
from infra.authentication.keys import ALGORITHMS, KeySource, SigningKey
from infra.authentication.verified import VerifiedTokens

#: Clocks may differ by this much between the issuer and us.
LEEWAY_SECONDS: Final = 60
MAX_TOKEN_BYTES: Final = 16 * 1024

_NOT_VALID = "The token is not valid."
_TENANT_CLAIM = "tid"


class JwtVerifier:
    """A TokenVerifier for tokens of `issuer`, signed with RS256 or ES256 by a key of `keys`.

    Checks the signature, `iss`, `aud`, `exp` (required), `nbf` and `iat`, with 60 seconds of leeway. An issuer
    that holds `{tenantid}` stands for every tenant of a multi-tenant Entra ID application: the token's `iss`
    must then be its own `tid` put into the template, and so must the key's issuer where the key set states it.
    `now` gives seconds since the epoch and only decides how long a verified token is remembered. `tells_end`: whether
    a principal says when its token ends; not where a developer moves the hub's clock, by which tokens do not go.

    Raises ValueError for a multi-tenant issuer whose tenant is read from another claim than `tid`: a
    foreign tenant could then write any tenant id into its tokens.
    """

    def __init__(
        self,
        settings: Settings,
        keys: KeySource,
        *,
        issuer: str,
        now: Callable[[], float] = time.time,
        tells_end: bool = True,
    ) -> None:
        self._tells_end = tells_end
        self._multi_tenant = TENANT_PLACEHOLDER in issuer
        if self._multi_tenant and settings.auth_tenant_claim != _TENANT_CLAIM:
            raise ValueError("With {tenantid} in HUB_AUTH_ISSUER, HUB_AUTH_TENANT_CLAIM must be 'tid'.")
        self._issuer = issuer
        self._audience = settings.auth_audience
        self._tenant_claim = settings.auth_tenant_claim
        self._user_claim = settings.auth_user_claim
        self._scopes = settings.auth_scp
        self._platform_tenant = settings.platform_tenant
        self._keys = keys
        self._now = now
        self._verified = VerifiedTokens()

    def known(self, token: str) -> Principal | None:
        """See TokenVerifier."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            return None
        return self._verified.get(token, now=self._now(), generation=self._keys.generation)

    def verify(self, token: str) -> Principal:
        """See TokenVerifier."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise InvalidToken(_NOT_VALID)
        now = self._now()
        # Read before the key: should the set change meanwhile, the entry counts as outdated, not as fresh.
        generation = self._keys.generation
        principal = self._verified.get(token, now=now, generation=generation)
        if principal is None:
            claims = self._claims(token)
            expires = int(claims["exp"])
            principal = replace(
                principal_from_claims(
                    claims,
                    tenant_claim=self._tenant_claim,
                    user_claim=self._user_claim,
                    scopes=self._scopes,
                    platform_tenant=self._platform_tenant,
                ),
                expires_at=_moment(expires) if self._tells_end else None,
            )
            self._verified.put(token, principal, now=now, expires=expires, generation=generation)
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key.jwk,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=None if self._multi_tenant else self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
            if self._multi_tenant:
                self._check_tenant_issuer(claims, key)
        except PyJWTError as error:
            refused = ExpiredToken if isinstance(error, ExpiredSignatureError) else InvalidToken
            raise refused(_explain(error)) from None
        return claims

    def _key(self, kid: object) -> SigningKey:
        key = self._keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise InvalidToken(_NOT_VALID)
        return key

    def _check_tenant_issuer(self, claims: dict[str, Any], key: SigningKey) -> None:
        tenant = claims.get(_TENANT_CLAIM)
        if not isinstance(tenant, str) or guid(tenant) is None:
            raise MissingRequiredClaimError(_TENANT_CLAIM)
        expected = self._issuer.replace(TENANT_PLACEHOLDER, tenant)
        signer = expected if key.issuer is None else key.issuer.replace(TENANT_PLACEHOLDER, tenant)
        if claims["iss"] != expected or signer != expected:
            raise InvalidIssuerError


def _moment(seconds: int) -> datetime | None:
    """None for one that is too far away to be told."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _explain(error: PyJWTError) -> str:
    """Return what the caller may know. Claims are looked at only after the signature held."""
    match error:
        case ExpiredSignatureError():
            return "The token has expired."
        case ImmatureSignatureError():
            return "The token is not valid yet."
        case InvalidAudienceError():
            return "The token is meant for another audience."
        case InvalidIssuerError():
            return "The token comes from another issuer."
        case MissingRequiredClaimError():
            return f"The token lacks the claim '{error.claim}'."
        case _:
            return _NOT_VALID
