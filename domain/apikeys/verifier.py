"""Verification of presented keys: one indexed read of the key and one write of its quota.

No positive result is cached, so a revocation takes effect from the moment it is committed."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final, Literal
from uuid import UUID

from domain.apikeys.key_format import parse_key, safe_prefix
from domain.apikeys.model import ApiKey, VerifyApiKey
from domain.apikeys.ports import ApiKeyTransaction
from domain.apikeys.rate_limit import Charge, ChargeKind, Contended, RateLimiter, RateStatus
from domain.apikeys.rules import VerificationCode, check_key, missing_scopes
from domain.core.errors import Unavailable
from domain.core.group_commit import AsyncGroupCommit
from domain.core.permissions import APIKEY_VERIFY, INTEGRATION_MANAGE
from domain.core.ports import Clock, QueueSender
from domain.core.principal import Principal
from domain.core.tenants import KnownStandings
from domain.core.transaction import Transactions
from domain.journal.occurrences import ALERTS_QUEUE, message_of, occurrence

logger = logging.getLogger("hub.apikeys")

_PER_BATCH = 400
_ALERT_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """Whether the key with this hash may be used for `scopes` from `ip`.

    - `instead`: a scope that is enough where the key lacks `scopes`.
    - `consume`: charge one request to the key's quota when it is valid.
    - `tenant_id`: report keys of other tenants as not found.
    - `client`: the User-Agent; `country`: that of the address; None where unknown."""

    key_hash: str = field(repr=False)
    scopes: Sequence[str] = ()
    ip: str | None = None
    consume: bool = True
    tenant_id: UUID | None = None
    client: str | None = None
    country: str | None = None
    instead: str | None = None

    def of(self, key: ApiKey) -> VerificationRequest:
        """Return the request with the scopes that it asks of this key."""
        if (
            self.instead is not None
            and self.instead in key.scopes
            and missing_scopes(key.scopes, self.scopes)
        ):
            return replace(self, scopes=(self.instead,))
        return self


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """What a key is worth. `rate` is None for an unknown key, and while the table store is down and requests pass."""

    code: VerificationCode
    key: ApiKey | None = None
    rate: RateStatus | None = None
    missing: Sequence[str] = ()
    error: Exception | None = None


#: The statuses after the charges of one quota; the error when the table store is down or the quota contended.
Charged = Sequence[RateStatus] | Unavailable
#: What a key gets for what is asked of it; the others tell of the key itself.
_OF_GOOD_KEYS = (VerificationCode.VALID, VerificationCode.INSUFFICIENT_SCOPES)
_UNKNOWN = VerificationResult(VerificationCode.NOT_FOUND)


class KeyVerifier:
    """Verifies keys and charges their quotas.

    At most `parallel` quotas are written, and batches run, at once: several where a write is a round trip.
    `listener` is called with every batch and its results."""

    def __init__(
        self,
        transactions: Transactions[ApiKeyTransaction],
        limiter: RateLimiter,
        queue: QueueSender,
        clock: Clock,
        *,
        on_failure: Literal["open", "closed"],
        standings: KnownStandings,
        parallel: int = 1,
        listener: Callable[[Sequence[VerificationRequest], Sequence[VerificationResult]], None] | None = None,
    ) -> None:
        self._listener = listener
        self._transactions = transactions
        self._limiter = limiter
        self._queue = queue
        self._clock = clock
        self._on_failure = on_failure
        self._standings = standings
        self._parallel = parallel
        self._alerted_at: datetime | None = None
        self._together = AsyncGroupCommit(
            self._verify_batch, gather=_gather, most=_PER_BATCH, writers=parallel
        )

    def verify(self, request: VerificationRequest) -> VerificationResult:
        """Verify one key. Blocks.

        Raises Unavailable: no database, a contended quota, or no tables unless `on_failure` is open."""
        return _raise_error(self.verify_all([request])[0])

    async def verify_soon(self, request: VerificationRequest) -> VerificationResult:
        """Verify one key from an event loop, with others that arrive meanwhile. Raises as `verify`."""
        return _raise_error(await self._together.submit(request))

    async def _verify_batch(self, requests: Sequence[VerificationRequest]) -> Sequence[VerificationResult]:
        return await asyncio.to_thread(self.verify_all, requests)

    def verify_all(self, requests: Sequence[VerificationRequest]) -> list[VerificationResult]:
        """Verify keys in order; an `error` stands in its result. Blocks. Raises Unavailable."""
        with self._transactions.read() as tx:
            keys = tx.api_keys.by_hashes({request.key_hash for request in requests})
        now = self._clock.now()
        requests = [
            request.of(keys[request.key_hash]) if request.key_hash in keys else request
            for request in requests
        ]
        results: list[VerificationResult] = [_UNKNOWN] * len(requests)
        by_quota: dict[UUID, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            key = keys.get(request.key_hash)
            if key is None or not _is_visible(key, request):
                continue
            code = check_key(key, scopes=request.scopes, ip=request.ip, now=now)
            if code in _OF_GOOD_KEYS and self._standings.of(key.tenant_id).is_suspended:
                code = VerificationCode.TENANT_SUSPENDED
            lacks_scopes = code is VerificationCode.INSUFFICIENT_SCOPES
            missing = missing_scopes(key.scopes, request.scopes) if lacks_scopes else ()
            results[index] = VerificationResult(code, key, missing=missing)
            by_quota[key.quota_id].append(index)
        charges = {
            quota_id: [_charge(requests[index], results[index]) for index in indexes]
            for quota_id, indexes in by_quota.items()
        }
        for indexes, charged in zip(by_quota.values(), self._charge_each(charges), strict=True):
            for position, index in enumerate(indexes):
                results[index] = self._with_rate(results[index], charged, position)
        if self._listener is not None:
            self._listener(requests, results)
        return results

    def _charge_each(self, charges: Mapping[UUID, Sequence[Charge]]) -> Iterable[Charged]:
        if len(charges) > 1:
            try:
                together = self._limiter.charge_each(charges)
            except Unavailable as error:
                return [error] * len(charges)
            if together is not None:
                return together
            return list(self._pool.map(self._charge, charges, charges.values()))
        return [self._charge(quota_id, of_quota) for quota_id, of_quota in charges.items()]

    def _charge(self, quota_id: UUID, charges: Sequence[Charge]) -> Charged:
        try:
            return self._limiter.charge(quota_id, charges)
        except Unavailable as error:
            return error

    def _with_rate(self, result: VerificationResult, charged: Charged, position: int) -> VerificationResult:
        if isinstance(charged, Unavailable):
            if isinstance(charged, Contended):
                return VerificationResult(result.code, error=charged)
            self._alert(charged)
            return result if self._on_failure == "open" else VerificationResult(result.code, error=charged)
        rate = charged[position]
        is_limited = result.code is VerificationCode.VALID and not rate.allowed
        code = VerificationCode.RATE_LIMITED if is_limited else result.code
        return VerificationResult(code, result.key, rate, result.missing)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._parallel, thread_name_prefix="quota")

    def _alert(self, error: Unavailable) -> None:
        now = self._clock.now()
        if self._alerted_at is not None and abs(now - self._alerted_at) < _ALERT_EVERY:
            return
        self._alerted_at = now
        logger.error(
            "rate limits cannot be counted", extra={"detail": error.detail, "requestsPass": self._on_failure}
        )
        data = {"subject": "rate-limits", "detail": error.detail, "mode": self._on_failure}
        try:
            self._queue.send(ALERTS_QUEUE, [message_of(occurrence("rate-limit-store-down", data, now))])
        except Unavailable:
            logger.error("alert not sent", extra={"kind": "rate-limit-store-down"})


async def _gather() -> None:
    # Let the requests that the loop has read by now arrive first: a thread started for one of them alone
    # would only compete with the others for the interpreter.
    for _ in range(2):
        await asyncio.sleep(0)


def _is_visible(key: ApiKey, request: VerificationRequest) -> bool:
    # The index found the key by value already; the comparison in constant time is what decides.
    same = hmac.compare_digest(key.key_hash, request.key_hash)
    return same and (request.tenant_id is None or request.tenant_id == key.tenant_id)


def _charge(request: VerificationRequest, result: VerificationResult) -> Charge:
    assert result.key is not None
    kind = ChargeKind.Use if result.code is VerificationCode.VALID else ChargeKind.Refused
    if not request.consume:
        kind = ChargeKind.Peek
    return Charge(result.key.api_key_id.hex, result.key.rate_limit_per_hour, kind)


def _raise_error(result: VerificationResult) -> VerificationResult:
    if result.error is not None:
        raise result.error
    return result


attempts = logging.getLogger("hub.auth")
INVALID: Final = "INVALID"


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """What a caller learns of a key.

    - `code`: a VerificationCode, or INVALID where the caller may not know more.
    - `key`, `rate`: only where the caller may see them."""

    valid: bool
    code: str
    key: ApiKey | None = None
    rate: RateStatus | None = None


class KeyVerificationService:
    def __init__(self, key_verifier: KeyVerifier) -> None:
        self._key_verifier = key_verifier

    async def verify(self, principal: Principal, command: VerifyApiKey) -> VerifiedKey:
        """Return what a presented key is worth; a bad key is no error.

        - A key of another tenant is reported as not found. Callers with the permission `apikey:verify` learn that it
          is valid, or that it is not, and no more.
        - A valid key is charged one request, because the call stands for one; with `consume: false` it is not.
        - Raises Forbidden, Unavailable."""
        principal.require(INTEGRATION_MANAGE)
        plain = parse_key(command.key)
        if plain is None:
            _log(safe_prefix(command.key), _UNKNOWN)
            return VerifiedKey(False, VerificationCode.NOT_FOUND)
        tenant_id = None if APIKEY_VERIFY in principal.permissions else principal.tenant_id
        request = VerificationRequest(plain.hash, command.scopes, command.ip, command.consume, tenant_id)
        result = await self._key_verifier.verify_soon(request)
        _log(plain.prefix, result)
        is_valid = result.code is VerificationCode.VALID
        if result.key is None or is_valid or result.key.tenant_id == principal.tenant_id:
            return VerifiedKey(is_valid, result.code, result.key, result.rate)
        return VerifiedKey(False, INVALID)


def _log(prefix: str, result: VerificationResult) -> None:
    """Log the attempt: a key presented elsewhere is an attempt to authenticate as well (section 12.2)."""
    is_valid = result.code is VerificationCode.VALID
    level = logging.INFO if is_valid else logging.WARNING
    if attempts.isEnabledFor(level):
        attempts.log(
            level,
            "key verified",
            extra={
                "outcome": "accepted" if is_valid else "refused",
                "reason": result.code.value,
                "keyPrefix": prefix or None,
                "apiKeyId": str(result.key.api_key_id) if result.key else None,
                "tenantId": str(result.key.tenant_id) if result.key else None,
            },
        )
