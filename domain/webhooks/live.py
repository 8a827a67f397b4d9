"""Telling connected clients what became of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from domain.realtime.model import DELIVERY_UPDATED
from domain.realtime.ports import Payload, Realtime
from domain.webhooks.ports import AttemptResult


def publish_deliveries(realtime: Realtime, results: Sequence[AttemptResult]) -> None:
    """One `deliveryUpdated` a tenant for all its results of a batch; nothing is built for a tenant that does not
    listen."""
    by_tenant: dict[UUID, list[AttemptResult]] = {}
    for one in results:
        by_tenant.setdefault(one.claimed.endpoint.tenant_id, []).append(one)
    for tenant_id, own in by_tenant.items():
        if realtime.listening(tenant_id, DELIVERY_UPDATED):
            realtime.publish(tenant_id, DELIVERY_UPDATED, [_payload(one) for one in own])


def _payload(result: AttemptResult) -> Payload:
    return {
        "webhookDeliveryId": str(result.claimed.webhook_delivery_id),
        "webhookId": str(result.claimed.endpoint.webhook_id),
        "deliveryStatus": result.delivery_status.name,
        "attemptCount": result.attempt.number,
        "httpStatusCode": result.attempt.http_status_code,
    }
