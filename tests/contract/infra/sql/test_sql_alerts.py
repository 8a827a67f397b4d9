"""Alerts in the database: one at a time whoever races, over when their cause is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from domain.core.errors import PreconditionFailed, Unavailable
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus
from domain.monitoring.alerts.model import (
    Alert,
    AlertKind,
    Notification,
    NotificationStatus,
    RuleSettings,
    Severity,
    Sink,
    Transition,
)
from domain.providers.contract import IntegrationType
from domain.sync.model import SyncDirection, SyncJob, SyncStatus, SyncType
from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.notices import delivery_signals
from tests.worlds.sql_drive_alerts import alert
from tests.worlds.sql_world import SqlWorld


def integration(world: SqlWorld, status: IntegrationStatus, health: HealthStatus) -> UUID:
    made = Integration(
        world.ids.new(),
        world.tenant,
        "Shop",
        IntegrationType.CustomAPI,
        "REST",
        status,
        "sealed",
        world.clock.now(),
        world.user,
        health_status=health,
    )
    with world.transactions.write() as tx:
        tx.integrations.add(world.tenant, made)
        tx.commit()
    return made.integration_id


def is_over(world: SqlWorld, one: Alert) -> bool:
    with world.transactions.read() as tx:
        return tx.alert_conditions.over(one.kind, [one]) == {one.alert_id}


def test_only_one_of_a_subject_is_active_at_a_time(world: SqlWorld) -> None:
    first = alert(world, AlertKind.SyncFailed, world.ids.new())
    with world.transactions.write() as tx:
        tx.alerts.add(world.tenant, first)
        tx.commit()
    second = replace(first, alert_id=world.ids.new())
    with pytest.raises(Unavailable), world.transactions.write() as tx:
        tx.alerts.add(world.tenant, second)
    with world.transactions.write() as tx:
        tx.alerts.add(world.other_tenant, replace(second, tenant_id=world.other_tenant))
        assert tx.alerts.recover(world.tenant, first.alert_id, "Over.", world.clock.now())
        assert not tx.alerts.recover(world.tenant, first.alert_id, "Again.", world.clock.now())
        tx.alerts.add(world.tenant, replace(second, alert_id=world.ids.new()))
        tx.commit()


@pytest.mark.parametrize(
    ("state", "over"),
    [(WebhookState.Disabled, False), (WebhookState.Active, True), (WebhookState.Paused, True)],
)
def test_a_disabled_webhook_is_over_when_it_is_not_disabled_any_more(
    world: SqlWorld, state: WebhookState, over: bool
) -> None:
    webhook = world.webhook(state=state)
    assert is_over(world, alert(world, AlertKind.WebhookDisabled, webhook.webhook_id)) is over


def test_what_another_tenant_says_of_a_webhook_is_about_none_of_its_own(world: SqlWorld) -> None:
    """Events name their subject, and anyone may raise one that names another tenant's: it neither learns how that
    one is, nor keeps its owner's alert open."""
    for state, over in ((WebhookState.Disabled, False), (WebhookState.Active, True)):
        ours = alert(world, AlertKind.WebhookDisabled, world.webhook(state=state).webhook_id)
        theirs = replace(ours, alert_id=world.ids.new(), tenant_id=world.other_tenant)
        expected = {theirs.alert_id, ours.alert_id} if over else {theirs.alert_id}
        for both in ([ours, theirs], [theirs, ours]):
            with world.transactions.read() as tx:
                assert tx.alert_conditions.over(AlertKind.WebhookDisabled, both) == expected


@pytest.mark.parametrize(
    ("status", "health", "over"),
    [
        (IntegrationStatus.Active, HealthStatus.Unhealthy, False),
        (IntegrationStatus.Active, HealthStatus.Degraded, False),
        (IntegrationStatus.Suspended, HealthStatus.Healthy, False),
        (IntegrationStatus.Error, HealthStatus.Healthy, False),
        (IntegrationStatus.Active, HealthStatus.Healthy, True),
        (IntegrationStatus.Disconnected, HealthStatus.Unknown, True),
    ],
)
def test_an_integration_is_over_when_it_is_active_and_healthy_or_gone(
    world: SqlWorld, status: IntegrationStatus, health: HealthStatus, over: bool
) -> None:
    one = alert(world, AlertKind.IntegrationHealth, integration(world, status, health))
    assert is_over(world, one) is over


