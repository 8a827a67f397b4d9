"""Facts that tests judge by: hours of a webhook or an integration, made from a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.apikeys.model import ApiKey
from domain.apikeys.usage import Bucket
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.monitoring.anomalies.ports import SeenTrait
from domain.providers.contract import IntegrationType
from domain.providers.records import RecordType, StreamProfile
from domain.recommendations.facts import IntegrationFacts, KeyFacts, WebhookFacts
from domain.recommendations.model import (
    Advice,
    Period,
)
from domain.recommendations.ports import DeliveryOutcome
from domain.recommendations.wording_rules import MAX_EXPLANATION, MAX_TITLE, Suggestion, is_faithful
from domain.sync.model import SyncDirection, SyncJob, SyncStatus, SyncType
from domain.sync.schedules import SyncSchedule
from domain.webhooks.model import DeliveryStatus, RetryPolicy, Webhook, WebhookState
from tests.worlds.builders import START, TENANT, USER


def run(days_ago: int, *, read: int = 1000, written: int = 10, deleted: int = 0, minutes: int = 4) -> SyncJob:
    began = TODAY - timedelta(days=days_ago) + timedelta(hours=2)
    return SyncJob(
        data_sync_job_id=UUID(int=days_ago),
        tenant_id=TENANT,
        integration_id=SUBJECT,
        sync_type=SyncType.Full,
        direction=SyncDirection.Import,
        status=SyncStatus.Completed,
        scheduled_at=began,
        created_at=began,
        created_by=USER,
        records_processed=read,
        records_written=written,
        records_deleted=deleted,
        run_started_at=began,
        completed_at=began + timedelta(minutes=minutes),
    )


NOW = START
TODAY = NOW.replace(hour=0)
CHECKS = 12
SUBJECT = UUID(int=0x77)


def webhook(**fields: Any) -> Webhook:
    given: dict[str, Any] = {
        "webhook_id": SUBJECT,
        "tenant_id": TENANT,
        "url": "https://receiver.example/hook",
        "event_types": ["*"],
        "sealed_secret": "",
        "state": WebhookState.Active,
        "retry_policy": RetryPolicy(jitter=False),
        "timeout_seconds": 30,
        "created_at": NOW - timedelta(days=100),
        "created_by": USER,
        **fields,
    }
    return Webhook(**given)


def tally(
    succeeded: int = 0,
    errors: Mapping[str, int] | None = None,
    *,
    latencies: Iterable[int] = (),
    failed_for_good: int = 0,
) -> Tally:
    failed = sum((errors or {}).values())
    return Tally(
        succeeded + failed, succeeded, failed, failed_for_good, 0, dict(errors or {}), Sketch.of(latencies)
    )


def hours(
    tallies: Sequence[Tally], *, kind: SubjectKind = SubjectKind.Webhook, now: datetime = NOW
) -> list[Signal]:
    """One after the other, the last being the hour before the present one."""
    first = hour_of(now) - timedelta(hours=len(tallies))
    return [Signal(TENANT, kind, SUBJECT, first + timedelta(hours=n), hour) for n, hour in enumerate(tallies)]


def webhook_facts(
    tallies: Sequence[Tally] = (),
    outcomes: Sequence[DeliveryOutcome] = (),
    *,
    max_retries: int = 5,
    **fields: Any,
) -> WebhookFacts:
    period = Period(NOW - timedelta(days=14), NOW)
    return WebhookFacts(webhook(**fields), period, hours(tallies), outcomes, max_retries)


def delivered(
    at: datetime, type_: str = "order.created", *, attempts: int = 1, later: float = 0.1
) -> DeliveryOutcome:
    """`later`: seconds from the first attempt to the one that succeeded."""
    return DeliveryOutcome(type_, DeliveryStatus.Delivered, attempts, at, at + timedelta(seconds=later), 200)


def failed(
    at: datetime, type_: str = "order.created", *, attempts: int = 1, status: int | None = 500
) -> DeliveryOutcome:
    return DeliveryOutcome(type_, DeliveryStatus.Failed, attempts, at, None, status)


def key_facts(buckets: Sequence[Bucket] = (), *, seen: Sequence[SeenTrait] = (), **fields: Any) -> KeyFacts:
    given: dict[str, Any] = {
        "api_key_id": SUBJECT,
        "tenant_id": TENANT,
        "key_name": "Backend",
        "key_hash": "",
        "key_prefix": "ihk_abcd",
        "scopes": ["events:write"],
        "rate_limit_per_hour": 1000,
        "created_at": NOW - timedelta(days=30),
        "created_by": USER,
        "quota_id": SUBJECT,
        "last_used_at": NOW - timedelta(hours=1),
        **fields,
    }
    return KeyFacts(ApiKey(**given), Period(NOW - timedelta(days=14), NOW), buckets, seen)


def integration_facts(tallies: Sequence[Tally], **fields: Any) -> IntegrationFacts:
    given: dict[str, Any] = {
        "integration_id": SUBJECT,
        "tenant_id": TENANT,
        "name": "Payments",
        "integration_type": IntegrationType.PaymentGateway,
        "provider": "Stripe",
        "status": IntegrationStatus.Active,
        "sealed_configuration": "",
        "created_at": NOW - timedelta(days=100),
        "created_by": USER,
        "health_status": HealthStatus.Degraded,
        **fields,
    }
    signals = hours(tallies, kind=SubjectKind.Integration)
    return IntegrationFacts(Integration(**given), Period(NOW - timedelta(days=9), NOW), signals)


def figures(advice: Advice | None) -> dict[str, float]:
    """Return evidence and effects by name, and check that a model may repeat the advice's words."""
    assert advice is not None, "no advice"
    values = {figure.name: figure.value for figure in (*advice.evidence, *advice.effects)}
    same = Suggestion("", advice.kind.value, advice.title, advice.explanation, values, 1)
    assert is_faithful(advice.title, same)
    assert is_faithful(advice.explanation, same)
    assert len(advice.title) <= MAX_TITLE
    assert len(advice.explanation) <= MAX_EXPLANATION
    return values


def schedule(expression: str | None = "0 0 2 * * *", **fields: Any) -> SyncSchedule:
    given: dict[str, Any] = {
        "sync_type": SyncType.Incremental,
        "direction": SyncDirection.Import,
        "interval_minutes": None if expression else 60,
        "is_enabled": True,
        "next_run_at": None,
        "version": 3,
        **fields,
    }
    return SyncSchedule(
        integration_id=SUBJECT,
        tenant_id=TENANT,
        expression=expression,
        modified_at=NOW,
        modified_by=USER,
        **given,
    )


CHARGES = StreamProfile("charges", RecordType.Payment, "since", lists_deletions=True)


def declining(hours: int = 48) -> list[Tally]:
    """From no failure to 40 %, a check more in every tenth hour."""
    return [tally(CHECKS - min(5, n // 8), {"unavailable": min(5, n // 8)}) for n in range(hours)]


WELL = tally(12, latencies=[200] * 12)


BADLY = tally(10, {"unavailable": 2}, latencies=[200] * 12)
