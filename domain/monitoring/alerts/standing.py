"""What is known of the subjects of active alerts: whether their cause is gone, and what succeeded since."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.core.principal import guid
from domain.core.shown_address import host_of
from domain.integrations.health_rules import LIMITED, Vitals, is_flapping, is_slow, read_vitals
from domain.integrations.model import HealthStatus, IntegrationStatus, SuspensionCause
from domain.journal.signals import SubjectKind, hour_of
from domain.monitoring.alerts.model import Alert, AlertKind
from domain.monitoring.alerts.ports import (
    AlertTransaction,
    EndedJob,
    IntegrationStanding,
    Named,
    WebhookStanding,
)
from domain.monitoring.alerts.recovery import EVIDENCE, Standing
from domain.monitoring.anomalies.model import Metric
from domain.monitoring.signal_series import SignalReader
from domain.sync.model import SyncStatus
from domain.webhooks.model import WebhookState

_HOUR = timedelta(hours=1)
_ILL = (HealthStatus.Unhealthy, HealthStatus.Degraded)
_SUCCEEDED = (SyncStatus.Completed, SyncStatus.PartialSuccess)
_DELETED = Standing(removed="The webhook was deleted.", is_gone=True)
_DISCONNECTED = Standing(removed="The integration was disconnected.", is_gone=True)
#: Uses by somebody new: that further ones are accepted shows nothing.
_BY_SOMEBODY = (Metric.NewNetwork, Metric.NewCountry, Metric.NewClient)
_SYNC_KINDS = (SubjectKind.SyncFull, SubjectKind.SyncIncremental, SubjectKind.SyncDifferential)

Standings = Mapping[UUID, Standing]


def standings_of(tx: AlertTransaction, kind: AlertKind, alerts: Sequence[Alert]) -> Standings:
    """Return, by alert, what the database knows. Kinds that only occurrences tell about have nothing to show."""
    reader = _READERS.get(kind)
    return reader(tx, alerts) if reader and alerts else {alert.alert_id: Standing() for alert in alerts}


def attempts_standing(webhook: WebhookStanding | None) -> Standing:
    """Return what a webhook's attempts show."""
    if webhook is None:
        return _DELETED
    return Standing(
        successes=webhook.successes,
        what=f"attempts to deliver to {host_of(webhook.url)} in a row succeeded",
        since=webhook.succeeding_since,
        failed_at=webhook.last_failed_at,
        active_at=webhook.last_triggered_at,
    )


def disabled_standing(webhook: WebhookStanding | None) -> Standing:
    if webhook is None:
        return _DELETED
    if webhook.state == WebhookState.Disabled:
        return Standing(stands=True)
    if webhook.state == WebhookState.Active:
        return Standing(removed="The webhook was enabled again.")
    return Standing(removed=f"The webhook is no longer disabled: its state is {webhook.state.name}.")


def held_standing(webhook: WebhookStanding | None) -> Standing:
    if webhook is None:
        return _DELETED
    is_active = webhook.state == WebhookState.Active
    return (
        Standing(removed="The webhook is active again, so what it held is sent.") if is_active else Standing()
    )


def integration_standing(alert: Alert, integration: IntegrationStanding | None) -> Standing:
    """Return what validations and health checks show.

    - Suspended or in error: over when it was validated since, or after three checks that succeeded.
    - Slow, flapping or limited: such checks show nothing while they are so."""
    if integration is None or integration.status == IntegrationStatus.Disconnected:
        return _DISCONNECTED
    checked_at, vitals = integration.last_checked_at, read_vitals(integration.vitals)
    if integration.status != IntegrationStatus.Active:
        is_by_hand = integration.suspension == SuspensionCause.Manual
        is_fixed = integration.status in (IntegrationStatus.Suspended, IntegrationStatus.Error)
        return Standing(stands=is_fixed and not is_by_hand, active_at=checked_at)
    was = _details(alert)
    validated_at = integration.validated_at
    if was.get("status") in ("Suspended", "Error") and validated_at and validated_at > alert.last_seen_at:
        return Standing(removed="It was validated and is active again: the provider accepts its credentials.")
    return Standing(
        successes=_checks_in_row(vitals, was_degraded=was.get("healthStatus") == HealthStatus.Degraded.name),
        what="health checks in a row succeeded",
        stands=integration.is_enabled and integration.health in _ILL,
        active_at=checked_at,
    )


def _checks_in_row(vitals: Vitals, *, was_degraded: bool) -> int:
    if is_slow(vitals) or (was_degraded and is_flapping(vitals)):
        return 0
    count = 0
    for milliseconds in reversed(vitals.recent):
        if milliseconds is None or milliseconds == LIMITED:
            break
        count += 1
    return count


def sync_standing(alert: Alert, jobs: Sequence[EndedJob], *, exists: bool) -> Standing:
    """Return what the jobs show that ended since; cancelled ones show nothing."""
    if not exists:
        return _DISCONNECTED
    failed_job, successes, since = _details(alert).get("dataSyncJobId"), 0, None
    for job in jobs:
        if job.completed_at <= alert.last_seen_at or job.status == SyncStatus.Cancelled or job.goes_on:
            continue
        if job.status not in _SUCCEEDED:
            successes, since = 0, None
            continue
        if failed_job in (str(job.data_sync_job_id), str(job.resumed_from)):
            return Standing(removed="The job that failed was resumed and has completed.")
        successes, since = successes + 1, since or job.completed_at
    active_at = jobs[-1].completed_at if jobs else None
    return Standing(
        successes=successes, what="synchronisations in a row succeeded", since=since, active_at=active_at
    )


