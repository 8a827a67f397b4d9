"""Claims: which deliveries this process attempts, and what it needs to know for that."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, bindparam, select, update

from domain.journal.events import DomainEvent
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.ports import ClaimedDelivery, Endpoint
from infra.sql.journal.outbox import events_of
from infra.sql.statements import chunks, unindexed
from infra.sql.webhooks.repository import policy_of
from infra.sql.webhooks.tables import webhook_deliveries, webhooks

_d = webhook_deliveries.c
_w = webhooks.c

WAITING = (DeliveryStatus.Pending, DeliveryStatus.Retrying)
#: The queue's clock may run a little ahead of ours; a retry may start this much early.
_EARLY = timedelta(seconds=5)

# the primary key
_ENDPOINTS = select(
    _w.WebhookId,
    _w.TenantId,
    _w.Url,
    _w.Secret,
    _w.PreviousSecret,
    _w.PreviousSecretExpiresAt,
    _w.State,
    _w.RetryPolicy,
    _w.RetryHistory,
    _w.TimeoutSeconds,
    _w.RateLimitPerSecond,
).where(_w.WebhookId.in_(bindparam("ids", expanding=True)))
# the primary key, then the state predicate again
_CLAIM = (
    update(webhook_deliveries)
    .where(
        _d.WebhookDeliveryId.in_(bindparam("ids", expanding=True)),
        unindexed(_d.DeliveryStatus).in_(WAITING),
        _d.IsHeld == False,  # noqa: E712 - SQL
        _d.ExpiresAt > bindparam("now"),
        (_d.NextRetryAt.is_(None)) | (_d.NextRetryAt <= bindparam("due")),
    )
    .values(
        DeliveryStatus=DeliveryStatus.Sending,
        AttemptCount=_d.AttemptCount + 1,
        LeaseId=bindparam("lease"),
        LeasedAt=bindparam("now"),
        NextRetryAt=None,
        RequeueAt=bindparam("until"),
    )
    .returning(_d.WebhookDeliveryId, _d.WebhookId, _d.EventId, _d.AttemptCount, _d.RetriesUsed, _d.ExpiresAt)
)


class SqlClaims:
    """The part of the delivery pipeline that comes before the attempts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def endpoints(self, webhook_ids: Sequence[UUID], now: datetime) -> list[Endpoint]:
        return [
            Endpoint(
                webhook_id=row.WebhookId,
                tenant_id=row.TenantId,
                url=row.Url,
                sealed_secrets=_live_secrets(
                    row.Secret, row.PreviousSecret, row.PreviousSecretExpiresAt, now
                ),
                state=row.State,
                retry_policy=policy_of(row.RetryPolicy),
                timeout_seconds=row.TimeoutSeconds,
                rate_limit_per_second=row.RateLimitPerSecond,
                retry_history=row.RetryHistory,
            )
            for chunk in chunks(webhook_ids)
            for row in self._connection.execute(_ENDPOINTS, {"ids": chunk})
        ]

    def claim(
        self,
        wanted: Sequence[tuple[Endpoint, Sequence[UUID]]],
        *,
        lease_id: UUID,
        now: datetime,
        margin_seconds: int,
    ) -> list[ClaimedDelivery]:
        endpoints = {endpoint.webhook_id: endpoint for endpoint, _ in wanted}
        by_timeout: dict[int, list[UUID]] = {}
        for endpoint, ids in wanted:
            by_timeout.setdefault(endpoint.timeout_seconds, []).extend(ids)
        rows = [
            row
            for timeout, ids in by_timeout.items()
            for chunk in chunks(ids)
            for row in self._connection.execute(
                _CLAIM,
                {
                    "ids": chunk,
                    "now": now,
                    "due": now + _EARLY,
                    "lease": lease_id,
                    "until": now + timedelta(seconds=timeout + margin_seconds),
                },
            ).all()
        ]
        events = self._events({(endpoints[row[1]].tenant_id, row[2]) for row in rows})
        claimed: list[ClaimedDelivery] = []
        for delivery_id, webhook_id, event_id, attempt_count, retries_used, expires_at in rows:
            endpoint = endpoints[webhook_id]
            event = events[endpoint.tenant_id, event_id]
            claimed.append(
                ClaimedDelivery(
                    delivery_id, endpoint, event, attempt_count, retries_used, expires_at, lease_id
                )
            )
        return claimed

    def hold(self, delivery_ids: Sequence[UUID]) -> None:
        for chunk in chunks(delivery_ids):
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(chunk), unindexed(_d.DeliveryStatus).in_(WAITING))
                .values(IsHeld=True, RequeueAt=_d.ExpiresAt)
            )

    def _events(self, names: set[tuple[UUID, str]]) -> dict[tuple[UUID, str], DomainEvent]:
        by_tenant: dict[UUID, list[str]] = {}
        for tenant, event_id in names:
            by_tenant.setdefault(tenant, []).append(event_id)
        return {
            (tenant, event.event_id): event
            for tenant, ids in by_tenant.items()
            for event in events_of(self._connection, tenant, ids)
        }


def _live_secrets(
    current: str, previous: str | None, previous_expires_at: datetime | None, now: datetime
) -> tuple[str, ...]:
    if previous is None or previous_expires_at is None or previous_expires_at <= now:
        return (current,)
    return (current, previous)