@pytest.mark.parametrize(
    ("status", "minutes", "over"),
    [
        (SyncStatus.Completed, 5, True),
        (SyncStatus.PartialSuccess, 5, True),
        (SyncStatus.Failed, 5, False),
        (SyncStatus.Cancelled, 5, False),
        (SyncStatus.Completed, -5, False),
    ],
)
def test_a_failed_sync_is_over_when_a_later_one_succeeded(
    world: SqlWorld, status: SyncStatus, minutes: int, over: bool
) -> None:
    now = world.clock.now()
    id_ = integration(world, IntegrationStatus.Active, HealthStatus.Healthy)
    job = SyncJob(
        world.ids.new(),
        world.tenant,
        id_,
        SyncType.Full,
        SyncDirection.Import,
        SyncStatus.Scheduled,
        now,
        now,
        world.user,
    )
    with world.transactions.write() as tx:
        tx.sync_jobs.add(world.tenant, job)
        ended = replace(job, status=status, completed_at=now + timedelta(minutes=minutes))
        assert tx.sync_jobs.move(ended, SyncStatus.Scheduled)
        tx.commit()
    assert is_over(world, alert(world, AlertKind.SyncFailed, id_)) is over


def test_failing_deliveries_of_alerts_do_not_count_so_alerts_never_feed_themselves(world: SqlWorld) -> None:
    webhook = world.webhook()
    events = [
        replace(world.event(), type=name) for name in ("AlertRaised", "AlertRecovered", "BookingConfirmed")
    ]
    with world.transactions.write() as tx:
        tx.outbox.append(events)
        tx.commit()
    claimed = world.claim(webhook, world.fan_out(webhook, events))
    results = [world.result(delivery, DeliveryStatus.Failed) for delivery in claimed]
    assert len(results) == 3
    [signal] = delivery_signals(results, world.clock.now())
    assert (signal.tally.total, signal.tally.failed) == (1, 1)
    assert (
        delivery_signals([result for result in results if "Alert" in result.claimed.event.type], signal.hour)
        == []
    )


def test_a_message_is_claimed_once_and_a_late_record_of_a_lost_claim_changes_nothing(world: SqlWorld) -> None:
    now = world.clock.now()
    until = now + timedelta(minutes=5)
    one = alert(world, AlertKind.SyncFailed, world.ids.new())
    told = Notification(
        world.ids.new(),
        world.tenant,
        one.alert_id,
        Transition.Raised,
        world.ids.new(),
        "a@b.example",
        now,
        now,
    )
    with world.transactions.write() as tx:
        tx.alerts.add(world.tenant, one)
        tx.notifications.append([told])
        [first] = tx.notifications.claim(now, until, 10)
        assert tx.notifications.claim(now, until, 10) == []
        [second] = tx.notifications.claim(until, until + timedelta(minutes=5), 10)
        tx.notifications.settle(replace(first, status=NotificationStatus.Failed, detail="late"))
        tx.notifications.settle(replace(second, status=NotificationStatus.Sent, sent_at=until))
        tx.commit()
    with world.transactions.read() as tx:
        [stored] = tx.notifications.of_alert(world.tenant, one.alert_id)
        assert tx.notifications.of_alert(world.other_tenant, one.alert_id) == []
    assert (stored.status, stored.attempts, stored.detail) == (NotificationStatus.Sent, 2, None)


def test_a_rule_changed_by_two_at_once_is_stored_once(world: SqlWorld) -> None:
    sink = Sink(world.ids.new(), ("ops@example.org",))
    settings = RuleSettings(False, Severity.Critical, 0.4, 20, (sink,))
    now, kind = world.clock.now(), AlertKind.WebhookFailureRate
    with world.transactions.write() as tx:
        tx.alert_rules.set(world.tenant, kind, settings, by=world.user, now=now)
        tx.commit()
    with pytest.raises(PreconditionFailed), world.transactions.write() as tx:
        tx.alert_rules.set(world.tenant, kind, settings, by=world.user, now=now)
    with world.transactions.write() as tx:
        assert tx.alert_rules.settings(world.tenant) == {kind: replace(settings, version=1)}
        assert tx.alert_rules.settings(world.other_tenant) == {}
        tx.alert_rules.set(world.tenant, kind, replace(settings, version=1), by=world.user, now=now)
        with pytest.raises(PreconditionFailed):
            tx.alert_rules.set(world.tenant, kind, replace(settings, version=1), by=world.user, now=now)