def _of_webhooks(
    standing: Callable[[WebhookStanding | None], Standing],
) -> Callable[[AlertTransaction, Sequence[Alert]], Standings]:
    def read(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
        found = tx.alert_conditions.webhooks([_name(alert) for alert in alerts])
        return {alert.alert_id: standing(found.get(_name(alert))) for alert in alerts}

    return read


def _of_integrations(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
    found = tx.alert_conditions.integrations([_name(alert) for alert in alerts])
    return {alert.alert_id: integration_standing(alert, found.get(_name(alert))) for alert in alerts}


def _of_moved(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
    """Return that it stands: an address that changed stays changed, and only a person knows whether it was meant."""
    found = tx.alert_conditions.integrations([_name(alert) for alert in alerts])
    there = {name for name, one in found.items() if one.status != IntegrationStatus.Disconnected}
    return {
        alert.alert_id: Standing(stands=True) if _name(alert) in there else _DISCONNECTED for alert in alerts
    }


def _of_syncs(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
    names = [_name(alert) for alert in alerts]
    integrations = tx.alert_conditions.integrations(names)
    there = {name for name, one in integrations.items() if one.status != IntegrationStatus.Disconnected}
    jobs = tx.alert_conditions.ended_jobs(names, min(alert.last_seen_at for alert in alerts))
    return {
        alert.alert_id: sync_standing(alert, jobs.get(_name(alert), ()), exists=_name(alert) in there)
        for alert in alerts
    }


def _of_violations(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
    """Only an integration shows that what comes is accepted; of a network and of the audit log a person knows."""
    about = [alert for alert in alerts if guid(alert.subject) is not None]
    found = tx.alert_conditions.integrations([_name(alert) for alert in about])
    standings: dict[UUID, Standing] = {alert.alert_id: Standing() for alert in alerts}
    for alert in about:
        integration = found.get(_name(alert))
        if integration is None or integration.status == IntegrationStatus.Disconnected:
            standings[alert.alert_id] = _DISCONNECTED
            continue
        receipts = tx.alert_conditions.receipts(*_name(alert), alert.last_seen_at)
        standings[alert.alert_id] = Standing(
            successes=receipts.accepted,
            what="requests with incoming webhooks in a row were accepted",
            since=receipts.since,
            active_at=receipts.last_at,
        )
    return standings


def _of_messages(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
    standings = {}
    for alert in alerts:
        count = alert.successes
        if alert.subject == "domain-events":
            count = tx.alert_conditions.events_read(alert.last_seen_at, EVIDENCE)
        what = f"messages of the queue {alert.subject} in a row were read"
        standings[alert.alert_id] = Standing(successes=count, what=what)
    return standings


def _of_limits(tx: AlertTransaction, alerts: Sequence[Alert]) -> Standings:
    what = "attempts to count, one a minute, in a row succeeded"
    return {alert.alert_id: Standing(successes=alert.successes, what=what) for alert in alerts}


def anomaly_standing(tx: AlertTransaction, reader: SignalReader, alert: Alert) -> Standing:
    """Return how many hours with traffic were as usual since; hours without any show nothing.

    Raises Unavailable."""
    if guid(alert.subject) is None:
        return Standing()
    about, (tenant_id, subject_id) = _details(alert), _name(alert)
    gone = _gone(tx, about.get("subjectType"), (tenant_id, subject_id))
    if gone is not None:
        return gone
    until = tx.alert_conditions.examined_until(tenant_id)
    if about.get("metric") in _BY_SOMEBODY or until is None:
        return Standing()
    if tx.alert_conditions.is_unusual(tenant_id, subject_id):
        return Standing(stands=True)
    since = hour_of(alert.last_seen_at) + _HOUR
    hours = {
        signal.hour
        for kind in _kinds(about)
        if since < until
        for signal in reader.read(tenant_id, kind, since=since, until=until, subject_id=subject_id)
        if signal.tally.total
    }
    return Standing(
        successes=len(hours),
        what="hours with traffic in a row were as usual",
        since=min(hours, default=None),
        active_at=max(hours, default=None),
    )


def _kinds(about: Mapping[str, Any]) -> Sequence[SubjectKind]:
    if about.get("subjectType") == "webhook":
        return (SubjectKind.Webhook,)
    if about.get("subjectType") == "apikey":
        return (SubjectKind.ApiKey,)
    return _SYNC_KINDS if about.get("metric") == Metric.SyncVolume else (SubjectKind.Integration,)


def _gone(tx: AlertTransaction, type_: object, name: Named) -> Standing | None:
    if type_ == "webhook":
        return None if tx.alert_conditions.webhooks([name]) else _DELETED
    if type_ == "apikey":
        is_usable = name in tx.alert_conditions.keys([name])
        return None if is_usable else Standing(removed="The API key was revoked.", is_gone=True)
    integration = tx.alert_conditions.integrations([name]).get(name)
    is_there = integration is not None and integration.status != IntegrationStatus.Disconnected
    return None if is_there else _DISCONNECTED


def _name(alert: Alert) -> Named:
    return alert.tenant_id, UUID(alert.subject)


def _details(alert: Alert) -> Mapping[str, Any]:
    details = json.loads(alert.details)
    return details if isinstance(details, dict) else {}


_READERS: Mapping[AlertKind, Callable[[AlertTransaction, Sequence[Alert]], Standings]] = {
    AlertKind.WebhookFailureRate: _of_webhooks(attempts_standing),
    AlertKind.WebhookDisabled: _of_webhooks(disabled_standing),
    AlertKind.HeldDeliveries: _of_webhooks(held_standing),
    AlertKind.IntegrationHealth: _of_integrations,
    AlertKind.IntegrationMoved: _of_moved,
    AlertKind.SyncFailed: _of_syncs,
    AlertKind.SecurityViolation: _of_violations,
    AlertKind.UnreadableMessage: _of_messages,
    AlertKind.RateLimitStoreDown: _of_limits,
}
