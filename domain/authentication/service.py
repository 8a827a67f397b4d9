"""Authentication: a request's credentials become a principal, or a reason to refuse it (section 8.1)."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from uuid import UUID

from domain.apikeys.key_format import MARK, PlainKey, parse_key, safe_prefix
from domain.apikeys.rate_limit import ChargeKind, RateStatus
from domain.apikeys.rules import VerificationCode
from domain.apikeys.verifier import KeyVerifier, VerificationRequest, VerificationResult
from domain.authentication.ports import RequestGate, TokenVerifier
from domain.authentication.user_limits import UserLimits
from domain.core.errors import (
    DomainError,
    Forbidden,
    InvalidToken,
    RateLimited,
    TwoCredentials,
    Unauthenticated,
)
from domain.core.permissions import PLATFORM_ONLY
from domain.core.ports import Clock
from domain.core.principal import Principal, RequestOrigin
from domain.core.tenants import KnownStandings, refusal_of
from domain.core.transaction import Transactions, UserTransaction, repeated
from domain.core.wire import rfc3339
from domain.journal.usage import CountUsage, UsageCounts

USERS_REMEMBERED = 10_000
_INVALID_KEY = "The API key is not valid."
#: Every attempt to authenticate, accepted (INFO) and refused (WARNING), section 12.2.
attempts = logging.getLogger("hub.auth")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the request carried. None of the first three appears in a repr.

    - `authorization`: the header of that name.
    - `client_principal`: X-MS-CLIENT-PRINCIPAL, which counts only where App Service Authentication is trusted.
    - `api_key`: X-API-Key."""

    authorization: str | None = field(default=None, repr=False)
    client_principal: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    origin: RequestOrigin = field(default=RequestOrigin())

    @property
    def sent_key(self) -> str | None:
        """The text of X-API-Key; an empty one beside another credential was not sent, as some gateways add it."""
        key = None if self.api_key is None else self.api_key.strip()
        return None if not key and self.authorization else key

    @property
    def key_text(self) -> str | None:
        """The text of X-API-Key or `Bearer ihk_...`, which need not be a key; None for any other credential."""
        if self.sent_key is not None:
            return None if self.authorization else self.sent_key
        scheme, _, token = (self.authorization or "").partition(" ")
        token = token.strip()
        return token if scheme.lower() == "bearer" and token.startswith(MARK) else None


@dataclass(frozen=True, slots=True)
class AuthenticationResult:
    """Who sends the request, or why it is refused; both for a user who lacks the permission.

    Of an API key also `key_prefix`, its first characters, and `verification`, unless its text is not that of a key. Of
    a person `user_rate`, how their own quota stands."""

    origin: RequestOrigin
    principal: Principal | None = None
    error: DomainError | None = None
    key_prefix: str = ""
    verification: VerificationResult | None = None
    user_rate: RateStatus | None = None

    @property
    def rate(self) -> RateStatus | None:
        return self.verification.rate if self.verification else self.user_rate

    def require(self) -> Principal:
        if self.error is not None:
            raise self.error
        assert self.principal is not None
        return self.principal


def count_calls(count: CountUsage) -> Callable[[AuthenticationResult], None]:
    """Return a listener that counts every request that is let in as a call of its tenant."""
    one = UsageCounts(calls=1)

    def listen(result: AuthenticationResult) -> None:
        if result.principal is not None and result.error is None:
            count(result.principal.tenant_id, one)

    return listen


