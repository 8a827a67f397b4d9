"""Rules about which provider serves a tenant. Facts in, advice out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import sqrt

from domain.integrations.model import IntegrationType
from domain.recommendations.facts import ProviderFacts
from domain.recommendations.model import (
    Advice,
    Confidence,
    Figure,
    Priority,
    RecommendationKind,
    confidence_of,
)
from domain.recommendations.peers import Shown

#: Whose providers do the same for whoever asks. A calendar, a CRM or files are where their people are.
INTERCHANGEABLE = frozenset(
    (IntegrationType.PaymentGateway, IntegrationType.EmailService, IntegrationType.SMSService)
)
_CHECKS_AT_LEAST = 100
_DAYS_AT_LEAST = 3
_FAILED_AT_LEAST = 20
_FAILED_SHARE = 0.02
_TIMES_AS_MANY = 3
_SLOW_MS = 500
_TIMES_AS_SLOW = 2
#: Standard deviations of the difference of two shares that are no chance.
_NO_CHANCE = 4
#: What the other provider may be slower by to count as no worse.
_AS_QUICK = 1.2
#: Of its owner's excess, so much must be seen by the other tenants of the provider too.
_SEEN_BY_OTHERS = 0.5


def does_badly(own: Shown | None, days: Sequence[date]) -> bool:
    """Whether another provider is worth looking at."""
    if own is None or own.checks < _CHECKS_AT_LEAST or len(set(days)) < _DAYS_AT_LEAST:
        return False
    fails = own.failed >= _FAILED_AT_LEAST and own.failed_share >= _FAILED_SHARE
    return fails or own.latency_ms >= _SLOW_MS


def other_provider(facts: ProviderFacts) -> Advice | None:
    """The provider fails three times as often as another of its type does for five other tenants or more, or takes
    twice as long, and is no better in the other respect."""
    own = facts.own
    if own is None or not does_badly(own, facts.days):
        return None
    better = [one for one in facts.others if _is_better(one, own) and _is_the_provider(facts.alike, own, one)]
    if not better:
        return None
    best = min(better, key=lambda one: (round(one.failed_share, 3), one.latency_ms, one.provider))
    confidence = confidence_of(own.checks, facts.days)
    if facts.alike is None:
        confidence = min(confidence, Confidence.Medium)  # it may be this account alone
    period = facts.period
    alike = (
        f" For {facts.alike.tenants} other tenants of {own.provider} it is {_percent(facts.alike)} % and "
        f"{facts.alike.latency_ms:,} ms: it is not this account alone."
        if facts.alike is not None
        else ""
    )
    return Advice(
        RecommendationKind.IntegrationOtherProvider,
        Priority.Later,
        f"Consider {best.provider} instead of {own.provider}",
        f"Of {own.checks:,} health checks {_percent(own)} % failed on the provider's side, and the median took "
        f"{own.latency_ms:,} ms; with {best.provider}, for {best.tenants} other tenants of this hub, it was "
        f"{_percent(best)} % of {best.checks:,} and {best.latency_ms:,} ms in the same week.{alike}",
        (
            Figure("checks", own.checks, "checks", period),
            Figure("failedShare", _percent(own), "%", period),
            Figure("medianLatency", own.latency_ms, "ms", period),
            Figure("otherProviderTenants", best.tenants, "tenants", period),
            Figure("otherProviderChecks", best.checks, "checks", period),
            Figure("otherProviderFailedShare", _percent(best), "%", period),
            Figure("otherProviderMedianLatency", best.latency_ms, "ms", period),
            *(
                (
                    Figure("sameProviderTenants", facts.alike.tenants, "tenants", period),
                    Figure("sameProviderFailedShare", _percent(facts.alike), "%", period),
                    Figure("sameProviderMedianLatency", facts.alike.latency_ms, "ms", period),
                )
                if facts.alike is not None
                else ()
            ),
        ),
        confidence,
        (
            Figure("failedShareLess", round(_percent(own) - _percent(best), 2), "%"),
            Figure("medianLatencyLess", own.latency_ms - best.latency_ms, "ms"),
        ),
    )


def _is_better(other: Shown, own: Shown) -> bool:
    if other.checks < _CHECKS_AT_LEAST:
        return False
    if _fails_less(other, own):
        return other.latency_ms <= _AS_QUICK * own.latency_ms
    return _is_quicker(other, own) and other.failed_share <= own.failed_share


def _fails_less(other: Shown, own: Shown) -> bool:
    if own.failed < _FAILED_AT_LEAST or own.failed_share < _FAILED_SHARE:
        return False
    difference = own.failed_share - other.failed_share
    together = (own.failed + other.failed) / (own.checks + other.checks)
    deviation = sqrt(together * (1 - together) * (1 / own.checks + 1 / other.checks))
    return own.failed_share >= _TIMES_AS_MANY * other.failed_share and difference >= _NO_CHANCE * deviation


def _is_quicker(other: Shown, own: Shown) -> bool:
    return own.latency_ms >= _SLOW_MS and own.latency_ms >= _TIMES_AS_SLOW * other.latency_ms


def _is_the_provider(alike: Shown | None, own: Shown, other: Shown) -> bool:
    """Where enough others use the same provider, they see half of what this tenant does beyond the other one."""
    if alike is None:
        return True
    if _fails_less(other, own):
        excess = own.failed_share - other.failed_share
        return alike.failed_share - other.failed_share >= _SEEN_BY_OTHERS * excess
    return alike.latency_ms - other.latency_ms >= _SEEN_BY_OTHERS * (own.latency_ms - other.latency_ms)


def _percent(shown: Shown) -> float:
    return round(100 * shown.failed_share, 2)
