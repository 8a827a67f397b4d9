"""Comparing providers over the health checks of other tenants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from domain.integrations.model import Integration
from domain.journal.signals import Signal, SubjectKind, Tally, hour_of
from domain.providers.contract import IntegrationType
from domain.recommendations.benchmarks import WEEK, Peers, ProviderBenchmark
from domain.recommendations.model import Period, RecommendationKind
from tests.worlds.builders import TENANT, USER
from tests.worlds.recommendation_facts import BADLY, WELL, integration_facts
from tests.worlds.recommendation_world import RecommendationWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RecommendationWorld]:
    made = RecommendationWorld(tmp_path)
    yield made
    made.close()


def _uses(
    world: RecommendationWorld, tenant_id: UUID, provider: str, hour: Tally, *, hours: int = 96
) -> Integration:
    """Add an active integration of e-mail with so many hours like `hour`, added up."""
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
        tx.signals.append([Signal(tenant_id, kind, made.integration_id, at, hour) for at in moments])
        tx.commit()
    with world.transactions.write() as tx:
        tx.signals.compact(10_000)
        tx.commit()
    return made


async def test_four_other_tenants_are_not_shown_and_five_are__10_1(world: RecommendationWorld) -> None:
    _uses(world, TENANT, "Mailgun", BADLY)
    others = [UUID(int=0x1000 + n) for n in range(5)]
    for other in others[:4]:
        _uses(world, other, "SendGrid", WELL)
    assert await world.listed() == []
    _uses(world, others[4], "SendGrid", WELL)
    world.clock.advance(hours=1)  # within an hour nothing is read again
    [entry] = await world.listed()
    advice = entry.recommendation.advice
    assert advice.kind == RecommendationKind.IntegrationOtherProvider
    assert {figure.name: figure.value for figure in advice.evidence}["otherProviderTenants"] == 5
    told = repr(entry)
    assert not any(str(other) in told or repr(other) in told for other in others)


async def test_the_reader_is_not_one_of_the_five(world: RecommendationWorld) -> None:
    readers = [UUID(int=0x1000 + n) for n in range(5)]
    for reader in readers:
        _uses(world, reader, "SendGrid", WELL)
    period = Period(hour_of(world.clock.now()) - WEEK, hour_of(world.clock.now()))
    peers = Peers()
    with world.transactions.read() as tx:
        assert peers.benchmark(tx, "SendGrid", period, to=readers[0]) is None
        shown = peers.benchmark(tx, "SendGrid", period, to=TENANT)
    assert shown == ProviderBenchmark("SendGrid", 5 * 96 * 12, 0, shown.latency_ms, 5) if shown else False


async def test_a_tenant_that_would_stand_out_hides_all(world: RecommendationWorld) -> None:
    for n in range(5):
        _uses(world, UUID(int=0x1000 + n), "SendGrid", WELL, hours=96 if n == 0 else 10)
    period = Period(hour_of(world.clock.now()) - WEEK, hour_of(world.clock.now()))
    with world.transactions.read() as tx:
        assert Peers().benchmark(tx, "SendGrid", period, to=TENANT) is None


async def test_who_has_nothing_to_complain_of_costs_no_look_at_others(
    world: RecommendationWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    _uses(world, TENANT, "Mailgun", WELL)

    def look(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Peers, "benchmark", look)
    assert await world.listed() == []
