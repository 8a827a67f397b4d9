"""Rules about which provider serves a tenant. Facts in, advice out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import sqrt
from typing import Final

from domain.providers.contract import IntegrationType
from domain.recommendations.benchmarks import ProviderBenchmark
from domain.recommendations.facts import ProviderFacts
from domain.recommendations.model import (
    Advice,
    Confidence,
    Figure,
    Period,
    Priority,
    RecommendationKind,
    confidence_of,
)
from domain.recommendations.ports import Attempts, DeliveryOutcome

#: Types whose providers can replace each other. A calendar, a CRM or files hold data that cannot move.
INTERCHANGEABLE = frozenset(
    (IntegrationType.PaymentGateway, IntegrationType.EmailService, IntegrationType.SMSService)
)
_CHECKS_AT_LEAST = 100
_FAILED_AT_LEAST = 20
_FAILED_SHARE = 0.02
_SLOW_MS = 500
#: The share of a tenant's excess that the provider's other tenants must see too.
_SEEN_BY_OTHERS = 0.5


def does_badly(own: ProviderBenchmark | None, days: Sequence[date]) -> bool:
    if own is None or own.checks < _CHECKS_AT_LEAST or len(set(days)) < 3:
        return False
    fails = own.failed >= _FAILED_AT_LEAST and own.failed_share >= _FAILED_SHARE
    return fails or own.latency_ms >= _SLOW_MS


def other_provider(facts: ProviderFacts) -> Advice | None:
    """Advise another provider of the type that does better for five other tenants or more.

    It fails a third as often or takes half as long, and is no worse in the other respect."""
    own = facts.own
    if own is None or not does_badly(own, facts.days):
        return None
    alike = facts.alike
    better = [
        other for other in facts.others if _is_better(other, own) and _is_the_provider(alike, own, other)
    ]
    if not better:
        return None
    best = min(better, key=lambda other: (round(other.failed_share, 3), other.latency_ms, other.provider))
    confidence = confidence_of(own.checks, facts.days)
    period, elsewhere = facts.period, ""
    same: Sequence[Figure] = ()
    if alike is None:
        confidence = min(confidence, Confidence.Medium)  # it may be this account alone
    else:
        elsewhere = (
            f" For {alike.tenants} other tenants of {own.provider} it is {_percent(alike)} % and "
            f"{alike.latency_ms:,} ms: it is not this account alone."
        )
        same = (
            Figure("sameProviderTenants", alike.tenants, "tenants", period),
            Figure("sameProviderFailedShare", _percent(alike), "%", period),
            Figure("sameProviderMedianLatency", alike.latency_ms, "ms", period),
        )
    return Advice(
        RecommendationKind.IntegrationOtherProvider,
        Priority.Later,
        f"Consider {best.provider} instead of {own.provider}",
        f"Of {own.checks:,} health checks {_percent(own)} % failed on the provider's side, and the median took "
        f"{own.latency_ms:,} ms; with {best.provider}, for {best.tenants} other tenants of this hub, it was "
        f"{_percent(best)} % of {best.checks:,} and {best.latency_ms:,} ms in the same week.{elsewhere}",
        (
            Figure("checks", own.checks, "checks", period),
            Figure("failedShare", _percent(own), "%", period),
            Figure("medianLatency", own.latency_ms, "ms", period),
            Figure("otherProviderTenants", best.tenants, "tenants", period),
            Figure("otherProviderChecks", best.checks, "checks", period),
            Figure("otherProviderFailedShare", _percent(best), "%", period),
            Figure("otherProviderMedianLatency", best.latency_ms, "ms", period),
            *same,
        ),
        confidence,
        (
            Figure("failedShareLess", round(_percent(own) - _percent(best), 2), "%"),
            Figure("medianLatencyLess", own.latency_ms - best.latency_ms, "ms"),
        ),
    )


def _is_better(other: ProviderBenchmark, own: ProviderBenchmark) -> bool:
    if other.checks < _CHECKS_AT_LEAST:
        return False
    if _fails_less(other, own):
        return other.latency_ms <= 1.2 * own.latency_ms
    is_quicker = own.latency_ms >= _SLOW_MS and own.latency_ms >= 2 * other.latency_ms
    return is_quicker and other.failed_share <= own.failed_share


def _fails_less(other: ProviderBenchmark, own: ProviderBenchmark) -> bool:
    if own.failed < _FAILED_AT_LEAST or own.failed_share < _FAILED_SHARE:
        return False
    difference = own.failed_share - other.failed_share
    together = (own.failed + other.failed) / (own.checks + other.checks)
    deviation = sqrt(together * (1 - together) * (1 / own.checks + 1 / other.checks))
    # Beyond four standard deviations the difference of two shares is not chance.
    return own.failed_share >= 3 * other.failed_share and difference >= 4 * deviation


def _is_the_provider(
    alike: ProviderBenchmark | None, own: ProviderBenchmark, other: ProviderBenchmark
) -> bool:
    """Return whether the provider itself does badly, rather than this account.

    Its other tenants must see half of what this one sees beyond the other provider."""
    if alike is None:
        return True
    if _fails_less(other, own):
        excess = own.failed_share - other.failed_share
        return alike.failed_share - other.failed_share >= _SEEN_BY_OTHERS * excess
    return alike.latency_ms - other.latency_ms >= _SEEN_BY_OTHERS * (own.latency_ms - other.latency_ms)


def _percent(benchmark: ProviderBenchmark) -> float:
    return round(100 * benchmark.failed_share, 2)


_T = IntegrationType

#: Words in the name of an event type, and the type of integration they call for; the first match counts. Other words,
#: such as order, call for none.
WORDS: Final[Sequence[tuple[IntegrationType, frozenset[str]]]] = (
    (_T.PaymentGateway, frozenset(("payment", "invoice", "refund", "checkout", "charge", "payout"))),
    (_T.SMSService, frozenset(("sms", "otp", "reminder"))),
    (_T.EmailService, frozenset(("email", "newsletter", "invitation", "registration", "ticket"))),
    (_T.CRM, frozenset(("lead", "contact", "customer", "deal"))),
    (_T.Storage, frozenset(("file", "document", "attachment", "upload"))),
    (_T.Analytics, frozenset(("pageview", "visit", "conversion", "click"))),
    (_T.CalendarSync, frozenset(("booking", "appointment", "event", "session", "reservation"))),
)
#: The end of a host name, and whose it is.
HOSTS: Final[Mapping[str, tuple[IntegrationType, str]]] = {
    "stripe.com": (_T.PaymentGateway, "Stripe"),
    "paypal.com": (_T.PaymentGateway, "PayPal"),
    "squareup.com": (_T.PaymentGateway, "Square"),
    "sendgrid.com": (_T.EmailService, "SendGrid"),
    "mailgun.net": (_T.EmailService, "Mailgun"),
    "postmarkapp.com": (_T.EmailService, "Postmark"),
    "twilio.com": (_T.SMSService, "Twilio"),
    "nexmo.com": (_T.SMSService, "Vonage"),
    "vonage.com": (_T.SMSService, "Vonage"),
    "hubapi.com": (_T.CRM, "HubSpot"),
    "hubspot.com": (_T.CRM, "HubSpot"),
    "salesforce.com": (_T.CRM, "Salesforce"),
    "salesforce-sites.com": (_T.CRM, "Salesforce"),
    "segment.com": (_T.Analytics, "Segment"),
    "segment.io": (_T.Analytics, "Segment"),
    "google-analytics.com": (_T.Analytics, "GA4"),
    "blob.core.windows.net": (_T.Storage, "AzureBlob"),
}
_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True, slots=True)
class Flow:
    """Events that a webhook was sent in `period`, by their types; `host` is the receiver's."""

    host: str
    period: Period
    events: Counter[str]
    days: frozenset[date]


