"""Alerts in the database: one at a time whoever races, over when their cause is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from domain.core.errors import PreconditionFailed, Unavailable
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus
from domain.journal.event_types import FROM_HUB
from domain.monitoring.alerts.model import (
    AlertKind,
    ClosedAs,
    Closing,
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
from domain.webhooks.ports import EndpointTally
from tests.worlds.sql_drive_alerts import alert
from tests.worlds.sql_world import SqlWorld

OVER = Closing(ClosedAs.Recovered, "Over.")


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
        assert tx.alerts.end(world.tenant, first.alert_id, OVER, world.clock.now())
        assert not tx.alerts.end(world.tenant, first.alert_id, OVER, world.clock.now())
        tx.alerts.add(world.tenant, replace(second, alert_id=world.ids.new()))
        tx.commit()
    with pytest.raises(Unavailable), world.transactions.write() as tx:
        tx.alerts.reopen(world.tenant, replace(first, reopenings=1))


def test_an_alert_that_ended_is_opened_again_as_one_more_repeat(world: SqlWorld) -> None:
    first = alert(world, AlertKind.SyncFailed, world.ids.new())
    later = world.clock.now() + timedelta(minutes=5)
    again = replace(first, summary="Again.", last_seen_at=later, reopenings=1)
    with world.transactions.write() as tx:
        tx.alerts.add(world.tenant, first)
        assert not tx.alerts.reopen(world.tenant, again), "it is active"
        tx.alerts.end(world.tenant, first.alert_id, OVER, world.clock.now())
        found = tx.alerts.last_ended(world.tenant, first.kind, first.subject)
        assert found is not None
        assert (found.recovery, found.closed_as) == ("Over.", ClosedAs.Recovered)
        assert not tx.alerts.reopen(world.other_tenant, again)
        assert tx.alerts.reopen(world.tenant, again)
        tx.commit()
    with world.transactions.read() as tx:
        stored = tx.alerts.get(world.tenant, first.alert_id)
        assert tx.alerts.last_ended(world.tenant, first.kind, first.subject) is None
    assert (stored.occurrences, stored.reopenings, stored.closed_as) == (2, 1, None)
    assert (stored.recovered_at, stored.recovery, stored.summary) == (None, None, "Again.")


def test_more_of_the_same_is_stored_and_not_counted_and_successes_begin_anew(world: SqlWorld) -> None:
    one = alert(world, AlertKind.SecurityViolation, world.ids.new())
    now, name = world.clock.now(), (world.tenant, one.kind, one.subject)
    later = now + timedelta(minutes=1)
    with world.transactions.write() as tx:
        tx.alerts.add(world.tenant, one)
        tx.alerts.succeed(*name, at=now)  # of the moment that it was seen in
        tx.alerts.succeed(*name, count=2, at=later)
        assert tx.alerts.get(world.tenant, one.alert_id).successes == 2
        tx.alerts.repeat(world.tenant, replace(one, summary="More."), continues=True)
        same = tx.alerts.get(world.tenant, one.alert_id)
        assert (same.occurrences, same.summary, same.successes) == (1, "More.", 0)
        tx.alerts.repeat(world.tenant, replace(one, summary="Late."))
        assert tx.alerts.get(world.tenant, one.alert_id).summary == "More."
        tx.alerts.repeat(world.tenant, replace(one, last_seen_at=later))
        assert tx.alerts.get(world.tenant, one.alert_id).occurrences == 2


def test_a_message_of_an_alert_that_came_back_is_due_again(world: SqlWorld) -> None:
    one, now = alert(world, AlertKind.SyncFailed, world.ids.new()), world.clock.now()
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
    other = replace(told, notification_id=world.ids.new(), recipient="c@d.example")
    with world.transactions.write() as tx:
        tx.alerts.add(world.tenant, one)
        tx.notifications.append([told])
        [claimed] = tx.notifications.claim(now, now + timedelta(minutes=5), 10)
        tx.notifications.settle(replace(claimed, status=NotificationStatus.Sent, sent_at=now))
        later = now + timedelta(minutes=9)
        tx.notifications.renew(
            [replace(told, notification_id=world.ids.new(), due_at=later), replace(other, due_at=later)]
        )
        stored = tx.notifications.of_alert(world.tenant, one.alert_id)
        tx.commit()
    assert [
        (message.recipient, message.status, message.attempts, message.due_at, message.sent_at)
        for message in stored
    ] == [
        ("a@b.example", NotificationStatus.Pending, 0, later, None),
        ("c@d.example", NotificationStatus.Pending, 0, later, None),
    ]


def test_what_another_tenant_says_of_a_subject_is_about_none_of_its_own(world: SqlWorld) -> None:
    """Events name their subject, and anyone may raise one that names another tenant's: it neither learns how that
    one is, nor keeps its owner's alert open."""
    webhook_id = world.webhook(state=WebhookState.Disabled).webhook_id
    integration_id = integration(world, IntegrationStatus.Active, HealthStatus.Healthy)
    ours, theirs = (world.tenant, webhook_id), (world.other_tenant, webhook_id)
    with world.transactions.read() as tx:
        found = tx.alert_conditions.webhooks([ours, theirs])
        assert {name: webhook.state for name, webhook in found.items()} == {ours: WebhookState.Disabled}
        assert tx.alert_conditions.webhooks([theirs]) == {}
        assert tx.alert_conditions.integrations([(world.other_tenant, integration_id)]) == {}
        [seen] = tx.alert_conditions.integrations([(world.tenant, integration_id)]).values()
    assert (seen.status, seen.health) == (IntegrationStatus.Active, HealthStatus.Healthy)


