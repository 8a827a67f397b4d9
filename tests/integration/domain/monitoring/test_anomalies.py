"""Anomalies from signals to events, alerts and decisions (section 10.2)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.apikeys.rules import VerificationCode
from domain.apikeys.service import ApiKeyService
from domain.apikeys.usage import UsageService
from domain.apikeys.verifier import KeyVerifier, VerificationRequest
from domain.authentication.key_usage_watch import (
    BURST,
    LEARNING,
    MOST_KEPT,
    PROBING,
    VARIED,
    KeyUsageWatch,
    client_of,
    network_of,
)
from domain.core.errors import Conflict, Forbidden, NotFound, Unavailable
from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus
from domain.journal.audit import AuditFilter
from domain.journal.audit_log import AuditService
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.monitoring.anomalies.model import Anomaly, AnomalyFilter, AnomalyStatus, Direction, Metric
from domain.monitoring.anomalies.ports import ANYTHING, Trait
from domain.monitoring.anomalies.service import AcknowledgeAnomaly, AnomalyService, SnoozeAnomaly
from domain.monitoring.anomalies.watch import AnomalyWatch
from domain.monitoring.signal_series import SignalService
from domain.providers.contract import IntegrationType
from domain.webhooks.model import RetryPolicy, Webhook, WebhookState
from tests.worlds.apikey_world import ApiKeyWorld

HOUR = timedelta(hours=1)
HOOK, CALENDAR = UUID(int=7), UUID(int=8)


@pytest.fixture
def world(tmp_path: Path) -> ApiKeyWorld:
    made = ApiKeyWorld(tmp_path)
    made.clock.advance(minutes=10)
    return made


def webhook(world: ApiKeyWorld, state: WebhookState = WebhookState.Active) -> None:
    added = Webhook(
        HOOK,
        world.admin.tenant_id,
        "https://shop.example/hook",
        ["*"],
        "sealed",
        state,
        RetryPolicy(),
        30,
        world.clock.now(),
        world.admin.user_id,
    )
    with world.hub.transactions.write() as tx:
        tx.webhooks.add(world.admin.tenant_id, added)
        tx.commit()


def happened(
    world: ApiKeyWorld, *tallies: tuple[int, Tally], kind: SubjectKind = SubjectKind.Webhook
) -> None:
    """Signals so many hours ago."""
    now = hour_of(world.clock.now())
    subject = HOOK if kind == SubjectKind.Webhook else CALENDAR
    signals = [
        Signal(world.admin.tenant_id, kind, subject, now - hours * HOUR, tally) for hours, tally in tallies
    ]
    with world.hub.transactions.write() as tx:
        tx.signals.append(signals)
        tx.commit()


def attempts(total: int, failed: int = 0, milliseconds: int = 40) -> Tally:
    latency = Sketch.of([milliseconds] * min(total, 20))
    return Tally(total, total - failed, failed, failed, 0, {"5xx": failed} if failed else {}, latency)


def usual(world: ApiKeyWorld, *, but: int = 1) -> None:
    """Four weeks of 100 attempts an hour, up to `but` hours ago."""
    happened(world, *((hours, attempts(100)) for hours in range(but + 1, 24 * 28)))


def listed(world: ApiKeyWorld, principal: Principal | None = None, **filter_: Any) -> list[Anomaly]:
    """Newest first."""
    page = world.hub.use(AnomalyService).page(
        principal or world.admin, AnomalyFilter(**filter_), PageRequest()
    )
    return list(page.items)


def occurrences(world: ApiKeyWorld) -> list[str]:
    with world.hub.transactions.read() as tx:
        return [occurrence.source for occurrence in tx.occurrences.waiting(50)]


# -- hours ------------------------------------------------------------------------------------------------


def test_an_unusual_hour_is_stored_and_told_once(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(1_000)))
    done = world.hub.use(AnomalyWatch).detect()
    assert (done.tenants, done.detected) == (1, 1)
    [found] = listed(world)
    assert (found.metric, found.direction, found.observed) == (Metric.Traffic, Direction.Above, 1_000)
    assert found.expected is not None
    assert found.expected.typical == pytest.approx(100, abs=1)
    assert found.detail.startswith(
        "1,000 attempts to deliver to shop.example in the hour from 11:00 UTC on 1 "
    )
    [(type_, data)] = world.events()
    assert (type_, data["anomalyId"], data["metric"]) == ("AnomalyDetected", str(found.anomaly_id), "traffic")
    assert occurrences(world) == ["anomaly"]
    assert world.hub.use(AnomalyWatch).detect().tenants == 0, "every hour is judged once"
    assert len(world.events()) == 1


@pytest.mark.parametrize(
    ("tally", "metric"),
    [
        (attempts(100, failed=60), Metric.ErrorRate),
        (attempts(100, milliseconds=4_000), Metric.Latency),
    ],
)
def test_failures_and_latency_are_watched_as_well(world: ApiKeyWorld, tally: Tally, metric: Metric) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, tally))
    world.hub.use(AnomalyWatch).detect()
    assert [anomaly.metric for anomaly in listed(world)] == [metric]


def test_the_volume_of_syncs_is_watched(world: ApiKeyWorld) -> None:
    calendar = Integration(
        CALENDAR,
        world.admin.tenant_id,
        "Calendar",
        IntegrationType.CustomAPI,
        "REST",
        IntegrationStatus.Active,
        "sealed",
        world.clock.now(),
        world.admin.user_id,
        health_status=HealthStatus.Healthy,
    )
    with world.hub.transactions.write() as tx:
        tx.integrations.add(world.admin.tenant_id, calendar)
        tx.commit()
    jobs = [(hours, Tally(1, 1, volume=2_000 + hours % 7)) for hours in range(2, 24 * 28)]
    happened(world, *jobs, (1, Tally(1, 1, volume=30)), kind=SubjectKind.SyncFull)
    world.hub.use(AnomalyWatch).detect()
    [found] = listed(world)
    assert (found.metric, found.direction, found.observed) == (Metric.SyncVolume, Direction.Below, 30)
    assert "30 records a Full synchronisation of Calendar" in found.detail


def test_an_anomaly_goes_on_and_ends_after_two_usual_hours(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(600)))
    world.hub.use(AnomalyWatch).detect()
    seen = []
    for total in (900, 100, 700, 100, 100):
        happened(world, (0, attempts(total)))
        world.clock.advance(hours=1)
        world.hub.use(AnomalyWatch).detect()
        [anomaly] = listed(world)
        seen.append((anomaly.status.name, anomaly.hours, anomaly.observed))
    assert seen == [
        ("Active", 2, 900.0),
        ("Active", 2, 900.0),
        ("Active", 3, 900.0),
        ("Active", 3, 900.0),
        ("Ended", 3, 900.0),
    ]
    [anomaly] = listed(world)
    assert anomaly.ended_at == anomaly.last_seen_at + HOUR
    assert len(world.events()) == 1, "its hours are no news of their own"
    assert occurrences(world) == ["anomaly"] * 3, "its alert lasts as long"


def test_after_a_pause_of_the_timer_the_hours_between_are_judged(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(100)))
    world.hub.use(AnomalyWatch).detect()
    for total in (100, 900, 100, 100, 100):
        happened(world, (0, attempts(total)))
        world.clock.advance(hours=1)
    done = world.hub.use(AnomalyWatch).detect()
    assert (done.detected, done.ended) == (1, 1)
    assert [anomaly.status for anomaly in listed(world)] == [AnomalyStatus.Ended]


@pytest.mark.parametrize("state", [WebhookState.Paused, WebhookState.Disabled])
def test_what_was_switched_off_is_not_missed(world: ApiKeyWorld, state: WebhookState) -> None:
    webhook(world, state)
    usual(world)
    assert world.hub.use(AnomalyWatch).detect().detected == 0
    assert listed(world) == []


def test_silence_of_what_is_active_is_an_anomaly(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    world.hub.use(AnomalyWatch).detect()
    assert [(anomaly.direction, anomaly.observed) for anomaly in listed(world)] == [(Direction.Below, 0.0)]


def test_a_crash_before_the_commit_judges_again_and_one_after_it_does_not(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(1_000)))

    def crash(*_: object) -> None:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr("infra.sql.transaction.SqlTransaction.commit", crash)
        world.hub.use(AnomalyWatch).detect()
    assert listed(world) == []
    assert world.hub.use(AnomalyWatch).detect().detected == 1
    assert world.hub.use(AnomalyWatch).detect().detected == 0


def test_a_tenant_that_cannot_be_judged_keeps_nobody_waiting(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(1_000)))
    other = world.user()
    real = world.hub.use(UsageService).hours

    def hours(tenant_id: UUID, *arguments: Any, **named: Any) -> Any:
        if tenant_id == other.tenant_id:
            raise Unavailable("The table store is away.")
        return real(tenant_id, *arguments, **named)

    monkeypatch.setattr(world.hub.use(UsageService), "hours", hours)
    done = world.hub.use(AnomalyWatch).detect()
    assert (done.tenants, done.detected) == (2, 1)
    assert world.hub.use(AnomalyWatch).detect().tenants == 1, "the other is due still"


# -- decisions --------------------------------------------------------------------------------------------


def test_an_anomaly_is_acknowledged_once_and_audited(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    world.hub.use(AnomalyWatch).detect()
    [found] = listed(world)
    service = world.hub.use(AnomalyService)
    after = service.acknowledge(world.admin, found.anomaly_id, AcknowledgeAnomaly(note="Planned."))
    assert (after.note, after.acknowledged_by) == ("Planned.", world.admin.user_id)
    with pytest.raises(Conflict):
        service.acknowledge(world.admin, found.anomaly_id, AcknowledgeAnomaly())
    assert listed(world, is_acknowledged=True) == listed(world)
    assert listed(world, is_acknowledged=False) == []
    rows = world.hub.use(AuditService).page(
        world.admin, AuditFilter(action="anomaly.acknowledged"), PageRequest()
    )
    assert [row.target_id for row in rows.items] == [str(found.anomaly_id)]


def test_a_snoozed_metric_is_stored_and_not_told(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(900)))
    world.hub.use(AnomalyWatch).detect()
    [found] = listed(world)
    world.hub.use(AnomalyService).snooze(world.admin, found.anomaly_id, SnoozeAnomaly(hours=12))
    for total in (100, 100, 100, 900):
        happened(world, (0, attempts(total)))
        world.clock.advance(hours=1)
        world.hub.use(AnomalyWatch).detect()
    assert len(listed(world)) == 2
    assert len(world.events()) == 1
    assert occurrences(world) == ["anomaly"]
    for total in (*[100] * 9, 900):
        happened(world, (0, attempts(total)))
        world.clock.advance(hours=1)
    world.hub.use(AnomalyWatch).detect()
    assert len(world.events()) == 2, "the snooze is over"


def test_the_hours_around_it_are_shown(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(900)))
    world.hub.use(AnomalyWatch).detect()
    [found] = listed(world)
    shown = world.hub.use(AnomalyService).get(world.admin, found.anomaly_id)
    assert [hour.value for hour in shown.hours] == [100.0] * 24 + [900.0] + [0.0]


def test_anomalies_are_ones_own_and_need_the_permission(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    world.hub.use(AnomalyWatch).detect()
    [found] = listed(world)
    service = world.hub.use(AnomalyService)
    stranger, reader = world.user(), world.user("insights:read", tenant=world.admin.tenant_id)
    assert listed(world, stranger) == []
    for refused in (service.get, lambda who, id_: service.snooze(who, id_, SnoozeAnomaly(hours=1))):
        with pytest.raises(NotFound):
            refused(stranger, found.anomaly_id)
    with pytest.raises(Forbidden):
        service.acknowledge(reader, found.anomaly_id, AcknowledgeAnomaly())
    with pytest.raises(Forbidden):
        listed(world, world.user("webhook:manage"))


def test_old_anomalies_are_forgotten(world: ApiKeyWorld) -> None:
    webhook(world)
    usual(world)
    happened(world, (1, attempts(900)))
    world.hub.use(AnomalyWatch).detect()
    world.clock.advance(days=91)
    assert world.hub.use(AnomalyWatch).forget_old() == 0, "it has not ended"
    world.hub.use(AnomalyWatch).detect()
    assert world.hub.use(AnomalyWatch).forget_old() == 1


# -- keys -------------------------------------------------------------------------------------------------


def test_requests_with_a_key_are_signals(world: ApiKeyWorld) -> None:
    issued = world.issue(rateLimitPerHour=3)
    for _ in range(5):
        world.verify(issued.plain)
    world.verify(issued.plain, "venues:read")
    series = world.hub.use(SignalService).series(
        world.admin, SubjectKind.ApiKey, issued.key.api_key_id, by="hour", since=None, until=None
    )
    total = series.total
    assert (total.total, total.succeeded, total.failed) == (6, 3, 3)
    assert total.errors == {"limited": 2, "refused": 1}
    other = world.user()
    elsewhere = world.hub.use(SignalService).series(
        other, SubjectKind.ApiKey, issued.key.api_key_id, by="hour", since=None, until=None
    )
    assert elsewhere.total.total == 0


def test_a_burst_of_refusals_of_a_key_is_an_anomaly_of_it(world: ApiKeyWorld) -> None:
    issued = world.issue(rateLimitPerHour=10_000)
    for _ in range(24 * 7):
        for _ in range(10):
            world.verify(issued.plain)
        world.clock.advance(hours=1)
    world.hub.use(AnomalyWatch).detect()
    assert listed(world) == []
    for _ in range(40):
        assert world.verify(issued.plain, "venues:read").code is VerificationCode.INSUFFICIENT_SCOPES
    world.clock.advance(hours=1)
    world.hub.use(AnomalyWatch).detect()
    [traffic, refusals] = sorted(listed(world), key=lambda anomaly: anomaly.metric, reverse=True)
    assert (traffic.metric, refusals.metric) == (Metric.Traffic, Metric.Refusals)
    assert refusals.detail.startswith("100% of the requests with the key Key were refused in the hour from ")
    assert occurrences(world) == ["key-anomaly", "key-anomaly"]


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_burst_of_401_or_403_of_a_key_is_noticed_at_once(world: ApiKeyWorld, is_revoked: bool) -> None:
    issued = world.issue()
    if is_revoked:
        world.hub.use(ApiKeyService).revoke(world.admin, issued.key.api_key_id, "Leaked.", None)

    def refused(times: int) -> None:
        for _ in range(times):
            assert world.verify(issued.plain, "venues:read").code is not VerificationCode.VALID

    refused(BURST - 1)
    world.clock.advance(minutes=1)
    refused(BURST - 1)
    assert listed(world) == [], "as many in a longer time are no burst"
    refused(BURST)
    [found] = listed(world)
    assert (found.metric, found.status, found.expected) == (Metric.Refusals, AnomalyStatus.Ended, None)
    assert found.detail == "100 requests with the key Key were refused with 401 or 403 within a minute."
    assert occurrences(world) == ["key-anomaly"]
    world.clock.advance(minutes=30)
    refused(BURST)
    assert len(listed(world)) == 1, "told once an hour"
    world.clock.advance(minutes=31)
    refused(BURST)
    assert len(listed(world)) == 2


def test_a_key_over_its_limit_is_no_burst_of_refusals(world: ApiKeyWorld) -> None:
    issued = world.issue(rate_limit_per_hour=1)
    for _ in range(BURST + 1):
        world.verify(issued.plain)
    assert listed(world) == []


def test_a_key_from_a_new_network_is_noticed_after_it_has_been_learned(world: ApiKeyWorld) -> None:
    issued = world.issue()
    world.verify(issued.plain, ip="192.0.2.7")
    world.verify(issued.plain, ip="198.51.100.1")
    assert listed(world) == [], "its first day is learned"
    world.clock.advance(seconds=LEARNING.total_seconds())
    world.verify(issued.plain, ip="192.0.2.200")
    assert listed(world) == [], "the network it always came from"
    world.verify(issued.plain, ip="203.0.113.9")
    world.verify(issued.plain, ip="203.0.113.10")
    [found] = listed(world)
    assert (found.metric, found.status) == (Metric.NewNetwork, AnomalyStatus.Ended)
    assert found.detail == (
        "The key Key was used from the network 203.0.113.0/24 for the first time; "
        "before from 192.0.2.0/24, 198.51.100.0/24."
    )
    assert occurrences(world) == ["key-anomaly"]
    assert [type_ for type_, _ in world.events()][-1] == "AnomalyDetected"


def test_a_key_that_comes_from_everywhere_surprises_nobody(world: ApiKeyWorld) -> None:
    issued = world.issue()
    for index in range(VARIED):
        world.verify(issued.plain, ip=f"10.0.{index}.1")
    world.clock.advance(days=2)
    world.verify(issued.plain, ip="10.1.0.1")
    assert listed(world) == []


def test_a_key_that_shows_ever_new_things_neither_fills_the_database_nor_keeps_it_busy(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate limit does not stop it: requests over the limit are looked at too."""
    issued = world.issue(rate_limit_per_hour=1)
    looks: list[None] = []
    look = KeyUsageWatch.store_uses
    monkeypatch.setattr(
        KeyUsageWatch, "store_uses", lambda *arguments: (looks.append(None), look(*arguments))
    )

    def shown() -> int:
        with world.hub.transactions.read() as tx:
            return len(tx.sightings.known(issued.key.api_key_id, Trait.Client))

    for index in range(MOST_KEPT + 30):
        world.hub.use(KeyVerifier).verify(VerificationRequest(issued.plain.hash, client=f"made-up-{index}"))
    assert shown() == MOST_KEPT
    assert len(looks) == MOST_KEPT + 1
    world.clock.advance(hours=13)
    world.hub.use(KeyVerifier).verify(VerificationRequest(issued.plain.hash, client="made-up-0"))
    world.hub.use(KeyVerifier).verify(VerificationRequest(issued.plain.hash, client="another"))
    with world.hub.transactions.read() as tx:
        known = tx.sightings.known(issued.key.api_key_id, Trait.Client)
    assert max(seen.last_seen_at for seen in known) == world.clock.now()
    assert len(known) == MOST_KEPT