@dataclass(frozen=True, slots=True)
class Need:
    """A type of integration that events, by type, call for; `webhooks` by the provider they go to."""

    integration_type: IntegrationType
    period: Period
    events: Mapping[str, int]
    per_day: float
    days: frozenset[date]
    webhooks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class MissingFacts:
    """`providers` of the type that the hub supports; `benchmarks` of those that enough other tenants use."""

    need: Need
    providers: Sequence[str]
    benchmarks: Sequence[ProviderBenchmark]
    week: Period


def type_of(event_type: str) -> IntegrationType | None:
    """Return the type of integration that the words of an event type's name call for."""
    pieces = [piece.lower() for piece in _PIECES.findall(event_type)]
    words = {*pieces, *(piece.removesuffix("s") for piece in pieces)}
    return next((kind for kind, known in WORDS if not words.isdisjoint(known)), None)


def owner_of(host: str) -> tuple[IntegrationType, str] | None:
    pieces = host.lower().rstrip(".").split(".")
    ends = (".".join(pieces[n:]) for n in range(len(pieces)))
    return next((HOSTS[end] for end in ends if end in HOSTS), None)


def flow_of(host: str, period: Period, deliveries: Sequence[DeliveryOutcome], of: Attempts | None) -> Flow:
    """Build the flow of a webhook from its deliveries, oldest first.

    Given `of`, they are only the newest of those, and their mix stands for all that arrived."""
    events = Counter(delivery.event_type for delivery in deliveries)
    days = {delivery.scheduled_at.date() for delivery in deliveries}
    if of is None:
        return Flow(host, period, events, frozenset(days))
    times = max(1.0, (of.total - of.failed) / len(deliveries))
    scaled = Counter({name: round(n * times) for name, n in events.items()})
    since = min(max(of.first, period.since), deliveries[0].scheduled_at)
    return Flow(host, Period(since, period.until), scaled, frozenset(days | {since.date()}))


