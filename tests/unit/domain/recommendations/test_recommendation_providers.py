"""Another provider of the same type does better for other tenants, none of whom can be told from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from domain.integrations.model import Integration
from domain.journal.signals import Signal, SubjectKind, Tally, hour_of
from domain.providers.contract import IntegrationType
from domain.recommendations.benchmarks import WEEK, Peers, ProviderBenchmark
from domain.recommendations.facts import ProviderFacts
from domain.recommendations.integration_rules import other_provider
from domain.recommendations.model import Advice, Confidence, Period, RecommendationKind
from tests.worlds.builders import TENANT, USER
from tests.worlds.recommendation_facts import NOW, figures, integration_facts, tally
from tests.worlds.recommendation_world import RecommendationWorld

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


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecommendationWorld]:
    made = RecommendationWorld(tmp_path)
    yield made
    made.close()


def _uses(
    world: RecommendationWorld, tenant_id: UUID, provider: str, one: Tally, *, hours: int = 96
) -> Integration:
    """An active integration of e-mail with so many hours like `one`, added up."""
    made = replace(
        integration_facts(()).integration,
        integration_id=uuid5(tenant_id, provider),
        tenant_id=tenant_id,
        integration_type=IntegrationType.EmailService,
        provider=provider,
    )
    first = hour_of(world.clock.now()) - timedelta(hours=hours)
    moments = [first + timedelta(hours=n) for n in range(hours)]
    kind = SubjectKind.Integration
    with world.transactions.write() as tx:
        tx.users.see(tenant_id, USER, "Ada", world.clock.now())
        tx.integrations.add(tenant_id, made)
        tx.signals.append([Signal(tenant_id, kind, made.integration_id, at, one) for at in moments])
        tx.commit()
    with world.transactions.write() as tx:
        tx.signals.compact(10_000)
        tx.commit()
    return made


WELL = tally(12, latencies=[200] * 12)
BADLY = tally(10, {"unavailable": 2}, latencies=[200] * 12)


async def test_four_other_tenants_are_not_shown_and_five_are__10_1(world: RecommendationWorld) -> None:
    _uses(world, TENANT, "Mailgun", BADLY)
    others = [UUID(int=0x1000 + n) for n in range(5)]
    for other in others[:4]:
        _uses(world, other, "SendGrid", WELL)
    assert await world.listed() == []
    _uses(world, others[4], "SendGrid", WELL)
    world.clock.advance(hours=1)  # within an hour nothing is read again
    [one] = await world.listed()
    advice = one.recommendation.advice
    assert advice.kind == RecommendationKind.IntegrationOtherProvider
    assert {figure.name: figure.value for figure in advice.evidence}["otherProviderTenants"] == 5
    told = repr(one)
    assert not any(str(other) in told or repr(other) in told for other in others)


async def test_the_reader_is_not_one_of_the_five(world: RecommendationWorld) -> None:
    readers = [UUID(int=0x1000 + n) for n in range(5)]
    for reader in readers:
        _uses(world, reader, "SendGrid", WELL)
    period = Period(hour_of(world.clock.now()) - WEEK, hour_of(world.clock.now()))
    peers = Peers()
    with world.transactions.read() as tx:
        assert peers.shown(tx, "SendGrid", period, to=readers[0]) is None
        shown = peers.shown(tx, "SendGrid", period, to=TENANT)
    assert shown == ProviderBenchmark("SendGrid", 5 * 96 * 12, 0, shown.latency_ms, 5) if shown else False


async def test_a_tenant_that_would_stand_out_hides_all(world: RecommendationWorld) -> None:
    for n in range(5):
        _uses(world, UUID(int=0x1000 + n), "SendGrid", WELL, hours=96 if n == 0 else 10)
    period = Period(hour_of(world.clock.now()) - WEEK, hour_of(world.clock.now()))
    with world.transactions.read() as tx:
        assert Peers().shown(tx, "SendGrid", period, to=TENANT) is None


async def test_who_has_nothing_to_complain_of_costs_no_look_at_others(
    world: RecommendationWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _uses(world, TENANT, "Mailgun", WELL)

    def look(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Peers, "shown", look)
    assert await world.listed() == []
