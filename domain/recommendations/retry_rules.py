"""Rules about how a webhook retries, and what a policy makes of its endpoint's outages. Pure; lengths in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from pydantic.alias_generators import to_camel

from domain.recommendations.facts import WebhookFacts
from domain.recommendations.model import (
    Advice,
    Change,
    Confidence,
    Figure,
    Operation,
    Period,
    Priority,
    RecommendationKind,
    confidence_of,
)
from domain.recommendations.ports import DeliveryOutcome
from domain.webhooks.model import DeliveryStatus, RetryPolicy
from domain.webhooks.retry_policy import (
    OutageHistory,
    ReceiverAnswer,
    effective_max_retries,
    planned_delay,
    scheduled_seconds,
)

DAY = 86_400.0
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
    """Return the lengths of ended outages, from a failed first attempt to the next success."""
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
    history = OutageHistory()
    for length in lengths:
        history = history.learned(length, length)
    return history


def fixed(policy: RetryPolicy) -> Delay:
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
    """Return the mean fate of evenly spread deliveries in these outages.

    A longer outage hits more deliveries, so each is tried at several ages and weighted by its length."""
    weight = failed = arrived = 0.0
    for length in lengths:
        for share in (0.125, 0.375, 0.625, 0.875):
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
    return sum(scheduled_seconds(policy, retry) for retry in range(1, 1 + min(retries, 60)))


def longer(policy: RetryPolicy, lengths: Sequence[float], cap: int, *, enough: float = 0.95) -> RetryPolicy:
    """Return the least change, retries up to the cap and then the factor, after which `enough` arrive.

    No retry comes later than a day."""
    retries = min(policy.max_retries, cap)
    candidates = [replace(policy, max_retries=n) for n in range(retries, cap + 1)]
    # A greater factor comes with all the retries there may be.
    for factor in (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0):
        if factor > policy.backoff_multiplier:
            candidates.append(replace(policy, max_retries=cap, backoff_multiplier=factor))
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


#: The fewest outages that tell how long they last.
ENOUGH_OUTAGES = 5
_NOT_TRIED_AGAIN = ("unauthorized", "4xx", "3xx", "1xx", "blocked")


def adaptive_retry(facts: WebhookFacts) -> Advice | None:
    """Advise adaptive retry where it saves attempts or brings more deliveries to the receiver.

    It saves 15 % of the attempts failing in outages, losing nothing, or brings 5 % more deliveries."""
    policy = facts.webhook.retry_policy
    retries = effective_max_retries(policy, platform_cap=facts.max_retries)
    lengths = outages_of(facts.outcomes)
    if policy.strategy == "adaptive" or retries == 0 or len(lengths) < ENOUGH_OUTAGES:
        return None
    now = fate(lengths, retries, fixed(policy))
    then = fate(lengths, retries, adaptive(history_from(lengths), policy, retries))
    share_saved = 1 - then.failed_attempts / now.failed_attempts
    gained = then.arrived - now.arrived
    total = facts.total
    failed = total.failed - sum(total.errors.get(name, 0) for name in _NOT_TRIED_AGAIN)
    per_day = failed / facts.period.days
    if per_day < 5 or not ((share_saved >= 0.15 and gained >= 0) or gained >= 0.05):
        return None
    fewer = f"{share_saved:.0%} fewer attempts would fail"
    what = fewer if share_saved > 0 else "more deliveries would arrive"
    return Advice(
        RecommendationKind.WebhookAdaptiveRetry,
        Priority.Soon,
        "Let the hub learn when to retry",
        f"The endpoint had {len(lengths)} outages, half of them shorter than {_spoken(median(lengths))}. Its "
        f"{policy.strategy} schedule spent {failed:,} attempts that failed. With delays learned from those very "
        f"outages {what}, and {then.arrived:.0%} of the deliveries that meet one arrive instead of {now.arrived:.0%}. "
        "The hub learns anew from the next three outages on.",
        (*_outage_figures(facts, lengths, now), Figure("failedAttempts", failed, "attempts", facts.period)),
        _confidence(facts, lengths),
        (
            Figure("attemptsSavedPerDay", round(per_day * share_saved, 1), "attempts/day"),
            Figure("moreDeliveriesArrive", round(100 * gained, 1), "% of those that meet an outage"),
        ),
        Change(Operation.UpdateWebhook, {"retryPolicy": _body(replace(policy, strategy="adaptive"))}),
    )


def longer_retries(facts: WebhookFacts) -> Advice | None:
    """Advise a longer schedule where deliveries ran out of retries before the endpoint came back."""
    policy = facts.webhook.retry_policy
    retries = effective_max_retries(policy, platform_cap=facts.max_retries)
    lengths = outages_of(facts.outcomes)
    lost = [outcome for outcome in facts.outcomes if _ran_out(outcome, retries)]
    if len(lengths) < ENOUGH_OUTAGES or len(lost) < 10:
        return None
    wanted = longer(policy, lengths, facts.max_retries)
    now = fate(lengths, retries, fixed(policy))
    then = fate(lengths, wanted.max_retries, fixed(wanted))
    gained = then.arrived - now.arrived
    if gained < 0.1:
        return None
    looked_at = _looked_at(facts)
    arriving = len(lost) / looked_at.days * gained / (1 - now.arrived)
    return Advice(
        RecommendationKind.WebhookLongerRetries,
        Priority.Now,
        f"Retry for {_spoken(reach(wanted, wanted.max_retries))} instead of {_spoken(reach(policy, retries))}",
        f"{len(lost):,} deliveries ran out of retries. The endpoint had {len(lengths)} outages, the longest of "
        f"{_spoken(max(lengths))}; its schedule ends after {_spoken(reach(policy, retries))}. With "
        f"{wanted.max_retries} retries and the factor {wanted.backoff_multiplier:g}, {then.arrived:.0%} of the "
        f"deliveries that meet such an outage arrive instead of {now.arrived:.0%}.",
        (
            *_outage_figures(facts, lengths, now),
            Figure("ranOutOfRetries", len(lost), "deliveries", looked_at),
            Figure("scheduleReaches", round(reach(policy, retries)), "s"),
        ),
        _confidence(facts, lengths),
        (
            Figure("deliveriesArrivingPerDay", round(arriving, 1), "deliveries/day"),
            Figure("moreDeliveriesArrive", round(100 * gained, 1), "% of those that meet an outage"),
        ),
        Change(Operation.UpdateWebhook, {"retryPolicy": _body(wanted)}),
    )


def _ran_out(outcome: DeliveryOutcome, retries: int) -> bool:
    status = outcome.http_status_code
    is_passing = status is None or status in (408, 429) or status >= 500
    has_failed = outcome.status == DeliveryStatus.Failed and outcome.attempts > retries
    return outcome.status == DeliveryStatus.Expired or (has_failed and is_passing)


def _looked_at(facts: WebhookFacts) -> Period:
    return Period(facts.outcomes[0].scheduled_at, facts.period.until)


def _outage_figures(facts: WebhookFacts, lengths: Sequence[float], now: Fate) -> tuple[Figure, ...]:
    period = _looked_at(facts)
    return (
        Figure("outages", len(lengths), "outages", period),
        Figure("outageMedian", round(median(lengths)), "s", period),
        Figure("outageLongest", round(max(lengths)), "s", period),
        Figure("failedAttemptsEach", round(now.failed_attempts, 2), "attempts", period),
    )


def _confidence(facts: WebhookFacts, lengths: Sequence[float]) -> Confidence:
    """Return the confidence; an outage counts as ten observations, as its attempts prove one thing only."""
    days = [outcome.scheduled_at.date() for outcome in facts.outcomes if outcome.attempts > 1]
    return confidence_of(10 * len(lengths), days)


def _body(policy: RetryPolicy) -> dict[str, Any]:
    return {to_camel(name): value for name, value in asdict(policy).items()}


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
