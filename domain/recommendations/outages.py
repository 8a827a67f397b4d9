"""How long an endpoint's outages last, and what a retry policy makes of them. Pure; seconds.

The longer an outage lasts, the more deliveries it hits, and each at another age of it. So a policy is tried at
several ages of every outage seen, weighted by the outage's length: that is what deliveries that come evenly would
meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from domain.recommendations.ports import DeliveryOutcome
from domain.webhooks.model import DeliveryStatus, RetryPolicy
from domain.webhooks.retry_policy import OutageHistory, ReceiverAnswer, planned_delay, scheduled_seconds

DAY = 86_400.0
_AGES = (0.125, 0.375, 0.625, 0.875)
_DOWN = ReceiverAnswer(status=503)

#: The delay before a retry, by its number, the outage's age and the delivery's.
Delay = Callable[[int, float, float], float]


@dataclass(frozen=True, slots=True)
class Fate:
    """The mean fate of deliveries that meet an outage: attempts that fail, and the share of deliveries that arrive."""

    failed_attempts: float
    arrived: float


def outage_length(failing_since: float, last_failed: float, back: float) -> float:
    """Estimate an outage's length: its end is put in the middle between the last failure and the first success."""
    return max(1.0, (last_failed + back) / 2 - failing_since)


def outages_of(outcomes: Sequence[DeliveryOutcome]) -> list[float]:
    """Return the lengths of the outages that ended.

    An outage lasts from a delivery's failed first attempt to the next success of any delivery."""
    marks: list[tuple[float, bool]] = []
    for outcome in outcomes:
        if outcome.status == DeliveryStatus.Delivered and outcome.delivered_at is not None:
            marks.append((outcome.delivered_at.timestamp(), True))
        # A single attempt that failed for good was refused, which is no outage.
        if outcome.attempts > 1:
            marks.append((outcome.scheduled_at.timestamp(), False))
    lengths: list[float] = []
    began = last = None
    for moment, is_success in sorted(marks):
        if not is_success:
            began, last = moment if began is None else began, moment
        elif began is not None and last is not None:
            lengths.append(outage_length(began, last, moment))
            began = last = None
    return lengths


def history_from(lengths: Sequence[float]) -> OutageHistory:
    """Return what adaptive retry would have learned from the outages."""
    history = OutageHistory()
    for length in lengths:
        history = history.learned(length, length)
    return history


def fixed(policy: RetryPolicy) -> Delay:
    """Return the fixed schedule (BR-WH-04)."""
    return lambda retry, outage, delivery: scheduled_seconds(policy, retry)


def adaptive(history: OutageHistory, policy: RetryPolicy, retries: int) -> Delay:
    """Return the delays that adaptive retry chooses by this history; the fixed schedule where nothing is known."""
    schedule = fixed(policy)

    def delay(retry: int, outage: float, delivery: float) -> float:
        planned = planned_delay(
            _DOWN,
            history,
            policy,
            failing_for=outage,
            age=delivery,
            retries_used=retry - 1,
            retries=retries,
            spread=0.0,
        )
        return schedule(retry, outage, delivery) if planned is None else planned

    return delay


def fate(lengths: Sequence[float], retries: int, delay: Delay) -> Fate:
    """Return the mean over what deliveries meet in these outages."""
    weight = failed = arrived = 0.0
    for length in lengths:
        for share in _AGES:
            attempts, in_time = _try_policy(length, share * length, retries, delay)
            weight += length
            failed += attempts * length
            arrived += in_time * length
    return Fate(failed / weight, arrived / weight)


def _try_policy(length: float, age: float, retries: int, delay: Delay) -> tuple[int, bool]:
    failed, waited = 1, 0.0
    for retry in range(1, retries + 1):
        step = delay(retry, age, waited)
        if waited + step >= DAY:
            return failed, False
        age, waited = age + step, waited + step
        if age >= length:
            return failed, True
        failed += 1
    return failed, False


def reach(policy: RetryPolicy, retries: int) -> float:
    """Return the seconds from the first attempt to the last retry."""
    return sum(scheduled_seconds(policy, retry) for retry in range(1, 1 + min(retries, 60)))


def longer(policy: RetryPolicy, lengths: Sequence[float], cap: int, *, enough: float = 0.95) -> RetryPolicy:
    """Return the least change of a policy after which `enough` of the deliveries arrive, or as many as can.

    It has more retries up to the cap first, then a greater factor. No retry comes later than a day."""
    retries = min(policy.max_retries, cap)
    candidates = [replace(policy, max_retries=n) for n in range(retries, cap + 1)]
    # A greater factor comes with all the retries there may be.
    factors = [
        factor
        for factor in (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
        if factor > policy.backoff_multiplier
    ]
    candidates += [replace(policy, max_retries=cap, backoff_multiplier=factor) for factor in factors]
    best, most = policy, -1.0
    for candidate in candidates:
        if reach(candidate, candidate.max_retries) >= DAY:
            continue
        arrived = fate(lengths, candidate.max_retries, fixed(candidate)).arrived
        if arrived > most + 1e-9:
            best, most = candidate, arrived
        if arrived >= enough:
            break
    return best