def needs(flows: Sequence[Flow]) -> list[Need]:
    """Return the types of integrations that the events of all webhooks call for, where there are enough of them.

    An event goes to several webhooks: the one that got most of a type tells how many events there are."""
    found = []
    for kind in IntegrationType:
        events: dict[str, int] = {}
        rates: dict[str, float] = {}
        days: set[date] = set()
        webhooks: Counter[str] = Counter()
        since, until = None, None
        for flow in flows:
            owner = owner_of(flow.host)
            is_owners = owner is not None and owner[0] == kind
            taken = flow.events.items()
            mine = {name: n for name, n in taken if (is_owners if owner else type_of(name) == kind)}
            if not mine:
                continue
            if owner is not None:
                webhooks[owner[1]] += 1
            for name, n in mine.items():
                events[name] = max(events.get(name, 0), n)
                rates[name] = max(rates.get(name, 0.0), n / flow.period.days)
            days |= flow.days
            since = min(since or flow.period.since, flow.period.since)
            until = max(until or flow.period.until, flow.period.until)
        per_day = sum(rates.values())
        are_enough = sum(events.values()) >= 50 and len(days) >= 2 and per_day >= 1
        if since is not None and until is not None and are_enough:
            found.append(Need(kind, Period(since, until), events, per_day, frozenset(days), webhooks))
    return found


def missing(facts: MissingFacts) -> Advice | None:
    """Advise an integration of a type that the events call for and the hub has providers for."""
    need = facts.need
    hosted = [name for name, _ in Counter(need.webhooks).most_common() if name in facts.providers]
    if not facts.providers:
        return None
    ranked = sorted(facts.benchmarks, key=lambda benchmark: (benchmark.failed_share, benchmark.latency_ms))
    best = ranked[0] if ranked else None
    provider = hosted[0] if hosted else best.provider if best else None
    total, count = sum(need.events.values()), sum(need.webhooks.values())
    kind = need.integration_type.name
    why = ""
    if hosted:
        why = f" {count:,} of the webhooks {'goes' if count == 1 else 'go'} straight to {provider}."
    elif best is not None:
        why = (
            f" Of these {best.provider} fails least for other tenants of this hub: {100 * best.failed_share:.2f} % of "
            f"{best.checks:,} health checks of {best.tenants} tenants."
        )
    confidence = confidence_of(total, sorted(need.days))
    return Advice(
        RecommendationKind.IntegrationMissing,
        Priority.Later,
        f"Consider {provider} as {kind}" if provider else f"Consider an integration of the type {kind}",
        f"{total:,} events of {_listed(need.events)}, {need.per_day:,.1f} a day, went to webhooks, and there is no "
        f"integration of the type {kind}. The hub supports {_and(facts.providers)}.{why} An integration keeps its "
        "credentials apart and checks its health.",
        (
            Figure("events", total, "events", need.period),
            Figure("eventsPerDay", round(need.per_day, 1), "events/day", need.period),
            Figure("eventTypes", len(need.events), "types", need.period),
            Figure("webhooksToProvider", count, "webhooks", need.period),
            Figure("integrationsOfType", 0, "integrations"),
            *_figures(best, facts.week),
        ),
        # Words in a name are a hint; a webhook to a provider is a fact.
        confidence if hosted else min(confidence, Confidence.Medium),
        (Figure("eventsServedPerDayAtMost", round(need.per_day, 1), "events/day"),),
    )


def _figures(best: ProviderBenchmark | None, week: Period) -> Sequence[Figure]:
    if best is None:
        return ()
    return (
        Figure("providerTenants", best.tenants, "tenants", week),
        Figure("providerChecks", best.checks, "checks", week),
        Figure("providerFailedShare", round(100 * best.failed_share, 2), "%", week),
        Figure("providerMedianLatency", best.latency_ms, "ms", week),
    )


def _listed(events: Mapping[str, int]) -> str:
    names = [f"`{name}`" for name, _ in Counter(events).most_common(3)]
    more = len(events) - len(names)
    return _and([*names, f"{more} more types"] if more else names)


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
