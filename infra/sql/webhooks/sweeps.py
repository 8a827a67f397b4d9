"""Sweeps over SQL: what lapsed, expired, was left held or without turn, and what is old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, case, insert, literal, select, true, update

from domain.journal.event_types import OriginKind
from domain.webhooks.model import DELIVERY_EVENTS, ENDED, WAITING, AttemptOutcome, DeliveryStatus
from domain.webhooks.ports import Due, ExpiredDelivery, Requeued
from infra.sql.firsts import delete_first, update_first
from infra.sql.journal.tables import domain_events
from infra.sql.statements import key_lists, unindexed
from infra.sql.tenants.standings import is_suspended, whose_time_stands
from infra.sql.types import Text, Utc
from infra.sql.webhooks.lines import give_turns, lock, pass_turns, stranded
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts, webhooks

_d = webhook_deliveries.c
_e = domain_events.c

_LOOKED_AT = (
    _d.WebhookDeliveryId,
    _d.WebhookId,
    _d.TenantId,
    _d.EventType,
    _d.EventId,
    _d.DeliveryStatus,
    _d.IsHeld,
    _d.ExpiresAt,
    _d.AttemptCount,
    _d.LeaseId,
    _d.LeasedAt,
    _d.PayloadBytes,
    _d.IsTest,
    _d.Line,
    _d.IsWaiting,
)
# UQ_DomainEvent_Id
_OF_HUB = select(_e.EventId).where(
    _e.TenantId == bindparam("tenant"),
    _e.EventId.in_(bindparam("ids", expanding=True)),
    (_e.Origin.is_(None)) | (_e.Origin == bindparam("hub")),
    _e.EventType.in_([type_.value for type_ in sorted(DELIVERY_EVENTS)]),
)
_A_DAY = timedelta(days=1)
_EXPIRED = "Not delivered within its time; expired."
_EXPIRED_WAITING = "Its turn did not come within its time, for those before it in line; expired."


class SqlSweeps:
    """The part of the delivery pipeline that the timers call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def release_stranded(self, now: datetime) -> int:
        # IX_Webhook_Active, then IX_WebhookDelivery_Held
        active = select(webhooks.c.WebhookId).where(
            webhooks.c.IsActive == true(), ~is_suspended(webhooks.c.TenantId)
        )
        statement = (
            update(webhook_deliveries)
            .where(
                _d.IsHeld == true(),
                _d.WebhookId.in_(active),
                _d.ExpiresAt > now,
                unindexed(_d.DeliveryStatus).in_(WAITING),
            )
            .values(
                IsHeld=False,
                RequeueAt=case((_d.IsWaiting == true(), _d.ExpiresAt), else_=literal(now, Utc())),
            )
        )
        return self._connection.execute(statement).rowcount

    def stranded_lines(self, now: datetime, limit: int) -> list[UUID]:
        return stranded(self._connection, now, limit)

    def give_turns(self, delivery_ids: Sequence[UUID], *, now: datetime, requeue_at: datetime) -> list[Due]:
        return give_turns(self._connection, delivery_ids, now=now, requeue_at=requeue_at)

    def requeue_due(self, *, now: datetime, again_at: datetime, limit: int) -> Requeued:
        # IX_WebhookDelivery_Requeue
        first = update_first(webhook_deliveries, _d.RequeueAt <= now, order_by=_d.RequeueAt, limit=limit)
        found = self._connection.execute(first.values(RequeueAt=again_at).returning(*_LOOKED_AT)).all()
        rows = sorted(found, key=attrgetter("WebhookDeliveryId"))
        lapsed = [row for row in rows if row.DeliveryStatus == DeliveryStatus.Sending]
        waiting = [row for row in rows if row.DeliveryStatus != DeliveryStatus.Sending]
        over = [row for row in waiting if row.ExpiresAt <= now]
        standing = whose_time_stands(self._connection, {row.TenantId for row in over}) if over else set()
        self._put_off([row.WebhookDeliveryId for row in over if row.TenantId in standing], now)
        past = [row for row in over if row.TenantId not in standing]
        due = [row for row in waiting if row.ExpiresAt > now and not row.IsHeld and not row.IsWaiting]
        interrupted = [row for row in lapsed if self._interrupt(row, now)]
        expired = self._expire([row.WebhookDeliveryId for row in past])
        about_deliveries = self._about_deliveries(past)
        in_line = [
            row.WebhookDeliveryId for row in past if row.Line is not None and row.WebhookDeliveryId in expired
        ]
        if in_line:
            # All whose counters follow, since those without lines may come before those with.
            lock(self._connection, {row.WebhookId for row in past if row.WebhookDeliveryId in expired})
        turns = pass_turns(self._connection, in_line, now=now, requeue_at=again_at)
        again = [(row.WebhookId, row.WebhookDeliveryId, row.PayloadBytes) for row in [*due, *interrupted]]
        return Requeued(
            due=again + turns,
            interrupted=len(interrupted),
            expired=[
                ExpiredDelivery(
                    webhook_delivery_id=row.WebhookDeliveryId,
                    webhook_id=row.WebhookId,
                    tenant_id=row.TenantId,
                    is_about_delivery=(row.TenantId, row.EventId) in about_deliveries,
                    attempt_count=row.AttemptCount,
                    was_held=row.IsHeld,
                    is_test=row.IsTest,
                )
                for row in past
                if row.WebhookDeliveryId in expired
            ],
        )

    def _about_deliveries(self, rows: Sequence[Any]) -> set[tuple[UUID, str]]:
        """Return the (tenant, event id) of those about deliveries: the hub raised them, as far as is known."""
        return {
            (tenant_id, event_id)
            for tenant_id in sorted({row.TenantId for row in rows})
            for chunk in key_lists(row.EventId for row in rows if row.TenantId == tenant_id)
            for event_id in self._connection.execute(
                _OF_HUB, {"tenant": tenant_id, "ids": chunk, "hub": OriginKind.Hub}
            ).scalars()
        }

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_WebhookDelivery_Scheduled
        old = (_d.ScheduledAt < cutoff, unindexed(_d.DeliveryStatus).in_(ENDED))
        oldest = delete_first(webhook_deliveries, *old, order_by=_d.ScheduledAt, limit=limit)
        return self._connection.execute(oldest).rowcount

    def _put_off(self, delivery_ids: Sequence[UUID], now: datetime) -> None:
        """Look at deliveries of suspended tenants again tomorrow, lest they take every run from the others."""
        for chunk in key_lists(delivery_ids):
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(chunk))
                .values(RequeueAt=now + _A_DAY)
            )

    def _interrupt(self, row: Any, now: datetime) -> bool:
        statement = (
            update(webhook_deliveries)
            .where(_d.WebhookDeliveryId == row.WebhookDeliveryId, _d.LeaseId == row.LeaseId)
            .values(
                DeliveryStatus=DeliveryStatus.Retrying,
                NextRetryAt=now,
                LeaseId=None,
                ErrorMessage="The attempt was interrupted; it is made again.",
            )
        )
        if self._connection.execute(statement).rowcount != 1:
            return False
        self._connection.execute(
            insert(webhook_delivery_attempts).values(
                WebhookDeliveryId=row.WebhookDeliveryId,
                AttemptNumber=row.AttemptCount,
                StartedAt=row.LeasedAt,
                DurationMs=0,
                Outcome=AttemptOutcome.Interrupted,
                ErrorMessage="The process ended, or lost its lease, before the result was recorded.",
            )
        )
        return True

    def _expire(self, delivery_ids: Sequence[UUID]) -> set[UUID]:
        expired: set[UUID] = set()
        for chunk in key_lists(delivery_ids):
            statement = (
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(chunk), unindexed(_d.DeliveryStatus).in_(WAITING))
                .values(
                    DeliveryStatus=DeliveryStatus.Expired,
                    NextRetryAt=None,
                    RequeueAt=None,
                    IsWaiting=False,
                    ErrorMessage=case(
                        (_d.IsWaiting == true(), literal(_EXPIRED_WAITING, Text)),
                        else_=literal(_EXPIRED, Text),
                    ),
                )
                .returning(_d.WebhookDeliveryId)
            )
            expired.update(self._connection.execute(statement).scalars())
        return expired
