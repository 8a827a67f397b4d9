"""Deliveries of one tenant, as people look at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, and_, case, func, literal, select, true, update

from domain.core.paging import Page, PageRequest
from domain.webhooks.model import Attempt, Delivery, DeliveryStatus, Ordering
from domain.webhooks.ports import DeliveryFilter, Due, Released, Restarted
from infra.sql.journal.tables import domain_events
from infra.sql.statements import checked_last, key_lists, page_of, row_of, unindexed, within
from infra.sql.types import Utc
from infra.sql.webhooks.lines import WAITS_FOR, dissolve, enter, give_turns
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts

_d = webhook_deliveries.c
_a = webhook_delivery_attempts.c
_LISTED = (
    _d.WebhookDeliveryId,
    _d.WebhookId,
    _d.TenantId,
    _d.EventId,
    _d.EventType,
    _d.DeliveryStatus,
    _d.AttemptCount,
    _d.ScheduledAt,
    _d.ExpiresAt,
    _d.IsHeld,
    _d.HttpStatusCode,
    _d.ResponseBody,
    _d.ErrorMessage,
    _d.DeliveredAt,
    _d.NextRetryAt,
    _d.IsTest,
    WAITS_FOR,
)
_SETTLED = (DeliveryStatus.Delivered, DeliveryStatus.Failed, DeliveryStatus.Expired, DeliveryStatus.Retrying)


class SqlDeliveries:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(
        self, tenant_id: UUID, webhook_id: UUID, filter_: DeliveryFilter, page: PageRequest
    ) -> Page[Delivery]:
        statement = _filtered(select(*_LISTED), tenant_id, webhook_id, filter_)
        ordered = statement.order_by(_d.ScheduledAt.desc(), _d.WebhookDeliveryId.desc())
        return page_of(self._connection, ordered, page, _delivery_of)

    def get(self, tenant_id: UUID, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        event = and_(domain_events.c.TenantId == _d.TenantId, domain_events.c.EventId == _d.EventId)
        statement = (
            select(*_LISTED, domain_events.c.Payload)
            .join(domain_events, event, isouter=True)
            .where(_d.TenantId == tenant_id, _d.WebhookId == webhook_id, _d.WebhookDeliveryId == delivery_id)
        )
        row = row_of(self._connection, statement, "delivery")
        return replace(_delivery_of(row), attempts=self._attempts(delivery_id))

    def reset(
        self,
        tenant_id: UUID,
        delivery_ids: Sequence[UUID],
        *,
        ordering: Ordering,
        now: datetime,
        expires_at: datetime,
        requeue_at: datetime,
    ) -> Restarted:
        changed: list[Due] = []
        in_line: list[UUID] = []
        for chunk in key_lists(delivery_ids):
            statement = (
                update(webhook_deliveries)
                .where(
                    _d.TenantId == tenant_id,
                    _d.WebhookDeliveryId.in_(chunk),
                    unindexed(_d.DeliveryStatus).in_(_SETTLED),
                )
                .values(
                    DeliveryStatus=DeliveryStatus.Pending,
                    RetriesUsed=0,
                    NextRetryAt=None,
                    IsHeld=False,
                    IsWaiting=False,
                    Line=None,
                    LinePlace=None,
                    ExpiresAt=expires_at,
                    RequeueAt=requeue_at,
                )
                .returning(_d.WebhookId, _d.WebhookDeliveryId, _d.PayloadBytes)
            )
            some = [(row[0], row[1], row[2]) for row in self._connection.execute(statement)]
            changed += some
            if some and ordering == "perSubject":
                ids = [delivery_id for _, delivery_id, _ in some]
                in_line += enter(self._connection, _d.WebhookDeliveryId.in_(ids))
        # After all of them are in their lines, or the turn would go to the first of a chunk.
        turns = give_turns(self._connection, in_line, now=now, requeue_at=requeue_at)
        waiting = set(in_line)
        return Restarted(len(changed), [*(due for due in changed if due[1] not in waiting), *turns])

    def find(self, tenant_id: UUID, webhook_id: UUID, filter_: DeliveryFilter, limit: int) -> list[UUID]:
        statement = _filtered(select(_d.WebhookDeliveryId), tenant_id, webhook_id, filter_)
        ordered = statement.order_by(_d.ScheduledAt, _d.WebhookDeliveryId).limit(limit)
        return list(self._connection.execute(ordered).scalars())

    def release_held(self, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> Released:
        # IX_WebhookDelivery_Held
        held = (_d.TenantId == tenant_id, _d.WebhookId == webhook_id, _d.IsHeld == true())
        statement = (
            update(webhook_deliveries)
            .where(*held, _d.ExpiresAt > now, unindexed(_d.DeliveryStatus) != DeliveryStatus.Expired)
            .values(
                IsHeld=False,
                RequeueAt=case((_d.IsWaiting == true(), _d.ExpiresAt), else_=literal(now, Utc())),
            )
        )
        sent = self._connection.execute(statement).rowcount
        expired = select(func.count()).select_from(webhook_deliveries).where(*held, _d.ExpiresAt <= now)
        return Released(sent, self._connection.execute(expired).scalar_one())

    def line_up(self, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> None:
        # IX_WebhookDelivery_Requeue: it holds what has not ended, and of the webhook there may be very many.
        own = checked_last(and_(_d.TenantId == tenant_id, _d.WebhookId == webhook_id))
        in_line = enter(self._connection, own)
        give_turns(self._connection, in_line, now=now, requeue_at=now)

    def dissolve_lines(self, tenant_id: UUID, webhook_id: UUID, *, now: datetime) -> None:
        dissolve(self._connection, tenant_id, webhook_id, now=now)

    def _attempts(self, delivery_id: UUID) -> list[Attempt]:
        statement = (
            select(
                _a.AttemptNumber,
                _a.StartedAt,
                _a.DurationMs,
                _a.Outcome,
                _a.HttpStatusCode,
                _a.ResponseBody,
                _a.ErrorMessage,
                _a.RequestHeaders,
                _a.ResponseHeaders,
            )
            .where(_a.WebhookDeliveryId == delivery_id)
            .order_by(_a.AttemptNumber)
        )
        return [Attempt(*row) for row in self._connection.execute(statement)]


def _delivery_of(row: Any) -> Delivery:
    return Delivery(*row)


def _filtered(
    statement: Select[Any], tenant_id: UUID, webhook_id: UUID, filter_: DeliveryFilter
) -> Select[Any]:
    statement = statement.where(_d.TenantId == tenant_id, _d.WebhookId == webhook_id)
    if filter_.statuses:
        statement = statement.where(_d.DeliveryStatus.in_(filter_.statuses))
    if filter_.event_types:
        statement = statement.where(_d.EventType.in_(filter_.event_types))
    statement = within(statement, _d.ScheduledAt, filter_.since, filter_.until)
    if filter_.is_held is not None:
        statement = statement.where(_d.IsHeld == filter_.is_held)
    return statement
