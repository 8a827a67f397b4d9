"""Another provider of the same type does better for other tenants, none of whom can be told from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.recommendations.benchmarks import WEEK, ProviderBenchmark
from domain.recommendations.facts import ProviderFacts
from domain.recommendations.integration_rules import other_provider
from domain.recommendations.model import Advice, Confidence, Period
from tests.worlds.recommendation_facts import NOW, figures, integration_facts, tally

PERIOD = Period(NOW - WEEK, NOW)
DAYS = [(NOW - timedelta(days=n)).date() for n in range(7)]
FAILING = ProviderBenchmark("Mailgun", 2000, 100, 300)
SLOW = ProviderBenchmark("Mailgun", 2000, 2, 1200)
GOOD = ProviderBenchmark("SendGrid", 20_000, 20, 250, 10)
QUICK = ProviderBenchmark("Postmark", 20_000, 20, 240, 8)


def said(
    own: ProviderBenchmark | None,
    others: Sequence[ProviderBenchmark] = (GOOD,),
    alike: ProviderBenchmark | None = None,
    days: int = 7,
) -> Advice | None:
    integration = integration_facts(()).integration
    return other_provider(ProviderFacts(integration, PERIOD, DAYS[:days], own, alike, others))


def test_a_provider_that_fails_less_is_named_with_both_shares() -> None:
    advice = said(FAILING, alike=ProviderBenchmark("Mailgun", 10_000, 400, 310, 6))
    assert advice is not None
    assert advice.title == "Consider SendGrid instead of Mailgun"
    assert (advice.change, advice.confidence) == (None, Confidence.High)
    assert figures(advice) == {
        "checks": 2000,
        "failedShare": 5.0,
        "medianLatency": 300,
        "otherProviderTenants": 10,
        "otherProviderChecks": 20_000,
        "otherProviderFailedShare": 0.1,
        "otherProviderMedianLatency": 250,
        "sameProviderTenants": 6,
        "sameProviderFailedShare": 4.0,
        "sameProviderMedianLatency": 310,
        "failedShareLess": 4.9,
        "medianLatencyLess": 50,
    }


def test_a_provider_that_answers_in_half_the_time_is_named() -> None:
    assert figures(said(SLOW))["medianLatencyLess"] == 950


def test_of_several_the_best_is_named() -> None:
    advice = said(FAILING, [GOOD, QUICK])
    assert advice is not None and "Postmark" in advice.title


def test_without_others_of_the_same_provider_it_may_be_the_account__so_less_confidence() -> None:
    advice = said(FAILING)
    assert advice is not None and advice.confidence == Confidence.Medium


@pytest.mark.parametrize(
    ("own", "others", "alike", "days"),
    [
        (None, [GOOD], None, 7),
        (replace(FAILING, checks=99), [GOOD], None, 7),
        (FAILING, [GOOD], None, 2),
        (ProviderBenchmark("Mailgun", 2000, 30, 300), [GOOD], None, 7),
        (FAILING, [], None, 7),
        (FAILING, [ProviderBenchmark("SendGrid", 20_000, 400, 250, 10)], None, 7),
        (FAILING, [replace(GOOD, latency_ms=400)], None, 7),
        (SLOW, [replace(GOOD, latency_ms=700)], None, 7),
        (SLOW, [replace(GOOD, failed=200)], None, 7),
        (ProviderBenchmark("Mailgun", 2000, 2, 499), [replace(GOOD, latency_ms=10)], None, 7),
        (FAILING, [GOOD], ProviderBenchmark("Mailgun", 10_000, 10, 300, 6), 7),
        (SLOW, [GOOD], ProviderBenchmark("Mailgun", 10_000, 10, 300, 6), 7),
    ],
    ids=[
        "no checks",
        "few checks",
        "two days",
        "few failures",
        "nobody to compare with",
        "half as often is not a third",
        "fails less but slower",
        "not twice as quick",
        "quicker but fails more",
        "quick enough",
        "only this account fails",
        "only this account is slow",
    ],
)
def test_otherwise_nothing_is_said(
    own: ProviderBenchmark | None,
    others: Sequence[ProviderBenchmark],
    alike: ProviderBenchmark | None,
    days: int,
) -> None:
    assert said(own, others, alike, days) is None


def test_failures_of_an_account_are_not_the_providers() -> None:
    checks = tally(900, {"unauthorized": 50, "rate_limited": 30, "unavailable": 20}, latencies=[100] * 1000)
    shown = ProviderBenchmark.of("Mailgun", checks)
    assert shown is not None and (shown.checks, shown.failed) == (920, 20)


# -- over all tenants -------------------------------------------------------------------------------------