def test_the_successes_in_a_row_of_a_webhook_end_with_each_failure(world: SqlWorld) -> None:
    webhook_id, start = world.webhook().webhook_id, world.clock.now()

    def tried(
        minute: int, streak: int, *, broken: bool = False
    ) -> tuple[int, datetime | None, datetime | None]:
        tally = EndpointTally(webhook_id, delivered=streak, streak=streak, broken=broken)
        with world.transactions.write() as tx:
            tx.pipeline.tally([tally], start + timedelta(minutes=minute))
            tx.commit()
            one = tx.alert_conditions.webhooks([(world.tenant, webhook_id)])[(world.tenant, webhook_id)]
        return one.successes, one.succeeding_since, one.last_failed_at

    def at(minute: int) -> datetime:
        return start + timedelta(minutes=minute)

    assert tried(1, 2) == (2, at(1), None)
    assert tried(2, 0, broken=True) == (0, None, at(2))
    assert tried(3, 1, broken=True) == (1, at(3), at(3))
    assert tried(4, 2) == (3, at(3), at(3))
    assert tried(5, 0) == (3, at(3), at(3)), "deliveries of alerts neither count nor end it"


@pytest.mark.parametrize(
    ("status", "minutes", "listed"),
    [
        (SyncStatus.Completed, 5, True),
        (SyncStatus.Failed, 5, True),
        (SyncStatus.Completed, -5, False),
        (SyncStatus.Completed, 0, False),
    ],
)
def test_the_jobs_are_those_that_ended_since(
    world: SqlWorld, status: SyncStatus, minutes: int, listed: bool
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
    with world.transactions.read() as tx:
        jobs = tx.alert_conditions.ended_jobs([(world.tenant, id_)], now)
        assert tx.alert_conditions.ended_jobs([(world.other_tenant, id_)], now) == {}
    assert [job.status for ended in jobs.values() for job in ended] == ([status] if listed else [])


def test_failing_deliveries_of_alerts_do_not_count_so_alerts_never_feed_themselves(world: SqlWorld) -> None:
    webhook = world.webhook()
    events = [
        replace(world.event(), type=name, origin=FROM_HUB)
        for name in ("AlertRaised", "AlertRecovered", "BookingConfirmed")
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
