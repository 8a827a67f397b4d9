"""Judging presented keys: one indexed read of the key as it is now, one write of its quota. Nothing positive is
remembered, so a revocation holds from the moment it is committed."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
from domain.core.transaction import Transactions
from domain.journal.occurrences import ALERTS_QUEUE, message_of, occurrence

logger = logging.getLogger("hub.apikeys")

_PER_BATCH = 400
_GATHERING_STEPS = 2
_ALERT_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """Is the key with this hash good for `scopes` from `ip`? `tenant_id`: keys of other tenants are as unknown.
    `consume` takes one request of its quota if so. `client` is the User-Agent, `country` that of the address, where
    they are known."""

    key_hash: str = field(repr=False)
    scopes: Sequence[str] = ()
    ip: str | None = None
    consume: bool = True
    tenant_id: UUID | None = None
    client: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """`rate` is None for an unknown key, and while the table store is down and requests pass (fail open)."""

    verdict: VerificationCode
    key: ApiKey | None = None
    rate: RateStatus | None = None
    missing: Sequence[str] = ()
    error: Exception | None = None


#: How the takes of one quota went; the failure when the table store is down or the quota contended.
Settled = Sequence[RateStatus] | Unavailable
_UNKNOWN = VerificationResult(VerificationCode.NOT_FOUND)


class KeyVerifier:
    """`parallel` is how many quotas are written at once for one batch, and how many batches are under way at
    once: 1 for the embedded store, more where every write is a round trip over the network. `notice` is shown every
    ruling."""

    def __init__(
        self,
        transactions: Transactions[ApiKeyTransaction],
        limiter: RateLimiter,
        queue: QueueSender,
        clock: Clock,
        *,
        on_failure: Literal["open", "closed"],
        parallel: int = 1,
        notice: Callable[[Sequence[VerificationRequest], Sequence[VerificationResult]], None] | None = None,
    ) -> None:
        self._notice = notice
        self._transactions = transactions
        self._limiter = limiter
        self._queue = queue
        self._clock = clock
        self._on_failure = on_failure
        self._parallel = parallel
        self._alerted_at: datetime | None = None
        self._together = AsyncGroupCommit(self._rule_batch, gather=_gather, most=_PER_BATCH, writers=parallel)

    def rule(self, question: VerificationRequest) -> VerificationResult:
        """Blocks. Raises Unavailable when the database is down, the quota too contended, or the table store
        down and the setting says closed."""
        return _checked(self.rule_all([question])[0])

    async def rule_soon(self, question: VerificationRequest) -> VerificationResult:
        """The same for an event loop: questions asked while others are being answered are answered together."""
        return _checked(await self._together.submit(question))

    async def _rule_batch(self, questions: Sequence[VerificationRequest]) -> Sequence[VerificationResult]:
        return await asyncio.to_thread(self.rule_all, questions)

    def rule_all(self, questions: Sequence[VerificationRequest]) -> list[VerificationResult]:
        """Rulings in the order of the questions; an `error` stands in its ruling. Raises Unavailable when the
        database is down."""
        with self._transactions.read() as tx:
            keys = tx.api_keys.by_hashes({question.key_hash for question in questions})
        now = self._clock.now()
        rulings: list[VerificationResult] = [_UNKNOWN] * len(questions)
        by_quota: dict[UUID, list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            key = keys.get(question.key_hash)
            if key is None or not _is_meant(question, key):
                continue
            verdict = check_key(key, scopes=question.scopes, ip=question.ip, now=now)
            missing = (
                missing_scopes(key.scopes, question.scopes)
                if verdict is VerificationCode.INSUFFICIENT_SCOPES
                else ()
            )
            rulings[index] = VerificationResult(verdict, key, missing=missing)
            by_quota[key.quota_id].append(index)
        takes = {
            quota_id: [_take(questions[index], rulings[index]) for index in indexes]
            for quota_id, indexes in by_quota.items()
        }
        for indexes, settled in zip(by_quota.values(), self._settle_each(takes), strict=True):
            for position, index in enumerate(indexes):
                rulings[index] = self._with_rate(rulings[index], settled, position)
        if self._notice is not None:
            self._notice(questions, rulings)
        return rulings

    def _settle_each(self, batch: Mapping[UUID, Sequence[Charge]]) -> Iterable[Settled]:
        if len(batch) > 1:
            try:
                together = self._limiter.settle_each(batch)
            except Unavailable as error:
                return [error] * len(batch)
            if together is not None:
                return together
            return list(self._pool.map(self._settle, batch.items()))
        return [self._settle(one) for one in batch.items()]

    def _settle(self, one: tuple[UUID, Sequence[Charge]]) -> Settled:
        try:
            return self._limiter.settle(*one)
        except Unavailable as error:
            return error

    def _with_rate(self, ruling: VerificationResult, settled: Settled, position: int) -> VerificationResult:
        if isinstance(settled, Unavailable):
            if isinstance(settled, Contended):
                return VerificationResult(ruling.verdict, error=settled)
            self._alert(settled)
            return ruling if self._on_failure == "open" else VerificationResult(ruling.verdict, error=settled)
        rate = settled[position]
        limited = ruling.verdict is VerificationCode.VALID and not rate.allowed
        verdict = VerificationCode.RATE_LIMITED if limited else ruling.verdict
        return VerificationResult(verdict, ruling.key, rate, ruling.missing)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._parallel, thread_name_prefix="quota")

    def _alert(self, error: Unavailable) -> None:
        """An error line and an alert, at most once a minute."""
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
    # Let every request that the loop has read by now ask first: a thread started for one of them alone
    # would only fight the others for the interpreter.
    for _ in range(_GATHERING_STEPS):
        await asyncio.sleep(0)


def _is_meant(question: VerificationRequest, key: ApiKey) -> bool:
    # The index found it by value already; the comparison in constant time is what decides.
    same = hmac.compare_digest(key.key_hash, question.key_hash)
    return same and (question.tenant_id is None or question.tenant_id == key.tenant_id)


def _take(question: VerificationRequest, ruling: VerificationResult) -> Charge:
    assert ruling.key is not None
    kind = ChargeKind.Use if ruling.verdict is VerificationCode.VALID else ChargeKind.Refused
    return Charge(
        ruling.key.api_key_id.hex,
        ruling.key.rate_limit_per_hour,
        kind if question.consume else ChargeKind.Peek,
    )


def _checked(ruling: VerificationResult) -> VerificationResult:
    if ruling.error is not None:
        raise ruling.error
    return ruling


attempts = logging.getLogger("hub.auth")
INVALID: Final = "INVALID"


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """`code` is a Verdict, or INVALID where the caller may not know more; `key` and `rate` only where it may."""

    valid: bool
    code: str
    key: ApiKey | None = None
    rate: RateStatus | None = None


class KeyVerificationService:
    def __init__(self, gate: KeyVerifier) -> None:
        self._gate = gate

    async def verify(self, principal: Principal, command: VerifyApiKey) -> VerifiedKey:
        """Never an error for a bad key. Keys of other tenants are as unknown, except to callers with the
        permission `apikey:verify`, who learn that such a key is valid, or that it is not, and no more.

        A valid key is charged one request, because the question stands for one; `consume: false` is free.
        Raises Forbidden, Unavailable."""
        principal.require(INTEGRATION_MANAGE)
        plain = parse_key(command.key)
        if plain is None:
            _log(safe_prefix(command.key), VerificationResult(VerificationCode.NOT_FOUND))
            return VerifiedKey(False, VerificationCode.NOT_FOUND)
        everywhere = APIKEY_VERIFY in principal.permissions
        ruling = await self._gate.rule_soon(
            VerificationRequest(
                plain.hash,
                command.scopes,
                command.ip,
                command.consume,
                tenant_id=None if everywhere else principal.tenant_id,
            )
        )
        _log(plain.prefix, ruling)
        return _shown(ruling, principal)


def _log(prefix: str, ruling: VerificationResult) -> None:
    """A key presented elsewhere is an attempt to authenticate as well (section 12.2)."""
    level = logging.INFO if ruling.verdict is VerificationCode.VALID else logging.WARNING
    if attempts.isEnabledFor(level):
        attempts.log(
            level,
            "key verified",
            extra={
                "outcome": "accepted" if ruling.verdict is VerificationCode.VALID else "refused",
                "reason": ruling.verdict.value,
                "keyPrefix": prefix or None,
                "apiKeyId": str(ruling.key.api_key_id) if ruling.key else None,
                "tenantId": str(ruling.key.tenant_id) if ruling.key else None,
            },
        )


def _shown(ruling: VerificationResult, principal: Principal) -> VerifiedKey:
    valid = ruling.verdict is VerificationCode.VALID
    if ruling.key is None or valid or ruling.key.tenant_id == principal.tenant_id:
        return VerifiedKey(valid, ruling.verdict, ruling.key, ruling.rate)
    return VerifiedKey(False, INVALID)