class Authenticator:
    """Every endpoint's first step (section 8.1).

    `limits`: how many requests people may make; None where there is no limit. `listeners` are called with each result;
    none may fail or wait."""

    def __init__(
        self,
        token_verifier: TokenVerifier,
        key_verifier: KeyVerifier,
        transactions: Transactions[UserTransaction],
        clock: Clock,
        *,
        from_client_principal: Callable[[str | None], Principal | None],
        limits: UserLimits | None = None,
        standings: KnownStandings,
        gate: RequestGate,
        listeners: Sequence[Callable[[AuthenticationResult], None]] = (),
    ) -> None:
        self._token_verifier = token_verifier
        self._key_verifier = key_verifier
        self._transactions = transactions
        self._clock = clock
        self._from_client_principal = from_client_principal
        self._limits = limits
        self._standings = standings
        self._gate = gate
        self._listeners = listeners
        # With the standing at that time: a tenant that was deleted and came back is met for the first time again.
        self._seen: OrderedDict[tuple[UUID, UUID], int] = OrderedDict()
        self._lock = Lock()

    def authenticate(
        self,
        credentials: Credentials,
        permission: str | None = None,
        *,
        instead: str | None = None,
        free_with: str | None = None,
        user: Principal | None = None,
        verification: VerificationResult | None = None,
    ) -> AuthenticationResult:
        """Return who sends the request, or why it is refused, `permission` included. Blocks.

        - A refused request takes nothing of a quota.
        - `instead`: a permission that is enough where the caller lacks the other.
        - `free_with`: a permission with which a person's request takes nothing of their quota either.
        - `user`, `verification`: what the caller has verified of these credentials already.
        - Raises Unavailable."""
        origin, text = credentials.origin, credentials.key_text
        try:
            if credentials.sent_key is not None and credentials.authorization:
                raise TwoCredentials("Send one credential: X-API-Key or Authorization, not both.")
            if text is None:
                user = user or self._user(credentials)
                result = self._user_result(user, permission, origin, instead=instead)
                result = self._charged(result, user, is_free=free_with in user.permissions)
            else:
                key = parse_key(text)
                if key is None:
                    raise InvalidToken(_INVALID_KEY, code="invalid-key")
                if verification is None:
                    verification = self._key_verifier.verify(_request(key, permission, origin, instead))
                result = _key_result(key, verification, origin)
            if result.principal is not None and result.error is None:
                result = self._admitted(result, result.principal.tenant_id)
        except Unauthenticated as error:
            result = AuthenticationResult(origin, error=error, key_prefix=safe_prefix(text or ""))
        _log(result)
        for listener in self._listeners:
            listener(result)
        return result

    async def authenticate_soon(
        self,
        credentials: Credentials,
        permission: str | None = None,
        *,
        instead: str | None = None,
        free_with: str | None = None,
    ) -> AuthenticationResult:
        """Authenticate from an event loop. Only a user met for the first time costs a thread. Raises Unavailable."""
        text = credentials.key_text
        if text is None:
            user = self._known(credentials)
            check = partial(self.authenticate, credentials, permission, instead=instead, free_with=free_with)
            waits = user is None or self._gate.limits_requests_of(user.tenant_id)
            return await asyncio.to_thread(check) if waits else check(user=user)
        key = parse_key(text)
        if key is None:
            return self.authenticate(credentials, permission)
        request = _request(key, permission, credentials.origin, instead)
        verification = await self._key_verifier.verify_soon(request)
        if verification.key is not None and self._gate.limits_requests_of(verification.key.tenant_id):
            return await asyncio.to_thread(
                self.authenticate, credentials, permission, verification=verification
            )
        return self.authenticate(credentials, permission, verification=verification)

    def _charged(
        self, result: AuthenticationResult, user: Principal, *, is_free: bool
    ) -> AuthenticationResult:
        """Count the request of a person, and refuse it where their quota is used up."""
        if self._limits is None:
            return result
        kind = ChargeKind.Use if result.error is None and not is_free else ChargeKind.Peek
        rate = self._limits.charge(user.tenant_id, user.user_id, kind)
        if kind is ChargeKind.Use and not rate.allowed:
            return replace(result, error=_limited("user", rate), user_rate=rate)
        return replace(result, user_rate=rate)

    def _user(self, credentials: Credentials) -> Principal:
        if credentials.authorization:
            scheme, _, token = credentials.authorization.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise Unauthenticated("The Authorization header must be `Bearer <token>`.")
            user = self._token_verifier.verify(token.strip())
        else:
            vouched = self._from_client_principal(credentials.client_principal)
            if vouched is None:
                raise Unauthenticated(
                    "Credentials are needed: send `Authorization: Bearer <token>` or `X-API-Key: <key>`."
                )
            user = vouched
        return user

    def _user_result(
        self, user: Principal, permission: str | None, origin: RequestOrigin, *, instead: str | None
    ) -> AuthenticationResult:
        refusal = refusal_of(self._standings.of(user.tenant_id))
        if refusal is not None:
            return AuthenticationResult(origin, replace(user, origin=origin), refusal)
        self._remember(user)
        return _user_result(user, permission, origin, instead=instead)

    def _admitted(self, result: AuthenticationResult, tenant_id: UUID) -> AuthenticationResult:
        """Return the result, or a refusal when the tenant has had its requests of the hour."""
        try:
            self._gate.admit_request(tenant_id)
        except RateLimited as limited:
            return replace(result, error=limited)
        return result

    def _known(self, credentials: Credentials) -> Principal | None:
        """Return the user of a token that was verified before, if nothing about them has to be read or written."""
        user = self._token_verifier.known((credentials.authorization or "").partition(" ")[2].strip())
        if user is None or self._standings.is_stale:
            return None
        version = self._standings.of(user.tenant_id).version
        return user if self._seen.get((user.tenant_id, user.user_id)) == version else None

    @repeated
    def _remember(self, user: Principal) -> None:
        key, version = (user.tenant_id, user.user_id), self._standings.of(user.tenant_id).version
        with self._lock:
            if self._seen.get(key) == version:
                return
        with self._transactions.write() as tx:
            tx.users.see(user.tenant_id, user.user_id, user.name, self._clock.now())
            tx.commit()
        with self._lock:
            self._seen[key] = version
            if len(self._seen) > USERS_REMEMBERED:
                self._seen.popitem(last=False)


