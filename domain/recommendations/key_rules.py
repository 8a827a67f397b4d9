"""Rules about API keys. Facts in, advice out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from math import ceil

from domain.apikeys.model import KeyStatus
from domain.core.permissions import (
    ALERTS_PLATFORM,
    ALERTS_READ,
    INSIGHTS_READ,
    INTEGRATION_MANAGE,
    WEBHOOK_MANAGE,
)
from domain.monitoring.anomalies.ports import ANYTHING
from domain.recommendations.facts import KeyFacts
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

UNUSED = timedelta(days=90)
#: Scopes that a request verified for another scope may use as well: some pages show more to callers who may see more.
_BESIDE: Mapping[str, frozenset[str]] = {
    INSIGHTS_READ: frozenset((WEBHOOK_MANAGE, INTEGRATION_MANAGE)),
    ALERTS_READ: frozenset((ALERTS_PLATFORM,)),
}
#: A key that manages keys can pass on all of its own scopes.
_PASSES_ON = frozenset((INTEGRATION_MANAGE, ANYTHING))
_MOST_PER_HOUR = 10_000


def higher_limit(facts: KeyFacts) -> Advice | None:
    """Advise a higher limit for a key that was refused for its limit in three hours or more, on two days or more."""
    limit = facts.key.rate_limit_per_hour
    limited = [hour for hour in facts.hours if hour.limited]
    days = [hour.start.date() for hour in limited]
    refused = sum(hour.limited for hour in limited)
    if len(limited) < 3 or len(set(days)) < 2 or refused < 20:
        return None
    busiest = max(hour.accepted + hour.limited for hour in limited)
    wanted = min(_MOST_PER_HOUR, ceil(busiest * 1.2 / 100) * 100)
    if wanted <= limit:
        return None
    fits = sum(min(hour.limited, max(0, wanted - hour.accepted)) for hour in limited)
    return Advice(
        RecommendationKind.KeyHigherLimit,
        Priority.Soon,
        f"Raise the key's limit to {wanted:,} requests an hour",
        f"In {len(limited)} hours on {len(set(days))} days the limit of {limit:,} refused {refused:,} requests; in the "
        f"busiest {busiest:,} were made. {wanted:,} is a fifth more than that"
        f"{', as far as the platform allows' if wanted == _MOST_PER_HOUR else ''}. Make sure that the traffic is "
        "wanted first.",
        (
            Figure("refused", refused, "requests", facts.period),
            Figure("hoursAtTheLimit", len(limited), "hours", facts.period),
            Figure("busiestHour", busiest, "requests/hour", facts.period),
            Figure("limit", limit, "requests/hour"),
        ),
        confidence_of(refused, days),
        (Figure("refusalsAvoidedPerDay", round(fits / facts.period.days, 1), "requests/day"),),
        Change(Operation.UpdateApiKey, {"rateLimitPerHour": wanted}),
    )


def unused(facts: KeyFacts) -> Advice | None:
    """Advise to revoke a valid key that was not used for 90 days."""
    key, now = facts.key, facts.period.until
    since = key.last_used_at or key.not_before or key.created_at
    if key.status(now) != KeyStatus.Active or now - since < UNUSED:
        return None
    days = (now - since) // timedelta(days=1)
    use = f"was never used in {days} days" if key.last_used_at is None else f"was last used {days} days ago"
    return Advice(
        RecommendationKind.KeyUnused,
        Priority.Later,
        "Revoke the key, which nobody uses",
        f"The key is valid and {use}; whoever finds it may use it. Revoking is final.",
        (Figure("daysWithoutUse", days, "days", Period(since, now)),),
        # Every hour without a request was seen.
        Confidence.High,
        (Figure("validKeysFewer", 1, "keys"),),
        Change(Operation.RevokeApiKey, {"reason": f"Not used for {days} days."}),
    )


def unused_scopes(facts: KeyFacts) -> Advice | None:
    """Advise to remove scopes that a key in use did not need in 90 days of watching."""
    key, now = facts.key, facts.period.until
    recent = {scope.value for scope in facts.scopes if now - scope.last_seen_at < UNUSED}
    watched = min((scope.first_seen_at for scope in facts.scopes), default=now)
    if key.status(now) != KeyStatus.Active or now - watched < UNUSED or recent & _PASSES_ON:
        return None
    used = recent.union(*(_BESIDE.get(scope, frozenset()) for scope in recent))
    kept = [scope for scope in key.scopes if scope in used]
    idle = [scope for scope in key.scopes if scope not in used]
    if not kept or not idle:
        return None
    days = UNUSED // timedelta(days=1)
    period = Period(now - UNUSED, now)
    shown = ", ".join(f"`{scope}`" for scope in idle[:3])
    more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""
    return Advice(
        RecommendationKind.KeyUnusedScopes,
        Priority.Later,
        "Take the scopes away that the key is not used for",
        f"In {days} days the key was used for {len(kept)} of its {len(key.scopes)} scopes, never for {shown}{more}. "
        "Whoever finds the key may use them all. Scopes can be taken away and not given back.",
        (
            Figure("scopes", len(key.scopes), "scopes"),
            Figure("scopesUsed", len(kept), "scopes", period),
            Figure("scopesUnused", len(idle), "scopes", period),
            Figure("watched", (now - watched) // timedelta(days=1), "days", Period(watched, now)),
        ),
        # Every use was seen.
        Confidence.High,
        (Figure("scopesFewer", len(idle), "scopes"),),
        Change(Operation.UpdateApiKey, {"scopes": kept}),
    )


def without_expiry(facts: KeyFacts) -> Advice | None:
    """Advise to rotate a key of half a year without expiry; the hub cannot give its users the new one."""
    key, now = facts.key, facts.period.until
    age = now - key.created_at
    if key.status(now) != KeyStatus.Active or key.expires_at is not None or age < timedelta(days=180):
        return None
    if key.rotated_to is not None or unused(facts) is not None:
        return None
    days = age // timedelta(days=1)
    return Advice(
        RecommendationKind.KeyWithoutExpiry,
        Priority.Later,
        "Rotate the key, and let the new one expire",
        f"The key has been valid for {days} days and never expires. Rotate it with an `expiresAt`; both work during "
        "the grace period, so that its users can change over.",
        (
            Figure("age", days, "days", Period(key.created_at, now)),
            Figure("requests", key.usage_count, "requests", Period(key.created_at, now)),
        ),
        Confidence.High,
    )
