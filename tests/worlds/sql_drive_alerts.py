"""Calls every method of the alerts' repositories once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from domain.core.paging import PageRequest
from domain.journal.bursts import Burst, BurstSource
from domain.journal.occurrences import Occurrence
from domain.journal.signals import hour_of
from domain.monitoring.alerts.model import (
    Alert,
    AlertFilter,
    AlertKind,
    AlertStatus,
    ClosedAs,
    Closing,
    Notification,
    NotificationStatus,
    RuleSettings,
    Severity,
    Sink,
    Transition,
)
from infra.sql.transaction import SqlTransaction
from tests.worlds.sql_world import SqlWorld

Call = Callable[[SqlTransaction], object]
REPOSITORIES = ("occurrences", "bursts", "alerts", "alert_rules", "alert_conditions", "notifications")


def calls(world: SqlWorld) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    later = now + timedelta(days=1)
    kind, subject = AlertKind.WebhookDisabled, str(world.ids.new())
    waiting = Occurrence(world.ids.new(), tenant, "webhook-disabled", "{}", now)
    alert = Alert(world.ids.new(), tenant, kind, subject, Severity.Critical, "Disabled.", "{}", now, now)
    told = Notification(
        world.ids.new(), tenant, alert.alert_id, Transition.Raised, world.ids.new(), "a@b.example", now, now
    )
    settings = RuleSettings(True, Severity.Warning, 0.3, 20, (Sink(world.ids.new(), ("a@b.example",)),))
    burst = Burst(tenant, BurstSource.Refusals, subject, "Shop", now, now, 3, "Bad signature.")
    with world.transactions.write() as tx:
        tx.bursts.add(burst)
        tx.occurrences.append(waiting)
        tx.alerts.add(tenant, alert)
        tx.notifications.append([told])
        tx.alert_rules.set(tenant, AlertKind.SyncFailed, settings, by=world.user, now=now)
        tx.commit()
    key, id_ = (tenant, kind, subject), alert.alert_id
    name, over = (tenant, world.ids.new()), Closing(ClosedAs.Recovered, "Over.")
    begun = replace(burst, subject="another")
    every = AlertFilter(list(AlertStatus), list(AlertKind), list(Severity), subject)
    again = replace(told, notification_id=world.ids.new(), recipient="c@d.example")
    others = [
        replace(again, notification_id=world.ids.new(), recipient=f"{name}@b.example") for name in ("z", "y")
    ]
    opened = replace(alert, alert_id=world.ids.new(), subject="another")

    def forgotten(tx: SqlTransaction) -> None:
        tx.alerts.end(tenant, id_, over, now)
        tx.alerts.delete_before(later, 10)

    return {
        "occurrences.append": [
            lambda tx: tx.occurrences.append(replace(waiting, occurrence_id=world.ids.new()))
        ],
        "occurrences.waiting": [lambda tx: tx.occurrences.waiting(10)],
        "occurrences.remove": [lambda tx: tx.occurrences.remove([waiting.occurrence_id])],
        "alerts.add": [lambda tx: tx.alerts.add(tenant, opened)],
        "alerts.get": [lambda tx: tx.alerts.get(tenant, id_)],
        "alerts.page": [
            lambda tx: tx.alerts.page(tenant, AlertFilter(), PageRequest()),
            lambda tx: tx.alerts.page(tenant, every, PageRequest(2, 50)),
        ],
        "alerts.find_active": [lambda tx: tx.alerts.find_active(*key)],
        "alerts.last_ended": [lambda tx: tx.alerts.last_ended(*key)],
        "alerts.repeat": [
            lambda tx: tx.alerts.repeat(tenant, replace(alert, last_seen_at=later)),
            lambda tx: tx.alerts.repeat(tenant, alert, continues=True),
        ],
        "alerts.succeed": [lambda tx: tx.alerts.succeed(*key, at=later)],
        "alerts.end": [lambda tx: tx.alerts.end(tenant, id_, over, now)],
        "alerts.reopen": [lambda tx: tx.alerts.reopen(tenant, alert)],
        "alerts.acknowledge": [
            lambda tx: tx.alerts.acknowledge(tenant, id_, by=world.user, note="Mine.", at=now)
        ],
        "alerts.note_failure": [lambda tx: tx.alerts.note_failure(tenant, id_, "Refused.")],
        "alerts.active": [lambda tx: tx.alerts.active(list(AlertKind))],
        "alerts.delete_before": [forgotten],
        "alert_rules.settings": [lambda tx: tx.alert_rules.settings(tenant)],
        "alert_rules.set": [
            lambda tx: tx.alert_rules.set(tenant, kind, settings, by=world.user, now=now),
            lambda tx: tx.alert_rules.set(
                tenant, AlertKind.SyncFailed, replace(settings, version=1), by=world.user, now=now
            ),
        ],
        "alert_rules.of_kind": [lambda tx: tx.alert_rules.of_kind(AlertKind.SyncFailed)],
        "alert_conditions.webhook_rates": [lambda tx: tx.alert_conditions.webhook_rates(hour_of(now))],
        "alert_conditions.held": [lambda tx: tx.alert_conditions.held(now, now + timedelta(hours=1))],
        "alert_conditions.webhooks": [lambda tx: tx.alert_conditions.webhooks([name])],
        "alert_conditions.integrations": [lambda tx: tx.alert_conditions.integrations([name])],
        "alert_conditions.keys": [lambda tx: tx.alert_conditions.keys([name])],
        "alert_conditions.ended_jobs": [lambda tx: tx.alert_conditions.ended_jobs([name], now)],
        "alert_conditions.receipts": [lambda tx: tx.alert_conditions.receipts(*name, now)],
        "alert_conditions.events_read": [lambda tx: tx.alert_conditions.events_read(now, 3)],
        "alert_conditions.examined_until": [lambda tx: tx.alert_conditions.examined_until(tenant)],
        "alert_conditions.is_unusual": [lambda tx: tx.alert_conditions.is_unusual(*name)],
        "bursts.add": [lambda tx: tx.bursts.add(burst), lambda tx: tx.bursts.add(begun)],
        "bursts.has": [lambda tx: tx.bursts.has(tenant, burst.source, burst.subject)],
        "bursts.largest": [lambda tx: tx.bursts.largest(10)],
        "bursts.note": [lambda tx: tx.bursts.note(burst)],
        "bursts.end": [lambda tx: tx.bursts.end(burst)],
        "bursts.forget_quiet": [lambda tx: tx.bursts.forget_quiet(burst.source, later)],
        "notifications.append": [lambda tx: tx.notifications.append([again, *others])],
        "notifications.renew": [lambda tx: tx.notifications.renew([told, again])],
        "notifications.of_alert": [lambda tx: tx.notifications.of_alert(tenant, id_)],
        "notifications.claim": [lambda tx: tx.notifications.claim(later, later, 50)],
        "notifications.settle": [
            lambda tx: tx.notifications.settle(replace(told, status=NotificationStatus.Sent, sent_at=now))
        ],
    }


def alert(world: SqlWorld, kind: AlertKind, subject: UUID) -> Alert:
    now = world.clock.now()
    return Alert(world.ids.new(), world.tenant, kind, str(subject), Severity.Warning, "x", "{}", now, now)
