"""From a request's credentials to a principal."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from uuid import UUID

from domain.apikeys.key_format import MARK, PlainKey, parse_key, safe_prefix
from domain.apikeys.rate_limit import RateStatus
from domain.apikeys.rules import VerificationCode
from domain.apikeys.verifier import KeyVerifier, VerificationRequest, VerificationResult
from domain.authentication.intruders import Strangers
from domain.authentication.ports import PrincipalTransaction, TokenVerifier
from domain.core.errors import (
    DomainError,
    Forbidden,
    InvalidToken,
    RateLimited,
    TwoCredentials,
    Unauthenticated,
)
from domain.core.ports import Clock
from domain.core.principal import Principal, RequestOrigin
from domain.core.transaction import Transactions, repeated
from domain.core.wire import rfc3339

_REMEMBERED = 10_000
_NO_KEY = "The API key is not valid."
attempts = logging.getLogger("hub.auth")
"""Every attempt to authenticate, good (INFO) and bad (WARNING), section 12.2."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the request carried: the Authorization header, X-MS-CLIENT-PRINCIPAL, which counts only where App
    Service Authentication is trusted, and X-API-Key. None appears in a repr."""

    authorization: str | None = field(default=None, repr=False)
    client_principal: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    origin: RequestOrigin = field(default=RequestOrigin())


@dataclass(frozen=True, slots=True)
class Admission:
    """Who it is, or why not; for an API key also how its quota stands, either way."""

    principal: Principal | None
    error: DomainError | None = None
    rate: RateStatus | None = None

    def require(self) -> Principal:
        """The principal. Raises the error."""
        if self.error is not None:
            raise self.error
        assert self.principal is not None
        return self.principal


class Authenticator:
    """Every endpoint's first step (section 8.1)."""

    def __init__(
        self,
        verifier: TokenVerifier,
        transactions: Transactions[PrincipalTransaction],
        clock: Clock,
        *,
        from_client_principal: Callable[[str | None], Principal | None],
        gate: KeyVerifier,
        strangers: Strangers,
    ) -> None:
        self._strangers = strangers
        self._verifier = verifier
        self._transactions = transactions
        self._clock = clock
        self._from_client_principal = from_client_principal
        self._gate = gate
        self._seen: OrderedDict[tuple[UUID, UUID], None] = OrderedDict()
        self._lock = Lock()

    def authenticate(self, credentials: Credentials) -> Principal:
        """Raises Unauthenticated, RateLimited, or Unavailable when what it takes cannot be had."""
        return self.admit(credentials).require()

    def admit(self, credentials: Credentials, permission: str | None = None) -> Admission:
        """Authenticate, and see whether the principal has `permission`. A request refused for whatever reason
        takes nothing of a key's quota. Raises Unavailable."""
        found = self._presented(credentials)
        if isinstance(found, PlainKey):
            ruling = self._gate.rule(_question(found, permission, credentials))
            return self._of_key(found, ruling, credentials)
        return found or self._of_user(credentials, permission)

    async def admit_soon(self, credentials: Credentials, permission: str | None = None) -> Admission:
        """The same for an event loop, without leaving it for a user met before."""
        found = self._presented(credentials)
        if isinstance(found, PlainKey):
            ruling = await self._gate.rule_soon(_question(found, permission, credentials))
            return self._of_key(found, ruling, credentials)
        if found is not None:
            return found
        known = self._known(credentials)
        if known is not None:
            return self._admitted(known, credentials, permission)
        return await asyncio.to_thread(self._of_user, credentials, permission)

    # -- API keys -----------------------------------------------------------------------------------------

    def _presented(self, credentials: Credentials) -> PlainKey | Admission | None:
        """The API key that the request carries, the refusal of what is no key, None when there is none."""
        text = credentials.api_key
        if text is not None and credentials.authorization:
            return self._refused(
                TwoCredentials("Send one credential: X-API-Key or Authorization, not both."), credentials, ""
            )
        if text is None:
            text = _bearer_key(credentials.authorization)
            if text is None:
                return None
        key = parse_key(text.strip())
        if key is None:
            return self._refused(
                InvalidToken(_NO_KEY, code="invalid-key"), credentials, safe_prefix(text.strip())
            )
        return key

    def _of_key(self, plain: PlainKey, ruling: VerificationResult, credentials: Credentials) -> Admission:
        key = ruling.key
        error = _refusal(ruling)
        if error is not None:
            return self._refused(error, credentials, plain.prefix, ruling)
        assert key is not None
        if attempts.isEnabledFor(logging.INFO):
            attempts.info(
                "authenticated",
                extra={
                    "outcome": "accepted",
                    "keyPrefix": plain.prefix,
                    "apiKeyId": str(key.api_key_id),
                    "tenantId": str(key.tenant_id),
                    "ip": credentials.origin.ip,
                },
            )
        principal = Principal(
            tenant_id=key.tenant_id,
            user_id=key.created_by,
            permissions=frozenset(key.scopes),
            name=key.key_name,
            api_key_id=key.api_key_id,
            origin=credentials.origin,
            expires_at=key.expires_at,
        )
        return Admission(principal, rate=ruling.rate)

    def _refused(
        self,
        error: DomainError,
        credentials: Credentials,
        prefix: str,
        ruling: VerificationResult | None = None,
    ) -> Admission:
        key = ruling.key if ruling else None
        if key is None:
            self._strangers.note(credentials.origin.ip, self._clock.now())
        attempts.warning(
            "authentication refused",
            extra={
                "outcome": "refused",
                "reason": ruling.verdict.value if ruling else error.code,
                "keyPrefix": prefix or None,
                "apiKeyId": str(key.api_key_id) if key else None,
                "tenantId": str(key.tenant_id) if key else None,
                "ip": credentials.origin.ip,
            },
        )
        return Admission(None, error, ruling.rate if ruling else None)

    # -- users --------------------------------------------------------------------------------------------

    def _of_user(self, credentials: Credentials, permission: str | None) -> Admission:
        try:
            principal = self._user(credentials)
            self._remember(principal)
        except Unauthenticated as error:
            return self._refused(error, credentials, "")
        return self._admitted(principal, credentials, permission)

    def _admitted(self, principal: Principal, credentials: Credentials, permission: str | None) -> Admission:
        principal = Principal(
            principal.tenant_id,
            principal.user_id,
            principal.permissions,
            principal.name,
            principal.api_key_id,
            credentials.origin,
            principal.expires_at,
        )
        if attempts.isEnabledFor(logging.INFO):
            attempts.info(
                "authenticated",
                extra={
                    "outcome": "accepted",
                    "userId": str(principal.user_id),
                    "tenantId": str(principal.tenant_id),
                    "ip": credentials.origin.ip,
                },
            )
        try:
            if permission:
                principal.require(permission)
        except Forbidden as error:
            return Admission(principal, error)
        return Admission(principal)

    def _known(self, credentials: Credentials) -> Principal | None:
        """The principal of a token for whom nothing needs to be fetched or stored."""
        principal = self._verifier.known((credentials.authorization or "").partition(" ")[2].strip())
        if principal is None or (principal.tenant_id, principal.user_id) not in self._seen:
            return None
        return principal

    def _user(self, credentials: Credentials) -> Principal:
        if credentials.authorization:
            scheme, _, token = credentials.authorization.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Unauthenticated("The Authorization header must be `Bearer <token>`.")
            return self._verifier.verify(token.strip())
        vouched = self._from_client_principal(credentials.client_principal)
        if vouched is not None:
            return vouched
        raise Unauthenticated(
            "Credentials are needed: send `Authorization: Bearer <token>` or `X-API-Key: <key>`."
        )

    @repeated
    def _remember(self, principal: Principal) -> None:
        """Rows refer to Users; a user met before in this process costs nothing."""
        key = (principal.tenant_id, principal.user_id)
        with self._lock:
            if key in self._seen:
                return
        with self._transactions.write() as tx:
            tx.users.see(principal.tenant_id, principal.user_id, principal.name, self._clock.now())
            tx.commit()
        with self._lock:
            self._seen[key] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)


