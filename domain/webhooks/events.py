"""Events the hub raises about webhooks (section 3.4), with the specification's payloads in camelCase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.events.model import DomainEvent, event_data
from domain.ports import IdGenerator
from domain.webhooks.model import DELIVERY_FAILED, DISABLED, SENT
from domain.webhooks.ports import AttemptResult, EndpointHealth, ExpiredDelivery
from domain.wire import rfc3339


def sent(ids: IdGenerator, result: AttemptResult, now: datetime) -> DomainEvent:
    claimed = result.claimed
    data = {
        "webhookDeliveryId": str(claimed.webhook_delivery_id),
        "webhookId": str(claimed.endpoint.webhook_id),
        "statusCode": result.attempt.http_status_code,
        "deliveredAt": rfc3339(now),
    }
    event = _event(ids, SENT, claimed.endpoint.tenant_id, claimed.webhook_delivery_id, data, now)
    return replace(event, traceparent=result.traceparent)


def delivery_failed(ids: IdGenerator, result: AttemptResult, now: datetime) -> DomainEvent:
    """Raised for every failed attempt; `nextRetryAt` is null when there is no further one."""
    claimed = result.claimed
    data = {
        "webhookDeliveryId": str(claimed.webhook_delivery_id),
        "webhookId": str(claimed.endpoint.webhook_id),
        "attemptCount": result.attempt.number,
        "errorMessage": result.attempt.error_message,
        "nextRetryAt": rfc3339(result.next_retry_at) if result.next_retry_at else None,
    }
    event = _event(ids, DELIVERY_FAILED, claimed.endpoint.tenant_id, claimed.webhook_delivery_id, data, now)
    return replace(event, traceparent=result.traceparent)


def delivery_expired(ids: IdGenerator, expired: ExpiredDelivery, now: datetime) -> DomainEvent:
    data = {
        "webhookDeliveryId": str(expired.webhook_delivery_id),
        "webhookId": str(expired.webhook_id),
        "attemptCount": expired.attempt_count,
        "errorMessage": "Not delivered within its time; expired.",
        "nextRetryAt": None,
    }
    return _event(ids, DELIVERY_FAILED, expired.tenant_id, expired.webhook_delivery_id, data, now)


def disabled(ids: IdGenerator, health: EndpointHealth, reason: str, now: datetime) -> DomainEvent:
    data = {
        "webhookId": str(health.webhook_id),
        "url": health.url,
        "reason": reason,
        "consecutiveFailures": health.consecutive_failures,
        "disabledAt": rfc3339(now),
    }
    return _event(ids, DISABLED, health.tenant_id, health.webhook_id, data, now)


def _event(
    ids: IdGenerator, type_: str, tenant_id: UUID, about: UUID, data: Mapping[str, Any], now: datetime
) -> DomainEvent:
    return DomainEvent(
        event_id=str(ids.new()),
        tenant_id=tenant_id,
        type=type_,
        data=event_data(data),
        occurred_at=now,
        subject=str(about),
    )
