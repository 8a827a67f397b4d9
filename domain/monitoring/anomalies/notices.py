"""What people and other systems are told of an anomaly: the sentence, the event and the occurrence."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.errors import NotFound
from domain.core.shown_address import host_of
from domain.core.wire import rfc3339
from domain.journal.events import DomainEvent, build_event, derived_id
from domain.journal.occurrences import Occurrence, occurrence
from domain.journal.signals import SubjectKind
from domain.monitoring.anomalies.model import DETECTED, Anomaly, AnomalySubject, Deviation, Metric
from domain.monitoring.anomalies.ports import AnomalyTransaction
from domain.webhooks.model import WebhookState


def type_of(kind: SubjectKind) -> str:
    return {SubjectKind.Webhook: "webhook", SubjectKind.ApiKey: "apikey"}.get(kind, "integration")


def name_of(tx: AnomalyTransaction, tenant_id: UUID, subject: AnomalySubject) -> tuple[str, bool] | None:
    """Return what people call the subject, and whether it is meant to be in use; None when it no longer exists."""
    try:
        match type_of(subject.kind):
            case "webhook":
                webhook = tx.webhooks.get(tenant_id, subject.subject_id)
                return host_of(webhook.url), webhook.state == WebhookState.Active
            case "apikey":
                key = tx.api_keys.get(tenant_id, subject.subject_id)
                return key.key_name, key.revoked_at is None
            case _:
                integration = tx.integrations.get(tenant_id, subject.subject_id)
                return integration.name, integration.is_enabled
    except NotFound:
        return None


def sentence(name: str, subject: AnomalySubject, metric: Metric, deviation: Deviation) -> str:
    is_key = subject.kind == SubjectKind.ApiKey
    calls = f"requests with the key {name}" if is_key else f"attempts to deliver to {name}"
    seen, low, high = deviation.observed, deviation.expected.low, deviation.expected.high
    when = f"in the hour from {deviation.hour:%H:%M} UTC on {deviation.hour.day} {deviation.hour:%B}"
    match metric:
        case Metric.Traffic:
            return f"{seen:,.0f} {calls} {when}; {low:,.0f} to {high:,.0f} were expected."
        case Metric.ErrorRate:
            return f"{seen:.0%} of the {calls} failed {when}; up to {high:.0%} was expected."
        case Metric.Refusals:
            return f"{seen:.0%} of the {calls} were refused {when}; up to {high:.0%} was expected."
        case Metric.Latency:
            what = "Attempts to deliver to" if subject.kind == SubjectKind.Webhook else "Health checks of"
            return f"{what} {name} took {seen:,.0f} ms (95th percentile) {when}; up to {high:,.0f} ms was expected."
        case _:
            kind = subject.kind.name.removeprefix("Sync")
            what = f"{seen:,.0f} records a {kind} synchronisation of {name}"
            return f"{what} {when}; {low:,.0f} to {high:,.0f} were expected."


def event_of(anomaly: Anomaly) -> DomainEvent:
    """Build `AnomalyDetected`. Its id follows from the anomaly's, so that it is raised once."""
    return build_event(
        DETECTED,
        _data(anomaly),
        event_id=derived_id(f"{anomaly.anomaly_id}.detected"),
        tenant_id=anomaly.tenant_id,
        subject=anomaly.subject.subject_id,
        at=anomaly.last_seen_at,
    )


def occurrence_of(anomaly: Anomaly, at: datetime) -> Occurrence:
    """Build the occurrence for the alerts; that of a key has a source of its own (section 12.3)."""
    source = "key-anomaly" if anomaly.subject.kind == SubjectKind.ApiKey else "anomaly"
    data = {**_data(anomaly), "subject": str(anomaly.subject.subject_id)}
    return occurrence(source, data, at, tenant_id=anomaly.tenant_id)


def _data(anomaly: Anomaly) -> dict[str, Any]:
    expected = anomaly.expected
    return {
        "anomalyId": str(anomaly.anomaly_id),
        "subjectType": type_of(anomaly.subject.kind),
        "subjectId": str(anomaly.subject.subject_id),
        "metric": anomaly.metric.value,
        "direction": anomaly.direction.name,
        "detail": anomaly.detail,
        "startedAt": rfc3339(anomaly.started_at),
        "observed": anomaly.observed,
        "expected": None if expected is None else asdict(expected),
        "score": anomaly.score,
    }
