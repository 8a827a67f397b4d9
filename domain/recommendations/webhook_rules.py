"""Rules about a webhook's timeout, rate, subscription, credentials and state. Facts in, advice out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from math import ceil

from domain.journal.signals import Signal, Tally, total_of
from domain.recommendations.facts import WebhookFacts
from domain.recommendations.model import (
    Advice,
    Change,
    Figure,
    Operation,
    Period,
    Priority,
    RecommendationKind,
    confidence_of,
)
from domain.recommendations.ports import DeliveryOutcome
from domain.webhooks.model import DeliveryStatus, WebhookState

#: The fewest failures of a kind that prove anything.
ENOUGH = 20
_LONGEST_TIMEOUT = 300
#: Refusals of the request itself, not of its sender or of their number.
_ABOUT_THE_REQUEST = frozenset(range(400, 500)) - {401, 403, 407, 408, 410, 429}


def unauthorized(facts: WebhookFacts) -> Advice | None:
    """Advise to check credentials where half of the last day's attempts, and at least ten, were answered 401 or 403."""
    day_ago = facts.period.until - timedelta(days=1)
    last = [hour for hour in facts.hours if hour.hour >= day_ago]
    total = _sum(last)
    refused = total.errors.get("unauthorized", 0)
    if refused < 10 or refused < total.total / 2:
        return None
    period = Period(max(facts.period.since, day_ago), facts.period.until)
    began = _began(facts.hours)
    hours = round((period.until - began) / timedelta(hours=1), 1)
    ended = facts.webhook.previous_secret_expires_at
    rotated = ended is not None and began - timedelta(hours=1) <= ended <= began + timedelta(hours=1)
    cause = (
        " It began when the former signing secret ran out: the receiver still checks with that one."
        if rotated
        else " Its credentials, or its copy of the signing secret, may not be the right ones."
    )
    return Advice(
        RecommendationKind.WebhookUnauthorized,
        Priority.Now,
        "Check the receiver's credentials and its copy of the signing secret",
        f"The receiver refused {refused:,} of {total.total:,} attempts with 401 or 403, and such a delivery is not "
        f"tried again.{cause} When it is mended, replay what failed.",
        (
            Figure("attempts", total.total, "attempts", period),
            Figure("refusedAttempts", refused, "attempts", period),
            Figure("hoursSinceItBegan", hours, "hours", Period(began, period.until)),
        ),
        confidence_of(refused, [hour.hour.date() for hour in last]),
        (Figure("deliveriesLostPerDay", round(refused / period.days, 1), "deliveries/day"),),
    )


def pause(facts: WebhookFacts) -> Advice | None:
    """Advise to pause an active webhook that had nothing but failures for two days, with 50 attempts or more."""
    since = facts.period.until - timedelta(days=2)
    last = [hour for hour in facts.hours if hour.hour >= since]
    total = _sum(last)
    if facts.webhook.state != WebhookState.Active or facts.period.since > since:
        return None
    if total.succeeded or total.total < 50 or last[-1].hour - last[0].hour < timedelta(hours=24):
        return None
    period = Period(since, facts.period.until)
    worst, count = max(total.errors.items(), key=lambda error: error[1])
    return Advice(
        RecommendationKind.WebhookPause,
        Priority.Now,
        "Pause the webhook until its receiver is back",
        f"None of {total.total:,} attempts in two days succeeded; {count:,} ended as `{worst}`. Paused, the hub holds "
        "new events for it instead of spending attempts, and sends those of the last 24 hours when it is resumed.",
        (
            Figure("attempts", total.total, "attempts", period),
            Figure("succeeded", 0, "attempts", period),
            Figure("failedForGood", total.failed_for_good, "deliveries", period),
        ),
        confidence_of(total.total, [hour.hour.date() for hour in last]),
        (Figure("attemptsSavedPerDay", round(total.total / period.days, 1), "attempts/day"),),
        Change(Operation.UpdateWebhook, {"isActive": False}),
    )