@pytest.mark.parametrize(
    ("before", "after", "metric"),
    [
        ({"client": "python-httpx/0.27"}, {"client": "curl/8.1"}, Metric.NewClient),
        ({"country": "DE"}, {"country": "BR"}, Metric.NewCountry),
    ],
)
def test_a_new_program_or_country_is_noticed(
    world: ApiKeyWorld, before: dict[str, str], after: dict[str, str], metric: Metric
) -> None:
    issued = world.issue()

    def ask(shown: dict[str, str]) -> None:
        world.hub.use(KeyVerifier).verify(VerificationRequest(issued.plain.hash, **shown))

    ask(before)
    world.clock.advance(days=2)
    ask(before)
    assert listed(world) == []
    ask(after)
    assert [anomaly.metric for anomaly in listed(world)] == [metric]


def test_one_scope_after_another_is_probing(world: ApiKeyWorld) -> None:
    issued = world.issue()
    for index in range(PROBING - 1):
        world.verify(issued.plain, f"thing{index}:write")
        world.verify(issued.plain, f"thing{index}:write")
    assert listed(world) == []
    world.clock.advance(minutes=20)
    for index in range(PROBING - 1, PROBING + 3):
        world.verify(issued.plain, f"thing{index}:write")
    [found] = listed(world)
    assert found.metric == Metric.ScopeProbing
    assert "thing4:write" in found.detail


