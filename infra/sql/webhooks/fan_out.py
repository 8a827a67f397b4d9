"""Fan-out's statements: who is subscribed, and deliveries in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, insert, select

from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.ports import NewDelivery, Subscriber
from infra.sql.statements import chunks, guarded_by_unique_key
from infra.sql.webhooks.tables import webhook_deliveries, webhook_subscriptions, webhooks

_d = webhook_deliveries.c
_w = webhooks.c
_s = webhook_subscriptions.c

# WebhookSubscriptions' primary key (TenantId, EventType, WebhookId)
_SUBSCRIBERS = (
    select(_s.WebhookId, _s.TenantId, _s.EventType, _w.State)
    .join(webhooks, _w.WebhookId == _s.WebhookId)
    .where(
        _s.TenantId == bindparam("tenant"),
        _s.EventType.in_(bindparam("names", expanding=True)),
        _w.VerifiedAt.is_not(None),
    )
)
# UQ_WebhookDelivery_Event
_FANNED = select(_d.EventId, _d.WebhookId).where(_d.EventId.in_(bindparam("ids", expanding=True)))
_INSERT = insert(webhook_deliveries)


class SqlFanOut:
    """The part of the delivery pipeline that comes before the queue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def subscribers(self, wanted: Sequence[tuple[UUID, str]]) -> list[Subscriber]:
        names: dict[UUID, set[str]] = {}
        for tenant, name in wanted:
            names.setdefault(tenant, set()).add(name)
        return [
            Subscriber(webhook_id, tenant_id, event_type, holds=state != WebhookState.Active)
            for tenant, wanted_names in names.items()
            for chunk in chunks(sorted(wanted_names))
            for webhook_id, tenant_id, event_type, state in self._connection.execute(
                _SUBSCRIBERS, {"tenant": tenant, "names": chunk}
            )
        ]

    def add_deliveries(
        self,
        deliveries: Sequence[NewDelivery],
        *,
        now: datetime,
        expires_at: datetime,
        requeue_at: datetime,
    ) -> list[NewDelivery]:
        event_ids = list({delivery.event.event_id for delivery in deliveries})
        known = {
            (event_id, webhook_id)
            for chunk in chunks(event_ids)
            for event_id, webhook_id in self._connection.execute(_FANNED, {"ids": chunk})
        }
        new: list[NewDelivery] = []
        for delivery in deliveries:
            name = (delivery.event.event_id, delivery.webhook_id)
            if name not in known:
                known.add(name)
                new.append(delivery)
        if new:
            rows = [
                {
                    "WebhookDeliveryId": delivery.webhook_delivery_id,
                    "TenantId": delivery.event.tenant_id,
                    "WebhookId": delivery.webhook_id,
                    "EventId": delivery.event.event_id,
                    "EventType": delivery.event.type,
                    "DeliveryStatus": DeliveryStatus.Pending,
                    "IsHeld": delivery.is_held,
                    "ScheduledAt": now,
                    "ExpiresAt": expires_at,
                    "RequeueAt": expires_at if delivery.is_held else requeue_at,
                    "PayloadBytes": delivery.event.size,
                }
                for delivery in new
            ]
            with guarded_by_unique_key():
                self._connection.execute(_INSERT, rows)
        return [delivery for delivery in new if not delivery.is_held]
