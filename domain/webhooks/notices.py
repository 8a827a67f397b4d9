"""Tell of what happened: events (section 3.4), signals, audit rows, live messages and spans about webhooks.

The events have the specification's payloads, in camelCase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.ports import IdGenerator
from domain.core.principal import Principal
from domain.core.realtime import DELIVERY_UPDATED, Payload, Realtime
from domain.core.shown_address import shown_address
from domain.core.tracing import Attributes, Span, SpanKind, Tracer, client_span, queue_attributes
from domain.core.wire import rfc3339
from domain.journal.audit import AuditEntry, AuditTransaction
from domain.journal.events import DomainEvent, build_event
from domain.journal.occurrences import ALERT_EVENTS
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.webhooks.fan_out import WEBHOOK_DELIVERIES_QUEUE
from domain.webhooks.model import DELIVERY_FAILED, DISABLED, SENT, Attempt, DeliveryStatus, Webhook
from domain.webhooks.ports import AttemptResult, ClaimedDelivery, Endpoint, EndpointHealth, ExpiredDelivery


def attempted(ids: IdGenerator, result: AttemptResult, now: datetime) -> DomainEvent:
    """Build WebhookSent or WebhookDeliveryFailed, whose `nextRetryAt` is null when no further attempt follows."""
    claimed, attempt = result.claimed, result.attempt
    data: dict[str, Any] = {
        "webhookDeliveryId": str(claimed.webhook_delivery_id),
        "webhookId": str(claimed.endpoint.webhook_id),
    }
    delivered = result.delivery_status == DeliveryStatus.Delivered
    if delivered:
        data |= {"statusCode": attempt.http_status_code, "deliveredAt": rfc3339(now)}
    else:
        data |= {
            "attemptCount": attempt.number,
            "errorMessage": attempt.error_message,
            "nextRetryAt": rfc3339(result.next_retry_at) if result.next_retry_at else None,
        }
    return build_event(
        SENT if delivered else DELIVERY_FAILED,
        data,
        event_id=ids.new(),
        tenant_id=claimed.endpoint.tenant_id,
        subject=claimed.webhook_delivery_id,
        at=now,
        traceparent=result.traceparent,
    )


def delivery_expired(ids: IdGenerator, expired: ExpiredDelivery, now: datetime) -> DomainEvent:
    data = {
        "webhookDeliveryId": str(expired.webhook_delivery_id),
        "webhookId": str(expired.webhook_id),
        "attemptCount": expired.attempt_count,
        "errorMessage": "Not delivered within its time; expired.",
        "nextRetryAt": None,
    }
    tenant_id, subject = expired.tenant_id, expired.webhook_delivery_id
    return build_event(
        DELIVERY_FAILED, data, event_id=ids.new(), tenant_id=tenant_id, subject=subject, at=now
    )


def disabled(ids: IdGenerator, health: EndpointHealth, reason: str, now: datetime) -> DomainEvent:
    data = {
        "webhookId": str(health.webhook_id),
        "url": shown_address(health.url),
        "reason": reason,
        "consecutiveFailures": health.consecutive_failures,
        "disabledAt": rfc3339(now),
    }
    return build_event(
        DISABLED, data, event_id=ids.new(), tenant_id=health.tenant_id, subject=health.webhook_id, at=now
    )


ENDED_BADLY = (DeliveryStatus.Failed, DeliveryStatus.Expired)


def error_class(attempt: Attempt) -> str:
    """Return `timeout`, `connect`, `tls`, `blocked` or `protocol` where no answer came, else a class of statuses."""
    status = attempt.http_status_code
    if status is None:
        return (attempt.error_message or "unknown").partition(":")[0]
    if status == 429:
        return "throttled"
    if status in (401, 403):
        return "unauthorized"
    return f"{status // 100}xx"


def delivery_signals(results: Sequence[AttemptResult], now: datetime) -> list[Signal]:
    """Count a batch of attempts into one signal for each webhook; deliveries of alerts do not count."""
    by_webhook: dict[tuple[UUID, UUID], list[AttemptResult]] = {}
    for result in results:
        # An alert about failing deliveries must not live on the failing deliveries of itself.
        if result.claimed.event.may_be_of_hub(ALERT_EVENTS):
            continue
        endpoint = result.claimed.endpoint
        by_webhook.setdefault((endpoint.tenant_id, endpoint.webhook_id), []).append(result)
    hour = hour_of(now)
    return [
        Signal(tenant_id, SubjectKind.Webhook, webhook_id, hour, _tally(own_results))
        for (tenant_id, webhook_id), own_results in by_webhook.items()
    ]


def _tally(results: Sequence[AttemptResult]) -> Tally:
    failed = [result for result in results if result.delivery_status != DeliveryStatus.Delivered]
    return Tally(
        total=len(results),
        succeeded=len(results) - len(failed),
        failed=len(failed),
        failed_for_good=sum(result.delivery_status in ENDED_BADLY for result in failed),
        errors=Counter(error_class(result.attempt) for result in failed),
        latency=Sketch.of(result.attempt.duration_ms for result in results),
    )


def record_change(
    tx: AuditTransaction, principal: Principal, action: str, *, before: Webhook | None, after: Webhook | None
) -> None:
    """Record a change in its transaction; `action` is such as `webhook.updated`."""
    webhook = after or before
    assert webhook is not None
    old, new = (webhook_state(state) if state else None for state in (before, after))
    tx.audit.append(webhook.tenant_id, AuditEntry(action, "webhook", webhook.webhook_id, principal, old, new))


def record_act(
    tx: AuditTransaction, principal: Principal, action: str, webhook_id: UUID, *, what: Mapping[str, Any]
) -> None:
    """Record something done with a webhook that does not change it: a replay, a retry, a test."""
    tx.audit.append(principal.tenant_id, AuditEntry(action, "webhook", webhook_id, principal, after=what))


def record_disabled(tx: AuditTransaction, tenant_id: UUID, webhook_id: UUID, reason: str) -> None:
    """Record that the hub itself disabled a webhook."""
    state = {"state": "Disabled", "disabledReason": reason}
    tx.audit.append(tenant_id, AuditEntry("webhook.disabled", "webhook", webhook_id, after=state))


def webhook_state(webhook: Webhook) -> dict[str, Any]:
    return {
        "url": shown_address(webhook.url),
        "eventTypes": list(webhook.event_types),
        "description": webhook.description,
        "integrationId": webhook.integration_id,
        "state": webhook.state.name,
        "disabledReason": webhook.disabled_reason,
        "retryPolicy": asdict(webhook.retry_policy),
        "timeoutSeconds": webhook.timeout_seconds,
        "rateLimitPerSecond": webhook.rate_limit_per_second,
        "ordering": webhook.ordering,
        "previousSecretExpiresAt": webhook.previous_secret_expires_at,
        "version": webhook.version,
    }


def publish_deliveries(realtime: Realtime, results: Sequence[AttemptResult]) -> None:
    """Publish one `deliveryUpdated` a tenant for all its results; nothing is built for one that does not listen."""
    by_tenant: dict[UUID, list[AttemptResult]] = {}
    for result in results:
        by_tenant.setdefault(result.claimed.endpoint.tenant_id, []).append(result)
    for tenant_id, own_results in by_tenant.items():
        if realtime.listening(tenant_id, DELIVERY_UPDATED):
            realtime.publish(tenant_id, DELIVERY_UPDATED, [_payload(result) for result in own_results])


def _payload(result: AttemptResult) -> Payload:
    return {
        "webhookDeliveryId": str(result.claimed.webhook_delivery_id),
        "webhookId": str(result.claimed.endpoint.webhook_id),
        "deliveryStatus": result.delivery_status.name,
        "attemptCount": result.attempt.number,
        "httpStatusCode": result.attempt.http_status_code,
    }


_PROCESS = f"process {WEBHOOK_DELIVERIES_QUEUE}"


def attempt_span(tracer: Tracer, claimed: ClaimedDelivery) -> AbstractContextManager[Span]:
    def attributes() -> Attributes:
        return {
            **queue_attributes(WEBHOOK_DELIVERIES_QUEUE, "process"),
            "hub.webhook.id": str(claimed.endpoint.webhook_id),
            "hub.webhook.delivery.id": str(claimed.webhook_delivery_id),
            "hub.webhook.attempt": claimed.attempt_number,
            "hub.event.type": claimed.event.type,
        }

    return tracer.span(_PROCESS, SpanKind.Consumer, parent=claimed.event.traceparent, attributes=attributes)


def post_span(tracer: Tracer, endpoint: Endpoint, parent: str | None) -> AbstractContextManager[Span]:
    """Open the span of the post, told from calls to providers by the webhook's id; the receiver is sent it."""

    def about() -> Attributes:
        return {"hub.webhook.id": str(endpoint.webhook_id)}

    return client_span(tracer, "POST", endpoint.url, parent=parent, about=about)


def tell_result(span: Span, result: AttemptResult) -> None:
    """Set the delivery's next state on the span; anything but Delivered is a failure of the attempt."""
    span.set("hub.webhook.delivery.status", result.delivery_status.name)
    if result.delivery_status != DeliveryStatus.Delivered:
        span.fail(result.delivery_status.name)