def test_refusals_far_apart_are_no_probing(world: ApiKeyWorld) -> None:
    issued = world.issue()
    for index in range(PROBING * 2):
        world.verify(issued.plain, f"thing{index}:write")
        world.clock.advance(minutes=30)
    assert listed(world) == []


def test_a_request_does_not_fail_for_being_looked_at(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = world.issue()

    def away(*_: object) -> None:
        raise Unavailable("The database is away.")

    with monkeypatch.context() as patched:
        patched.setattr(world.hub.use(KeyUsageWatch), "store_uses", away)
        assert world.verify(issued.plain, ip="192.0.2.7").code is VerificationCode.VALID
    world.verify(issued.plain, ip="192.0.2.7")
    with world.hub.transactions.read() as tx:
        known = tx.sightings.known(issued.key.api_key_id, Trait.Network)
    assert [seen.value for seen in known] == ["192.0.2.0/24"], "the next use is looked at again"


def test_what_a_key_is_used_for_is_remembered_and_no_anomaly(world: ApiKeyWorld) -> None:
    issued = world.issue(scopes=["events:read", "events:write"])
    for scopes in (["events:read"], ["events:read"], ["secrets:read"]):
        world.verify(issued.plain, *scopes)
    world.clock.advance(days=1)
    for scopes in (["events:read"], ["events:write"], []):
        world.verify(issued.plain, *scopes)
    with world.hub.transactions.read() as tx:
        known = tx.sightings.known(issued.key.api_key_id, Trait.Scope)
    days = {seen.value: (seen.last_seen_at - seen.first_seen_at).days for seen in known}
    assert days == {"events:read": 1, "events:write": 0, ANYTHING: 0}
    assert listed(world) == []


def test_the_scope_of_every_request_costs_one_transaction(
    world: ApiKeyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued, looked = world.issue(), []
    look = world.hub.use(KeyUsageWatch).store_uses

    def counted(*given: Any) -> None:
        looked.append(given)
        look(*given)

    monkeypatch.setattr(world.hub.use(KeyUsageWatch), "store_uses", counted)
    for _ in range(20):
        world.verify(issued.plain, "events:read")
    assert len(looked) == 1


def test_what_was_seen_long_ago_is_forgotten(world: ApiKeyWorld) -> None:
    for _ in range(3):
        world.verify(world.issue().plain, ip="192.0.2.7")
    world.clock.advance(days=91)
    # Of each the network, and that it asked for no scope.
    assert world.hub.use(KeyUsageWatch).forget_old() == 6


@pytest.mark.parametrize(
    ("address", "network"),
    [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("unknown", None)],
)
def test_a_network_is_so_wide(address: str, network: str | None) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("agent", "client"),
    [
        ("python-httpx/0.27.0", "python-httpx"),
        ("Mozilla/5.0 (X11; Linux)", "mozilla"),
        ("curl/8.5.0", "curl"),
        ("  ", None),
    ],
)
def test_a_program_is_known_without_its_version(agent: str, client: str | None) -> None:
    assert client_of(agent) == client
