"""Calls every method of the alerts' repositories once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from domain.alerts.model import (
    Alert,
    AlertFilter,
    AlertKind,
    AlertStatus,
    Notification,
    NotificationStatus,
    Occurrence,
    RuleSettings,
    Severity,
    Sink,
    Transition,
)
from domain.insights.model import hour_of
from domain.paging import PageRequest
from infra.sql.unit_of_work import SqlUnitOfWork
from tests.contract.sql_world import World

Call = Callable[[SqlUnitOfWork], object]
REPOSITORIES = ("occurrences", "alerts", "alert_rules", "alert_conditions", "notifications")


def calls(world: World) -> dict[str, list[Call]]:
    tenant, now = world.tenant, world.clock.now()
    later = now + timedelta(days=1)
    kind, subject = AlertKind.WebhookDisabled, str(world.ids.new())
    waiting = Occurrence(world.ids.new(), tenant, "webhook-disabled", "{}", now)
    alert = Alert(world.ids.new(), tenant, kind, subject, Severity.Critical, "Disabled.", "{}", now, now)
    told = Notification(
        world.ids.new(), tenant, alert.alert_id, Transition.Raised, world.ids.new(), "a@b.example", now, now
    )
    settings = RuleSettings(True, Severity.Warning, 0.3, 20, (Sink(world.ids.new(), ("a@b.example",)),))
    with world.units.write() as unit:
        unit.occurrences.append(waiting)
        unit.alerts.add(tenant, alert)
        unit.notifications.append([told])
        unit.alert_rules.set(tenant, AlertKind.SyncFailed, settings, by=world.user, now=now)
        unit.commit()
    key, id_ = (tenant, kind, subject), alert.alert_id
    every = AlertFilter(list(AlertStatus), list(AlertKind), list(Severity), subject)
    again = replace(told, notification_id=world.ids.new(), recipient="c@d.example")
    opened = replace(alert, alert_id=world.ids.new(), subject="another")

    def forgotten(unit: SqlUnitOfWork) -> None:
        unit.alerts.recover(tenant, id_, "Over.", now)
        unit.alerts.delete_before(later, 10)

    return {
        "occurrences.append": [
            lambda unit: unit.occurrences.append(replace(waiting, occurrence_id=world.ids.new()))
        ],
        "occurrences.waiting": [lambda unit: unit.occurrences.waiting(10)],
        "occurrences.remove": [lambda unit: unit.occurrences.remove([waiting.occurrence_id])],
        "alerts.add": [lambda unit: unit.alerts.add(tenant, opened)],
        "alerts.get": [lambda unit: unit.alerts.get(tenant, id_)],
        "alerts.page": [
            lambda unit: unit.alerts.page(tenant, AlertFilter(), PageRequest()),
            lambda unit: unit.alerts.page(tenant, every, PageRequest(2, 50)),
        ],
        "alerts.find_active": [lambda unit: unit.alerts.find_active(*key)],
        "alerts.last_recovery": [lambda unit: unit.alerts.last_recovery(*key)],
        "alerts.repeat": [lambda unit: unit.alerts.repeat(tenant, replace(alert, last_seen_at=later))],
        "alerts.recover": [lambda unit: unit.alerts.recover(tenant, id_, "Over.", now)],
        "alerts.acknowledge": [lambda unit: unit.alerts.acknowledge(tenant, id_, world.user, "Mine.", now)],
        "alerts.note_failure": [lambda unit: unit.alerts.note_failure(tenant, id_, "Refused.")],
        "alerts.active": [lambda unit: unit.alerts.active(list(AlertKind))],
        "alerts.delete_before": [forgotten],
        "alert_rules.settings": [lambda unit: unit.alert_rules.settings(tenant)],
        "alert_rules.set": [
            lambda unit: unit.alert_rules.set(tenant, kind, settings, by=world.user, now=now),
            lambda unit: unit.alert_rules.set(
                tenant, AlertKind.SyncFailed, replace(settings, version=1), by=world.user, now=now
            ),
        ],
        "alert_rules.of_kind": [lambda unit: unit.alert_rules.of_kind(AlertKind.SyncFailed)],
        "alert_conditions.webhook_rates": [lambda unit: unit.alert_conditions.webhook_rates(hour_of(now))],
        "alert_conditions.over": [
            lambda unit: unit.alert_conditions.over(AlertKind.WebhookDisabled, [alert]),
            lambda unit: unit.alert_conditions.over(AlertKind.IntegrationHealth, [alert]),
            lambda unit: unit.alert_conditions.over(AlertKind.SyncFailed, [alert]),
        ],
        "notifications.append": [lambda unit: unit.notifications.append([again])],
        "notifications.of_alert": [lambda unit: unit.notifications.of_alert(tenant, id_)],
        "notifications.claim": [lambda unit: unit.notifications.claim(later, later, 50)],
        "notifications.settle": [
            lambda unit: unit.notifications.settle(replace(told, status=NotificationStatus.Sent, sent_at=now))
        ],
    }
