"""Integrations that a tenant's events speak of and that it does not have."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from domain.providers.contract import IntegrationType
from domain.recommendations.benchmarks import WEEK, ProviderBenchmark
from domain.recommendations.integration_rules import (
    HOSTS,
    Flow,
    MissingFacts,
    Need,
    flow_of,
    missing,
    needs,
    owner_of,
    type_of,
)
from domain.recommendations.model import Advice, Confidence, Period
from domain.recommendations.ports import Attempts
from infra.providers.registry import all_providers
from tests.worlds.recommendation_facts import NOW, delivered, figures

FORTNIGHT = Period(NOW - timedelta(days=14), NOW)
DAYS = frozenset((NOW - timedelta(days=n)).date() for n in range(14))


def flow(host: str = "app.example", period: Period = FORTNIGHT, **events: int) -> Flow:
    return Flow(
        host, period, Counter({name.replace("_", "."): n for name, n in events.items()}), frozenset(DAYS)
    )


def said(
    need: Need, *shown: ProviderBenchmark, providers: tuple[str, ...] = ("Google", "Outlook")
) -> Advice | None:
    return missing(MissingFacts(need, providers, shown, Period(NOW - WEEK, NOW)))


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("BookingConfirmed", IntegrationType.CalendarSync),
        ("EventCancelled", IntegrationType.CalendarSync),
        ("booking.payment.received", IntegrationType.PaymentGateway),
        ("booking.reminder_due", IntegrationType.SMSService),
        ("attendee.registration-completed", IntegrationType.EmailService),
        ("SMSRequested", IntegrationType.SMSService),
        ("Customers.changed", IntegrationType.CRM),
        ("order.created", None),
        ("AnomalyDetected", None),
        ("eventual.consistency", None),
    ],
)
def test_the_words_of_an_event_type_tell_what_it_is_about(
    event_type: str, kind: IntegrationType | None
) -> None:
    assert type_of(event_type) == kind


def test_a_host_is_a_providers_by_its_end() -> None:
    assert owner_of("API.HubApi.com.") == (IntegrationType.CRM, "HubSpot")
    assert owner_of("nothubapi.com") is None
    assert owner_of("hubapi.com.evil.example") is None
    providers = all_providers()
    assert all(providers[name].profile.integration_type == kind for kind, name in HOSTS.values())


def test_events_of_a_type_are_counted_once_however_many_webhooks_get_them() -> None:
    [need] = needs(
        [flow(BookingConfirmed=140), flow(BookingConfirmed=70, EventCreated=28), flow(order_created=500)]
    )
    assert (need.integration_type, need.events) == (
        IntegrationType.CalendarSync,
        {"BookingConfirmed": 140, "EventCreated": 28},
    )
    assert (need.per_day, need.webhooks) == (12, {})


def test_a_webhook_to_a_provider_speaks_for_that_provider_whatever_its_events_are_called() -> None:
    [need] = needs([flow("api.hubapi.com", order_created=100)])
    assert (need.integration_type, need.webhooks) == (IntegrationType.CRM, {"HubSpot": 1})


def test_the_newest_deliveries_stand_for_all_that_arrived() -> None:
    """500 of an hour, of 14,000 that arrived in a week: 2,000 a day, not 12,000."""
    hour = [
        delivered(NOW - timedelta(minutes=60) + timedelta(seconds=7 * n), ("BookingConfirmed", "x.y")[n % 2])
        for n in range(500)
    ]
    made = flow_of("app.example", FORTNIGHT, hour, Attempts(15_000, 1000, NOW - timedelta(days=7)))
    assert made.events == {"BookingConfirmed": 7000, "x.y": 7000}
    assert (made.period.since, len(made.days)) == (NOW - timedelta(days=7), 2)
    [need] = needs([made])
    assert (need.events, need.per_day) == ({"BookingConfirmed": 7000}, 1000)
    whole = flow_of("app.example", FORTNIGHT, hour, None)
    assert (whole.events["x.y"], whole.period, len(whole.days)) == (250, FORTNIGHT, 1)


@pytest.mark.parametrize(
    "flows",
    [
        [],
        [flow(BookingConfirmed=49)],
        [flow(order_created=5000)],
        [flow(period=Period(NOW - timedelta(days=90), NOW), BookingConfirmed=60)],
        [Flow("app.example", FORTNIGHT, Counter(BookingConfirmed=400), frozenset([NOW.date()]))],
    ],
    ids=["no events", "few", "of no known kind", "less than one a day", "of one day"],
)
def test_few_events_need_nothing(flows: list[Flow]) -> None:
    assert needs(flows) == []


def test_what_is_missing_is_said_with_the_events_and_their_rate() -> None:
    [need] = needs([flow(BookingConfirmed=140, EventCreated=28)])
    advice = said(need)
    assert figures(advice) == {
        "events": 168,
        "eventsPerDay": 12,
        "eventTypes": 2,
        "webhooksToProvider": 0,
        "integrationsOfType": 0,
        "eventsServedPerDayAtMost": 12,
    }
    assert advice is not None
    assert advice.title == "Consider an integration of the type CalendarSync"
    # a name is a hint, and credentials are a person's to give
    assert (advice.confidence, advice.change) == (Confidence.Medium, None)


def test_the_provider_that_fails_least_for_others_is_named() -> None:
    [need] = needs([flow(BookingConfirmed=140)])
    advice = said(
        need, ProviderBenchmark("Google", 9000, 90, 200, 12), ProviderBenchmark("Outlook", 8000, 8, 300, 7)
    )
    assert advice is not None and advice.title == "Consider Outlook as CalendarSync"
    assert figures(advice)["providerFailedShare"] == 0.1


def test_the_provider_that_webhooks_go_to_is_named_before_any_other() -> None:
    [need] = needs([flow("api.hubapi.com", LeadCreated=200)])
    advice = said(
        need, ProviderBenchmark("Salesforce", 9000, 0, 200, 12), providers=("HubSpot", "Salesforce")
    )
    assert advice is not None and advice.title == "Consider HubSpot as CRM"
    assert (advice.confidence, figures(advice)["webhooksToProvider"]) == (Confidence.High, 1)


def test_a_type_that_is_switched_off_is_not_recommended() -> None:
    [need] = needs([flow(BookingConfirmed=140)])
    assert said(need, providers=()) is None


# -- from stored deliveries -------------------------------------------------------------------------------
