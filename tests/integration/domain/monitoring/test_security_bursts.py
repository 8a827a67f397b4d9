"""Security violations: one occurrence a burst, told at its start and its end, with its true count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.core.errors import Unavailable
from domain.integrations.model import Integration, IntegrationStatus
from domain.journal.audit_log import AuditService
from domain.journal.bursts import Burst, BurstSource
from domain.journal.occurrences import PLATFORM
from domain.monitoring.alerts.model import Alert, AlertStatus
from domain.providers.contract import IntegrationType
from tests.worlds.alert_world import AlertWorld

SHOP = UUID(int=5)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AlertWorld]:
    made = AlertWorld(tmp_path)
    shop = Integration(
        SHOP,
        made.principal.tenant_id,
        "Shop",
        IntegrationType.CustomAPI,
        "REST",
        IntegrationStatus.Active,
        "sealed",
        made.clock.now(),
        made.principal.user_id,
    )
    with made.transactions.write() as tx:
        tx.integrations.add(shop.tenant_id, shop)
        tx.commit()
    yield made
    made.close()


def refused(
    world: AlertWorld,
    count: int = 1,
    *,
    subject: str = str(SHOP),
    source: BurstSource = BurstSource.Refusals,
    tenant_id: UUID | None = None,
) -> None:
    now = world.clock.now()
    burst = Burst(
        tenant_id or world.principal.tenant_id,
        source,
        subject,
        "Shop",
        now,
        now,
        count,
        "The signature does not match.",
        "203.0.113.9",
    )
    with world.transactions.write() as tx:
        tx.bursts.add(burst)
        tx.commit()


def minute(world: AlertWorld, minutes: int = 1) -> None:
    for _ in range(minutes):
        world.clock.advance(minutes=1)
        world.evaluator.evaluate()


def told(world: AlertWorld, **filter_: Any) -> list[tuple[int, int, str]]:
    """The occurrences, count and state that each alert shows."""
    found: list[Alert] = world.listed(**filter_)
    details = [json.loads(alert.details) for alert in found]
    return [
        (alert.occurrences, detail["count"], detail["state"])
        for alert, detail in zip(found, details, strict=True)
    ]


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    alerts = [record.alert for record in caplog.records if record.getMessage() == "alert"]  # type: ignore[attr-defined]
    return [alert for alert in alerts if alert["kind"] == "security-violation"]


def test_a_burst_is_one_occurrence_told_within_a_minute_and_at_its_end(
    world: AlertWorld, caplog: pytest.LogCaptureFixture
) -> None:
    refused(world, 80)
    minute(world)
    assert told(world) == [(1, 80, "ongoing")]
    for _ in range(3):
        refused(world, 100)
        minute(world)
    assert told(world) == [(1, 380, "ongoing")]
    minute(world, 4)
    assert told(world) == [(1, 380, "ended")]
    [alert] = world.listed()
    assert alert.summary == (
        "Shop: 380 incoming webhooks were refused from 2026-03-01 09:00:00 to 09:03:00 UTC; it is over."
        " The signature does not match."
    )
    assert [(line["data"]["count"], line["data"]["state"]) for line in lines(caplog)] == [
        (80, "ongoing"),
        (380, "ended"),
    ]
    assert len(world.raised("AlertRaised")) == 1
    with world.transactions.read() as tx:
        assert tx.bursts.largest(10) == []


def test_one_wrong_signature_pages_nobody(world: AlertWorld, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(9):
        refused(world)
        minute(world)
    minute(world, 10)
    for _ in range(5):  # one every six minutes, for half an hour
        refused(world)
        minute(world, 6)
    assert (told(world), lines(caplog)) == ([], [])


@pytest.mark.parametrize(("every", "count"), [(15, 40), (60, 10), (290, 10)])
def test_forty_spread_over_ten_minutes_do_alert(world: AlertWorld, every: int, count: int) -> None:
    for _ in range(count):
        refused(world)
        world.clock.advance(seconds=every)
        world.evaluator.evaluate()
    minute(world, 6)
    assert told(world) == [(1, count, "ended")]


def test_the_next_burst_is_the_next_occurrence(world: AlertWorld) -> None:
    for _ in range(3):
        refused(world, 20)
        minute(world, 7)
    assert told(world) == [(3, 20, "ended")]


def test_the_tenants_own_volume_holds_and_the_log_tells_whoever_runs_the_hub_all_the_same(
    world: AlertWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.rule("security-violation", minimumVolume=100)
    refused(world, 60)
    minute(world)
    assert told(world) == []
    assert [line["data"]["count"] for line in lines(caplog)] == [60]
    refused(world, 60)
    minute(world)
    assert told(world) == [(1, 120, "ongoing")]
    world.rule("security-violation", isEnabled=False)
    minute(world, 8)
    assert [line["data"]["count"] for line in lines(caplog)] == [60, 120]


def test_a_network_that_tries_credentials_is_the_platforms_alert(world: AlertWorld) -> None:
    network, source = "203.0.113.0/24", BurstSource.UnknownCredentials
    refused(world, 39, subject=network, source=source, tenant_id=PLATFORM)
    minute(world)
    refused(world, 1, subject=network, source=source, tenant_id=PLATFORM)
    minute(world)
    assert told(world, platform=True) == [(1, 40, "ongoing")]
    assert world.listed() == []


def test_bodies_that_come_again_are_over_after_an_hour_without_one(world: AlertWorld) -> None:
    refused(world, 11, source=BurstSource.SameBodies)
    minute(world)
    world.clock.advance(minutes=57)
    refused(world, 4, source=BurstSource.SameBodies)
    world.clock.advance(minutes=58)
    minute(world)
    assert told(world) == [(1, 15, "ongoing")]
    minute(world)
    assert told(world) == [(1, 15, "ended")]


def test_an_audit_log_that_verifies_again_ends_its_alert(world: AlertWorld) -> None:
    world.happen("security-violation", {"subject": "audit", "detail": "Broken.", "firstBroken": 3})
    world.clock.advance(minutes=1)
    world.hub.use(AuditService).verify(world.principal)
    world.take_sent()
    [alert] = world.listed()
    assert alert.status == AlertStatus.Recovered
    assert alert.recovery is not None
    assert alert.recovery.startswith("The whole audit log was verified: ")


def test_evidence_older_than_the_violation_ends_nothing(world: AlertWorld) -> None:
    body = world.happen("audit-intact", {"subject": "audit", "detail": "Intact."})
    world.clock.advance(minutes=1)
    world.happen("security-violation", {"subject": "audit", "detail": "Broken.", "firstBroken": 3})
    world.intake.receive([(body, "m-1")])
    assert [alert.status for alert in world.listed()] == [AlertStatus.Open]


def test_rate_limits_are_counted_again_when_three_attempts_in_a_row_succeed(
    world: AlertWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.happen("rate-limit-store-down", {"subject": "rate-limits", "detail": "Away."})
    minute(world, 2)
    assert world.listed(platform=True)[0].successes == 2
    with monkeypatch.context() as patched:
        patched.setattr("domain.apikeys.rate_limit.RateLimiter.charge", _away)
        minute(world)
    [alert] = world.listed(platform=True)
    assert (alert.successes, alert.occurrences) == (0, 1)
    minute(world, 4)
    assert world.listed(platform=True)[0].status == AlertStatus.Open
    minute(world)
    [alert] = world.listed(platform=True)
    assert (alert.status, alert.recovery) == (
        AlertStatus.Recovered,
        "5 attempts to count, one a minute, in a row succeeded.",
    )


def _away(*_: object) -> None:
    raise Unavailable("The table store is away.")


def test_messages_that_are_read_again_end_the_alert_about_one_that_was_not(world: AlertWorld) -> None:
    world.intake.receive([("no JSON", "m-1")])
    world.clock.advance(seconds=timedelta(hours=2).total_seconds())
    world.evaluator.evaluate()
    assert world.listed(platform=True)[0].status == AlertStatus.Open
    for _ in range(2):
        world.happen("key-anomaly", {"subject": "key", "detail": "odd"})
    world.evaluator.evaluate()
    assert world.listed(platform=True)[0].status == AlertStatus.Open
    world.happen("key-anomaly", {"subject": "key", "detail": "odd"})
    world.evaluator.evaluate()
    [alert] = world.listed(platform=True)
    assert alert.recovery == "3 messages of the queue alerts in a row were read."