def longer_timeout(facts: WebhookFacts) -> Advice | None:
    """Advise a longer timeout where many answers come shortly before the current one.

    Of n answers in the upper half of the timeout and m cut off, m / (n + m) took longer than another half. If
    every further half has as many fewer (an exponential tail), a longer timeout catches what `share` says."""
    limit_ms = facts.webhook.timeout_seconds * 1000
    total = facts.total
    cut_off = total.errors.get("timeout", 0)
    answered = total.latency.below(limit_ms)
    slow = answered.count - answered.below(limit_ms / 2).count
    if cut_off < ENOUGH or slow < ENOUGH or facts.webhook.timeout_seconds >= _LONGEST_TIMEOUT:
        return None
    beyond = cut_off / (cut_off + slow)

    def share(seconds: int) -> float:
        return 1 - float(beyond ** ((seconds * 1000 - limit_ms) / (limit_ms / 2)))

    first = facts.webhook.timeout_seconds // 5 * 5 + 5
    longest = min(_LONGEST_TIMEOUT, 4 * facts.webhook.timeout_seconds)
    wanted = next((seconds for seconds in range(first, longest + 1, 5) if share(seconds) >= 0.8), longest)
    if share(wanted) < 0.5:
        return None
    saved = cut_off * share(wanted) / facts.period.days
    p95 = answered.percentile(0.95) or 0
    return Advice(
        RecommendationKind.WebhookLongerTimeout,
        Priority.Soon,
        f"Give the receiver {wanted} seconds to answer",
        f"{cut_off:,} attempts were cut off after {facts.webhook.timeout_seconds} seconds, while {slow:,} answers came "
        f"in the second half of that time: the receiver is slow rather than gone. With {wanted} seconds about "
        f"{share(wanted):.0%} of those cut off would have been answered, if they thin out as the slow answers do.",
        (
            Figure("timedOut", cut_off, "attempts", facts.period),
            Figure("answersInSecondHalf", slow, "attempts", facts.period),
            Figure("answerP95", p95, "ms", facts.period),
            Figure("timeout", facts.webhook.timeout_seconds, "s"),
        ),
        confidence_of(min(cut_off, slow), facts.days),
        (Figure("timeoutsAvoidedPerDay", round(saved, 1), "attempts/day"),),
        Change(Operation.UpdateWebhook, {"timeoutSeconds": wanted}),
    )


def shorter_timeout(facts: WebhookFacts) -> Advice | None:
    """Advise a shorter timeout where attempts hang until it, while 999 of 1,000 answers came in a quarter of it."""
    now_s = facts.webhook.timeout_seconds
    total = facts.total
    hung = total.errors.get("timeout", 0)
    answered = total.latency.below(now_s * 1000)
    slowest = answered.percentile(0.999)
    if hung < ENOUGH or answered.count < 500 or slowest is None or slowest > now_s * 250:
        return None
    wanted = max(5, ceil(slowest * 2 / 5000) * 5)
    if wanted > now_s / 2:
        return None
    saved = hung * (now_s - wanted) / facts.period.days
    return Advice(
        RecommendationKind.WebhookShorterTimeout,
        Priority.Later,
        f"Give up after {wanted} seconds instead of {now_s}",
        f"{hung:,} attempts got no answer within {now_s} seconds, although 999 of 1,000 answers came within "
        f"{slowest:,} ms: whoever has not answered by then will not. {wanted} seconds are at least twice that, and "
        "the retry comes sooner.",
        (
            Figure("timedOut", hung, "attempts", facts.period),
            Figure("answers", answered.count, "attempts", facts.period),
            Figure("answerP999", slowest, "ms", facts.period),
            Figure("timeout", now_s, "s"),
        ),
        confidence_of(hung, facts.days),
        (Figure("secondsNotWaitedPerDay", round(saved), "s/day"),),
        Change(Operation.UpdateWebhook, {"timeoutSeconds": wanted}),
    )


def lower_rate(facts: WebhookFacts) -> Advice | None:
    """Advise a lower rate where at least 2 % of the attempts are answered 429, and the same deliveries fit into it."""
    total = facts.total
    throttled = total.errors.get("throttled", 0)
    if throttled < ENOUGH or throttled < total.total * 0.02:
        return None
    hours = [hour.tally for hour in facts.hours]
    got_through = max(hour.succeeded for hour in hours) / 3600
    needed = max(hour.succeeded + hour.failed_for_good for hour in hours) / 3600
    wanted = max(1, ceil(needed))
    limit = facts.webhook.rate_limit_per_second
    can_apply = (limit is None or wanted < limit) and needed <= max(1.0, got_through * 1.2)
    evidence = (
        Figure("throttled", throttled, "attempts", facts.period),
        Figure("attempts", total.total, "attempts", facts.period),
        Figure("mostDelivered", round(got_through, 3), "deliveries/s", facts.period),
        Figure("mostNeeded", round(needed, 3), "deliveries/s", facts.period),
    )
    confidence = confidence_of(throttled, facts.days)
    advice = partial(Advice, RecommendationKind.WebhookLowerRate, Priority.Soon)
    answered = f"The receiver answered {throttled:,} of {total.total:,} attempts with 429"
    if not can_apply:
        return advice(
            "Ask the receiver to take more",
            f"{answered}. It never took more than {got_through:.2f} deliveries a second over an hour, where "
            f"{needed:.2f} were due and the limit is {limit or 'not set'}: no pace of the hub's mends that.",
            evidence,
            confidence,
        )
    return advice(
        f"Send at most {wanted} {'delivery' if wanted == 1 else 'deliveries'} a second",
        f"{answered}, though even in the busiest hour only {needed:.2f} deliveries a second were due. At "
        f"{wanted} a second all of them fit, without bursts.",
        evidence,
        confidence,
        (Figure("throttledAvoidedPerDayAtMost", round(throttled / facts.period.days, 1), "attempts/day"),),
        Change(Operation.UpdateWebhook, {"rateLimitPerSecond": wanted}),
    )