def _request(
    key: PlainKey, permission: str | None, origin: RequestOrigin, instead: str | None
) -> VerificationRequest:
    scopes, client, country = (permission,) if permission else (), origin.client, origin.country
    return VerificationRequest(key.hash, scopes, origin.ip, client=client, country=country, instead=instead)


def _user_result(
    user: Principal, permission: str | None, origin: RequestOrigin, *, instead: str | None
) -> AuthenticationResult:
    principal = replace(user, origin=origin)
    try:
        if permission and instead not in principal.permissions:
            principal.require(permission)
    except Forbidden as error:
        return AuthenticationResult(origin, principal, error)
    return AuthenticationResult(origin, principal)


def _key_result(
    plain: PlainKey, verification: VerificationResult, origin: RequestOrigin
) -> AuthenticationResult:
    error, key = _refusal(verification), verification.key
    if error is not None or key is None:
        return AuthenticationResult(origin, None, error, plain.prefix, verification)
    principal = Principal(
        tenant_id=key.tenant_id,
        user_id=key.created_by,
        permissions=frozenset(key.scopes) - PLATFORM_ONLY,
        name=key.key_name,
        api_key_id=key.api_key_id,
        origin=origin,
        expires_at=key.expires_at,
    )
    return AuthenticationResult(origin, principal, None, plain.prefix, verification)


def _refusal(verification: VerificationResult) -> DomainError | None:
    """Return why a key is refused (section 11.2), or None; unknown and revoked keys get the same answer."""
    key, rate = verification.key, verification.rate
    match verification.code:
        case VerificationCode.VALID:
            return None
        case VerificationCode.EXPIRED if key is not None and key.expires_at is not None:
            return InvalidToken(f"The API key expired at {rfc3339(key.expires_at)}.", code="expired-key")
        case VerificationCode.NOT_YET_VALID if key is not None and key.not_before is not None:
            detail = f"The API key is not valid before {rfc3339(key.not_before)}."
            return InvalidToken(detail, code="key-not-yet-valid")
        case VerificationCode.IP_NOT_ALLOWED:
            return Forbidden("The API key may not be used from this address.", code="ip-not-allowed")
        case VerificationCode.TENANT_SUSPENDED:
            detail = "The tenant of the API key is suspended: its calls are refused."
            return Forbidden(detail, code="tenant-suspended")
        case VerificationCode.INSUFFICIENT_SCOPES:
            detail = f"The API key lacks the scope '{', '.join(verification.missing)}'."
            return Forbidden(detail, code="insufficient-scope", scopes=verification.missing)
        case VerificationCode.RATE_LIMITED if rate is not None:
            return _limited("API key", rate)
        case _:
            return InvalidToken(_INVALID_KEY, code="invalid-key")


def _limited(whose: str, rate: RateStatus) -> RateLimited:
    wait, limit = rate.retry_after_seconds, f"limit of {rate.limit:,} requests an hour"
    detail = f"The {whose}'s {limit} is used up; try again in {wait:,} seconds."
    return RateLimited(detail, retry_after_seconds=wait)


def _log(result: AuthenticationResult) -> None:
    principal, verification = result.principal, result.verification
    if principal is None or isinstance(result.error, RateLimited):
        assert result.error is not None
        key = verification.key if verification else None
        tenant_id = key.tenant_id if key else principal.tenant_id if principal else None
        attempts.warning(
            "authentication refused",
            extra={
                "outcome": "refused",
                "reason": verification.code.value if verification else result.error.code,
                "keyPrefix": result.key_prefix or None,
                "apiKeyId": str(key.api_key_id) if key else None,
                "tenantId": str(tenant_id) if tenant_id else None,
                "userId": str(principal.user_id) if principal else None,
                "ip": result.origin.ip,
            },
        )
    elif attempts.isEnabledFor(logging.INFO):
        caller = (
            {"userId": str(principal.user_id)}
            if principal.api_key_id is None
            else {"keyPrefix": result.key_prefix, "apiKeyId": str(principal.api_key_id)}
        )
        fields = {"outcome": "accepted", **caller, "tenantId": str(principal.tenant_id)}
        attempts.info("authenticated", extra={**fields, "ip": result.origin.ip})