def _question(key: PlainKey, permission: str | None, credentials: Credentials) -> VerificationRequest:
    origin = credentials.origin
    scopes = (permission,) if permission else ()
    return VerificationRequest(key.hash, scopes, origin.ip, client=origin.client, country=origin.country)


def _bearer_key(authorization: str | None) -> str | None:
    """The token of `Bearer ihk_...`; None for any other."""
    if not authorization:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(MARK) else None


def _refusal(ruling: VerificationResult) -> DomainError | None:
    """Section 11.2. Whoever holds the whole key may know that it expired; of an unknown and a revoked one
    they learn the same."""
    key, rate = ruling.key, ruling.rate
    match ruling.verdict:
        case VerificationCode.VALID:
            return None
        case VerificationCode.EXPIRED if key is not None and key.expires_at is not None:
            return InvalidToken(f"The API key expired at {rfc3339(key.expires_at)}.", code="expired-key")
        case VerificationCode.NOT_YET_VALID if key is not None and key.not_before is not None:
            return InvalidToken(
                f"The API key is not valid before {rfc3339(key.not_before)}.", code="key-not-yet-valid"
            )
        case VerificationCode.IP_NOT_ALLOWED:
            return Forbidden("The API key may not be used from this address.", code="ip-not-allowed")
        case VerificationCode.INSUFFICIENT_SCOPES:
            scopes = ", ".join(ruling.missing)
            return Forbidden(
                f"The API key lacks the scope '{scopes}'.", code="insufficient-scope", scopes=ruling.missing
            )
        case VerificationCode.RATE_LIMITED if rate is not None:
            return RateLimited(
                f"The API key's limit of {rate.limit:,} requests an hour is used up; "
                f"try again in {rate.retry_after_seconds:,} seconds.",
                retry_after_seconds=rate.retry_after_seconds,
            )
        case _:
            return InvalidToken(_NO_KEY, code="invalid-key")
