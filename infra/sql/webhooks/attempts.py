"""Attempts over SQL: claims under a lease, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, bindparam, case, false, insert, select, true, update

from domain.journal.events import DomainEvent
from domain.webhooks.model import ENDED, WAITING, DeliveryStatus, WebhookState
from domain.webhooks.ports import AttemptResult, ClaimedDelivery, Endpoint, Recorded
from infra.sql.journal.outbox import events_of
from infra.sql.statements import in_key_order, key_lists, unindexed
from infra.sql.tenants.standings import suspension_flag
from infra.sql.types import Utc
from infra.sql.webhooks.lines import lock, pass_turns
from infra.sql.webhooks.repository import policy_of
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts, webhooks

_d = webhook_deliveries.c
_w = webhooks.c

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
    suspension_flag(_w.TenantId).label("IsSuspended"),
).where(_w.WebhookId.in_(bindparam("ids", expanding=True)))
# the primary key, then the state predicate again
_CLAIM = (
    update(webhook_deliveries)
    .where(
        _d.WebhookDeliveryId.in_(bindparam("ids", expanding=True)),
        unindexed(_d.DeliveryStatus).in_(WAITING),
        _d.IsHeld == false(),
        _d.IsWaiting == false(),
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
    .returning(
        _d.WebhookDeliveryId,
        _d.WebhookId,
        _d.EventId,
        _d.AttemptCount,
        _d.RetriesUsed,
        _d.ExpiresAt,
        _d.IsTest,
    )
)

# the primary key
_STILL_LEASED = (
    update(webhook_deliveries)
    .where(
        _d.WebhookDeliveryId.in_(bindparam("ids", expanding=True)),
        _d.LeaseId.in_(bindparam("leases", expanding=True)),
    )
    .values(LeaseId=_d.LeaseId)
    .returning(_d.WebhookDeliveryId, _d.LeaseId, _d.Line)
)
_RESULT = (
    update(webhook_deliveries)
    .where(_d.WebhookDeliveryId == bindparam("id"))
    .values(
        DeliveryStatus=bindparam("status"),
        HttpStatusCode=bindparam("http_status"),
        ResponseBody=bindparam("response"),
        ErrorMessage=bindparam("error"),
        DeliveredAt=bindparam("delivered_at"),
        NextRetryAt=bindparam("next_retry_at"),
        RetriesUsed=bindparam("retries_used"),
        RequeueAt=bindparam("requeue_at"),
        LeaseId=None,
    )
)
_ATTEMPT = insert(webhook_delivery_attempts)
#: How long after its planned moment a retry is looked for, in case its message was lost.
_RETRY_GRACE = timedelta(seconds=60)


class SqlAttempts:
    """The part of the delivery pipeline around a post."""

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
                # Whatever it is itself: nothing is sent for a suspended tenant.
                state=WebhookState.Paused if row.IsSuspended else row.State,
                retry_policy=policy_of(row.RetryPolicy),
                timeout_seconds=row.TimeoutSeconds,
                rate_limit_per_second=row.RateLimitPerSecond,
                retry_history=row.RetryHistory,
            )
            for chunk in key_lists(webhook_ids)
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
            for timeout, ids in sorted(by_timeout.items())
            for chunk in key_lists(ids)
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
        for delivery_id, webhook_id, event_id, attempt_count, retries_used, expires_at, is_test in rows:
            endpoint = endpoints[webhook_id]
            event = events[endpoint.tenant_id, event_id]
            claimed.append(
                ClaimedDelivery(
                    delivery_id, endpoint, event, attempt_count, retries_used, expires_at, lease_id, is_test
                )
            )
        return claimed

    def _events(self, names: set[tuple[UUID, str]]) -> dict[tuple[UUID, str], DomainEvent]:
        by_tenant: dict[UUID, list[str]] = {}
        for tenant, event_id in names:
            by_tenant.setdefault(tenant, []).append(event_id)
        return {
            (tenant, event.event_id): event
            for tenant, ids in by_tenant.items()
            for event in events_of(self._connection, tenant, ids)
        }

    def hold(self, webhook_ids: Sequence[UUID], delivery_ids: Sequence[UUID]) -> None:
        for chunk in key_lists(delivery_ids):
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(chunk), unindexed(_d.DeliveryStatus).in_(WAITING))
                .values(IsHeld=True, RequeueAt=_d.ExpiresAt)
            )
        for chunk in key_lists(webhook_ids):
            # IX_WebhookDelivery_Line
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookId.in_(chunk), _d.Line.is_not(None), _d.IsWaiting == true())
                .values(IsHeld=True)
            )

    def park(self, delivery_ids: Sequence[UUID], until: datetime) -> None:
        moment = bindparam("until", type_=Utc())
        for chunk in key_lists(delivery_ids):
            # the primary key, then the state predicate again
            self._connection.execute(
                update(webhook_deliveries)
                .where(
                    _d.WebhookDeliveryId.in_(chunk),
                    unindexed(_d.DeliveryStatus).in_(WAITING),
                    _d.IsHeld == false(),
                    _d.IsWaiting == false(),
                )
                .values(RequeueAt=case((_d.ExpiresAt < moment, _d.ExpiresAt), else_=moment)),
                {"until": until},
            )

    def record(self, results: Sequence[AttemptResult], *, now: datetime, requeue_at: datetime) -> Recorded:
        leases = {result.claimed.lease_id for result in results}
        held = {
            (delivery_id, lease_id): line
            for chunk in key_lists(result.claimed.webhook_delivery_id for result in results)
            for some in key_lists(leases)
            for delivery_id, lease_id, line in self._connection.execute(
                _STILL_LEASED, {"ids": chunk, "leases": some}
            ).all()
        }
        kept = [
            result
            for result in results
            if (result.claimed.webhook_delivery_id, result.claimed.lease_id) in held
        ]
        if kept:
            self._connection.execute(_RESULT, in_key_order(map(_result_row, kept), "id"))
            attempts = in_key_order(map(_attempt_row, kept), "WebhookDeliveryId", "AttemptNumber")
            self._connection.execute(_ATTEMPT, attempts)
        ended = [
            result.claimed.webhook_delivery_id
            for result in kept
            if result.delivery_status in ENDED
            and held[result.claimed.webhook_delivery_id, result.claimed.lease_id] is not None
        ]
        if ended:
            # All whose counters follow, since those without lines may come before those with.
            lock(self._connection, {result.claimed.endpoint.webhook_id for result in kept})
        return Recorded(kept, pass_turns(self._connection, ended, now=now, requeue_at=requeue_at))


def _live_secrets(
    current: str, previous: str | None, previous_expires_at: datetime | None, now: datetime
) -> tuple[str, ...]:
    if previous is None or previous_expires_at is None or previous_expires_at <= now:
        return (current,)
    return (current, previous)


def _result_row(result: AttemptResult) -> dict[str, object]:
    attempt = result.attempt
    retry_at = result.next_retry_at
    delivered = result.delivery_status == DeliveryStatus.Delivered
    return {
        "id": result.claimed.webhook_delivery_id,
        "status": result.delivery_status,
        "http_status": attempt.http_status_code,
        "response": attempt.response_body,
        "error": attempt.error_message,
        "delivered_at": attempt.started_at + timedelta(milliseconds=attempt.duration_ms)
        if delivered
        else None,
        "next_retry_at": retry_at,
        "retries_used": result.retries_used,
        "requeue_at": retry_at + _RETRY_GRACE if retry_at else None,
    }


def _attempt_row(result: AttemptResult) -> dict[str, object]:
    attempt = result.attempt
    return {
        "WebhookDeliveryId": result.claimed.webhook_delivery_id,
        "AttemptNumber": attempt.number,
        "StartedAt": attempt.started_at,
        "DurationMs": attempt.duration_ms,
        "Outcome": attempt.outcome,
        "HttpStatusCode": attempt.http_status_code,
        "ResponseBody": attempt.response_body,
        "ErrorMessage": attempt.error_message,
        "RequestHeaders": attempt.request_headers,
        "ResponseHeaders": attempt.response_headers,
    }
