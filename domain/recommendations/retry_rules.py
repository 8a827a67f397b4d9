"""Rules about how a webhook retries. Facts in, advice out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
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
from domain.recommendations.outages import (
    Fate,
    adaptive,
    fate,
    fixed,
    history_from,
    longer,
    outages_of,
    reach,
)
from domain.webhooks.model import DeliveryStatus, RetryPolicy
from domain.webhooks.retry_policy import effective_max_retries

#: The fewest outages that tell how long they last.
ENOUGH_OUTAGES = 5
_LOST_AT_LEAST = 10
_FAILED_PER_DAY_AT_LEAST = 5
_NOT_TRIED_AGAIN = ("unauthorized", "4xx", "3xx", "1xx", "blocked")


def adaptive_retry(facts: WebhookFacts) -> Advice | None:
    """Advise adaptive retry where it would save attempts or bring more deliveries to the receiver.

    Delays learned from the endpoint's outages save at least 15 % of the attempts that fail in them, losing no
    delivery, or bring at least 5 % more of the deliveries that meet one."""
    policy = facts.webhook.retry_policy
    retries = effective_max_retries(policy, platform_cap=facts.max_retries)
    lengths = outages_of(facts.outcomes)
    if policy.strategy == "adaptive" or retries == 0 or len(lengths) < ENOUGH_OUTAGES:
        return None
    now = fate(lengths, retries, fixed(policy))
    then = fate(lengths, retries, adaptive(history_from(lengths), policy, retries))
    share_saved = 1 - then.failed_attempts / now.failed_attempts
    gained = then.arrived - now.arrived
    failed = _failed_in_outages(facts)
    per_day = failed / facts.period.days
    if per_day < _FAILED_PER_DAY_AT_LEAST or not ((share_saved >= 0.15 and gained >= 0) or gained >= 0.05):
        return None
    effects = [
        Figure("attemptsSavedPerDay", round(per_day * share_saved, 1), "attempts/day"),
        Figure("moreDeliveriesArrive", round(100 * gained, 1), "% of those that meet an outage"),
    ]
    what = (
        f"{share_saved:.0%} fewer attempts would fail" if share_saved > 0 else "more deliveries would arrive"
    )
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
        tuple(effects),
        Change(
            Operation.UpdateWebhook,
            {"retryPolicy": _body(replace(policy, strategy="adaptive"))},
        ),
    )


def longer_retries(facts: WebhookFacts) -> Advice | None:
    """Advise a longer schedule where deliveries ran out of retries before the endpoint came back."""
    policy = facts.webhook.retry_policy
    retries = effective_max_retries(policy, platform_cap=facts.max_retries)
    lengths = outages_of(facts.outcomes)
    lost = [
        outcome
        for outcome in facts.outcomes
        if outcome.status == DeliveryStatus.Expired
        or (
            outcome.status == DeliveryStatus.Failed
            and outcome.attempts > retries
            and _is_passing(outcome.http_status_code)
        )
    ]
    if len(lengths) < ENOUGH_OUTAGES or len(lost) < _LOST_AT_LEAST:
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


def _failed_in_outages(facts: WebhookFacts) -> int:
    total = facts.total
    return total.failed - sum(total.errors.get(name, 0) for name in _NOT_TRIED_AGAIN)


def _is_passing(status: int | None) -> bool:
    return status is None or status in (408, 429) or status >= 500


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
    """Return the confidence with an outage worth ten observations: many attempts in one outage prove one thing only."""
    return confidence_of(
        10 * len(lengths), [outcome.scheduled_at.date() for outcome in facts.outcomes if outcome.attempts > 1]
    )


def _body(policy: RetryPolicy) -> dict[str, Any]:
    return {to_camel(name): value for name, value in asdict(policy).items()}


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