def higher_rate(facts: WebhookFacts) -> Advice | None:
    """Advise a higher rate where three hours or more reached the limit, without a 429 and without slower answers."""
    limit = facts.webhook.rate_limit_per_second
    if limit is None or limit >= 10_000 or facts.total.errors.get("throttled", 0):
        return None
    full = [hour for hour in facts.hours if hour.tally.total >= 0.9 * 3600 * limit]
    other = [hour for hour in facts.hours if hour.tally.total < 0.9 * 3600 * limit]
    if len(full) < 3 or not other:
        return None
    busy, usual = _sum(full).latency.percentile(0.95), _sum(other).latency.percentile(0.95)
    if busy is None or usual is None or busy > 1.5 * usual:
        return None
    wanted = min(10_000, 2 * limit)
    attempts = sum(hour.tally.total for hour in full)
    return Advice(
        RecommendationKind.WebhookHigherRate,
        Priority.Soon,
        f"Send up to {wanted} deliveries a second",
        f"In {len(full)} hours the limit of {limit} a second held deliveries back. The receiver never answered 429, "
        f"and 95 of 100 answers came within {busy:,} ms then, {usual:,} ms otherwise: it can take more.",
        (
            Figure("hoursAtTheLimit", len(full), "hours", facts.period),
            Figure("attemptsInThem", attempts, "attempts", facts.period),
            Figure("answerP95ThenMs", busy, "ms", facts.period),
            Figure("answerP95OtherwiseMs", usual, "ms", facts.period),
        ),
        confidence_of(attempts, [hour.hour.date() for hour in full]),
        (Figure("mostDeliveriesPerHour", 3600 * wanted, "deliveries/hour"),),
        Change(Operation.UpdateWebhook, {"rateLimitPerSecond": wanted}),
    )


def refused_events(facts: WebhookFacts) -> Advice | None:
    """Advise to unsubscribe from types that the receiver always refuses, while it accepts others."""
    ends = (DeliveryStatus.Delivered, DeliveryStatus.Failed, DeliveryStatus.Expired)
    ended = [outcome for outcome in facts.outcomes if outcome.status in ends]
    by_type = Counter(outcome.event_type for outcome in ended)
    refused = Counter(outcome.event_type for outcome in ended if _is_refusal(outcome))
    taken = {outcome.event_type for outcome in ended if outcome.status == DeliveryStatus.Delivered}
    unwanted = sorted(name for name, n in refused.items() if n >= ENOUGH and n == by_type[name])
    wildcards = any(name.endswith("*") for name in facts.webhook.event_types)
    kept = {name for name in facts.webhook.event_types if not name.endswith("*") and name not in unwanted}
    wanted = sorted(kept | taken if wildcards else kept)
    if not unwanted or not taken or not wanted or len(wanted) > 100:
        return None
    period = Period(ended[0].scheduled_at, facts.period.until)
    count = sum(refused[name] for name in unwanted)
    replaced = " The new list names the types it took; further ones must then be added by hand."
    return Advice(
        RecommendationKind.WebhookRefusedEvents,
        Priority.Soon,
        "Unsubscribe from events that the receiver refuses",
        f"The receiver refused every one of {count:,} deliveries of {_listed(unwanted)} with a 4xx status, while it "
        f"took others.{replaced if wildcards else ''}",
        (
            Figure("refusedDeliveries", count, "deliveries", period),
            Figure("refusedTypes", len(unwanted), "types", period),
            Figure("takenTypes", len(taken), "types", period),
            Figure("deliveriesLookedAt", len(ended), "deliveries", period),
        ),
        confidence_of(count, [outcome.scheduled_at.date() for outcome in ended if _is_refusal(outcome)]),
        (Figure("failedDeliveriesAvoidedPerDay", round(count / period.days, 1), "deliveries/day"),),
        Change(Operation.UpdateWebhook, {"eventTypes": wanted}),
    )


def _is_refusal(outcome: DeliveryOutcome) -> bool:
    return outcome.status == DeliveryStatus.Failed and outcome.http_status_code in _ABOUT_THE_REQUEST


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more types"


def _sum(hours: Sequence[Signal]) -> Tally:
    return total_of([hour.tally for hour in hours])


def _began(hours: Sequence[Signal]) -> datetime:
    began = hours[-1].hour
    for hour in reversed(hours):
        if not hour.tally.errors.get("unauthorized", 0):
            break
        began = hour.hour
    return began
