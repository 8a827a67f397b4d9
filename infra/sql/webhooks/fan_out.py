"""Fan-out over SQL: who is subscribed, and the deliveries that are stored for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, insert, select

from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.ports import Fanned, NewDelivery, Subscriber
from infra.sql.statements import guarded_by_unique_key, in_key_order, key_lists
from infra.sql.tenants.standings import suspension_flag
from infra.sql.webhooks.lines import give_turns
from infra.sql.webhooks.tables import webhook_deliveries, webhook_subscriptions, webhooks

_d = webhook_deliveries.c
_w = webhooks.c
_s = webhook_subscriptions.c

# WebhookSubscriptions' primary key (TenantId, EventType, WebhookId)
_SUBSCRIBERS = (
    select(
        _s.WebhookId,
        _s.TenantId,
        _s.EventType,
        _w.State,
        _w.IntegrationId,
        _w.Ordering,
        suspension_flag(_s.TenantId).label("IsSuspended"),
    )
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
    """The part of the delivery pipeline that stores deliveries."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: Deliveries that this transaction stored, by tenant.
        self.stored: Counter[UUID] = Counter()

    def subscribers(self, wanted: Sequence[tuple[UUID, str]]) -> list[Subscriber]:
        names: dict[UUID, set[str]] = {}
        for tenant, name in wanted:
            names.setdefault(tenant, set()).add(name)
        return [
            Subscriber(
                row.WebhookId,
                row.TenantId,
                row.EventType,
                row.State != WebhookState.Active or bool(row.IsSuspended),
                row.IntegrationId,
                row.Ordering,
            )
            for tenant, wanted_names in names.items()
            for chunk in key_lists(wanted_names)
            for row in self._connection.execute(_SUBSCRIBERS, {"tenant": tenant, "names": chunk})
        ]

    def add_deliveries(
        self,
        deliveries: Sequence[NewDelivery],
        *,
        now: datetime,
        expires_at: datetime,
        requeue_at: datetime,
    ) -> Fanned:
        known = {
            (event_id, webhook_id)
            for chunk in key_lists(delivery.event.event_id for delivery in deliveries)
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
                    "IsTest": delivery.is_test,
                    "ScheduledAt": now,
                    "ExpiresAt": expires_at,
                    "RequeueAt": requeue_at if _goes_now(delivery) else expires_at,
                    "PayloadBytes": delivery.event.size,
                    "Line": delivery.line,
                    "LinePlace": None if delivery.line is None else delivery.event.sequence,
                    "IsWaiting": delivery.line is not None,
                }
                for delivery in new
            ]
            with guarded_by_unique_key():
                self._connection.execute(_INSERT, in_key_order(rows, "EventId", "WebhookId"))
            self.stored.update(delivery.event.tenant_id for delivery in new)
        in_line = [delivery.webhook_delivery_id for delivery in new if delivery.line is not None]
        turns = give_turns(self._connection, in_line, now=now, requeue_at=requeue_at)
        at_once = [
            (delivery.webhook_id, delivery.webhook_delivery_id, delivery.event.size)
            for delivery in new
            if _goes_now(delivery)
        ]
        return Fanned([delivery for delivery in new if not delivery.is_held], at_once + turns)


def _goes_now(delivery: NewDelivery) -> bool:
    return not delivery.is_held and delivery.line is None
