"""The delivery pipeline over SQL: fan-out, claims, results and sweeps. Each statement works on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, case, false, func, insert, literal, select, true, update

from domain.core.text_length import cut
from domain.journal.events import DomainEvent
from domain.webhooks.model import AttemptOutcome, DeliveryStatus, WebhookState
from domain.webhooks.ports import (
    AttemptResult,
    ClaimedDelivery,
    Due,
    Endpoint,
    EndpointHealth,
    EndpointTally,
    ExpiredDelivery,
    Fanned,
    NewDelivery,
    Recorded,
    Requeued,
    Subscriber,
)
from domain.webhooks.retry_policy import history_of
from infra.sql.firsts import delete_first, update_first
from infra.sql.journal.outbox import events_of
from infra.sql.statements import chunks, guarded_by_unique_key, unindexed
from infra.sql.types import Text, Utc
from infra.sql.webhooks.lines import give_turns, pass_turns, stranded
from infra.sql.webhooks.repository import policy_of
from infra.sql.webhooks.tables import (
    webhook_deliveries,
    webhook_delivery_attempts,
    webhook_subscriptions,
    webhooks,
)

_d = webhook_deliveries.c
_w = webhooks.c
_s = webhook_subscriptions.c

# WebhookSubscriptions' primary key (TenantId, EventType, WebhookId)
_SUBSCRIBERS = (
    select(_s.WebhookId, _s.TenantId, _s.EventType, _w.State, _w.IntegrationId, _w.Ordering)
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

_WAITING = (DeliveryStatus.Pending, DeliveryStatus.Retrying)
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
        unindexed(_d.DeliveryStatus).in_(_WAITING),
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

_ENDED = (DeliveryStatus.Delivered, DeliveryStatus.Failed, DeliveryStatus.Expired)
_LOOKED_AT = (
    _d.WebhookDeliveryId,
    _d.WebhookId,
    _d.TenantId,
    _d.EventType,
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
_EXPIRED = "Not delivered within its time; expired."
_EXPIRED_WAITING = "Its turn did not come within its time, for those before it in line; expired."


class SqlDeliveryPipeline:
    """Satisfies `domain.webhooks.ports.DeliveryPipeline`; the methods stand in the order in which an event travels."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def subscribers(self, wanted: Sequence[tuple[UUID, str]]) -> list[Subscriber]:
        names: dict[UUID, set[str]] = {}
        for tenant, name in wanted:
            names.setdefault(tenant, set()).add(name)
        return [
            Subscriber(
                webhook_id, tenant_id, event_type, state != WebhookState.Active, integration_id, ordering
            )
            for tenant, wanted_names in names.items()
            for chunk in chunks(sorted(wanted_names))
            for webhook_id, tenant_id, event_type, state, integration_id, ordering in self._connection.execute(
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
    ) -> Fanned:
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
                self._connection.execute(_INSERT, rows)
        in_line = [delivery.webhook_delivery_id for delivery in new if delivery.line is not None]
        turns = give_turns(self._connection, in_line, now=now, requeue_at=requeue_at)
        at_once = [
            (delivery.webhook_id, delivery.webhook_delivery_id, delivery.event.size)
            for delivery in new
            if _goes_now(delivery)
        ]
        return Fanned([delivery for delivery in new if not delivery.is_held], at_once + turns)

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
        for delivery_id, webhook_id, event_id, attempt_count, retries_used, expires_at, is_test in rows:
            endpoint = endpoints[webhook_id]
            event = events[endpoint.tenant_id, event_id]
            claimed.append(
                ClaimedDelivery(
                    delivery_id, endpoint, event, attempt_count, retries_used, expires_at, lease_id, is_test
                )
            )
        return claimed

    def hold(self, webhook_ids: Sequence[UUID], delivery_ids: Sequence[UUID]) -> None:
        for chunk in chunks(delivery_ids):
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(chunk), unindexed(_d.DeliveryStatus).in_(_WAITING))
                .values(IsHeld=True, RequeueAt=_d.ExpiresAt)
            )
        for chunk in chunks(webhook_ids):
            # IX_WebhookDelivery_Line
            self._connection.execute(
                update(webhook_deliveries)
                .where(_d.WebhookId.in_(chunk), _d.Line.is_not(None), _d.IsWaiting == true())
                .values(IsHeld=True)
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

    def record(self, results: Sequence[AttemptResult], *, now: datetime, requeue_at: datetime) -> Recorded:
        leases = list({result.claimed.lease_id for result in results})
        held = {
            (delivery_id, lease_id): line
            for chunk in chunks([result.claimed.webhook_delivery_id for result in results])
            for delivery_id, lease_id, line in self._connection.execute(
                _STILL_LEASED, {"ids": chunk, "leases": leases}
            ).all()
        }
        kept = [
            result
            for result in results
            if (result.claimed.webhook_delivery_id, result.claimed.lease_id) in held
        ]
        if kept:
            self._connection.execute(_RESULT, [_result_row(result) for result in kept])
            self._connection.execute(_ATTEMPT, [_attempt_row(result) for result in kept])
        ended = [
            result.claimed.webhook_delivery_id
            for result in kept
            if result.delivery_status in _ENDED
            and held[result.claimed.webhook_delivery_id, result.claimed.lease_id] is not None
        ]
        return Recorded(kept, pass_turns(self._connection, ended, now=now, requeue_at=requeue_at))

    def tally(self, tallies: Sequence[EndpointTally], now: datetime) -> list[EndpointHealth]:
        return [health for tally in tallies for health in self._tally(tally, now)]

    def _tally(self, tally: EndpointTally, now: datetime) -> list[EndpointHealth]:
        consecutive: Any = tally.real_failures
        failing_since: Any = now if tally.real_failures else None
        if not tally.delivered:
            consecutive = _w.ConsecutiveFailures + tally.real_failures
            begun = case((_w.ConsecutiveFailures > 0, _w.FailingSince))
            failing_since = func.coalesce(begun, literal(failing_since, Utc())) if failing_since else begun
        if tally.learns and (tally.delivered or tally.outages):
            self._learn(tally, now)
        tried = tally.delivered or tally.attempts_failed
        statement = (
            update(webhooks)
            .where(_w.WebhookId == tally.webhook_id)
            .values(
                SuccessCount=_w.SuccessCount + tally.delivered,
                FailureCount=_w.FailureCount + tally.failed_for_good,
                ConsecutiveFailures=consecutive,
                FailingSince=failing_since,
                LastTriggeredAt=now if tried else _w.LastTriggeredAt,
                **_streak(tally, now),
            )
            .returning(_w.WebhookId, _w.TenantId, _w.Url, _w.ConsecutiveFailures, _w.FailingSince)
        )
        return [EndpointHealth(*row) for row in self._connection.execute(statement)]

    def _learn(self, tally: EndpointTally, now: datetime) -> None:
        """Add an outage that ended to the endpoint's history, or note that one began.

        An outage begins with its first attempt; its last attempt was its last failure."""
        row = self._connection.execute(
            select(_w.LastTriggeredAt, _w.RetryHistory).where(_w.WebhookId == tally.webhook_id)
        ).one_or_none()
        if row is None:
            return
        history, moment = history_of(row.RetryHistory), now.timestamp()
        if tally.delivered and history.since is not None:
            last = row.LastTriggeredAt.timestamp() if row.LastTriggeredAt else history.since
            after = history.learned(last - history.since, moment - history.since)
        elif tally.outages and not tally.delivered and history.since is None:
            after = replace(history, since=moment)
        else:
            return
        as_read = _w.RetryHistory.is_(None)
        if row.RetryHistory is not None:
            as_read = _w.RetryHistory == row.RetryHistory
        # Whoever wrote since has learned from the same outage.
        self._connection.execute(
            update(webhooks)
            .where(_w.WebhookId == tally.webhook_id, as_read)
            .values(RetryHistory=after.text())
        )

    def disable(self, webhook_id: UUID, reason: str) -> bool:
        statement = (
            update(webhooks)
            .where(_w.WebhookId == webhook_id, _w.State == WebhookState.Active)
            .values(
                State=WebhookState.Disabled,
                IsActive=False,
                DisabledReason=cut(reason, 400),
                Version=_w.Version + 1,
            )
        )
        return self._connection.execute(statement).rowcount == 1

    def release_stranded(self, now: datetime) -> int:
        # IX_Webhook_Active, then IX_WebhookDelivery_Held
        active = select(webhooks.c.WebhookId).where(webhooks.c.IsActive == true())
        statement = (
            update(webhook_deliveries)
            .where(
                _d.IsHeld == true(),
                _d.WebhookId.in_(active),
                _d.ExpiresAt > now,
                unindexed(_d.DeliveryStatus).in_(_WAITING),
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
        rows = self._connection.execute(first.values(RequeueAt=again_at).returning(*_LOOKED_AT)).all()
        lapsed = [row for row in rows if row.DeliveryStatus == DeliveryStatus.Sending]
        waiting = [row for row in rows if row.DeliveryStatus != DeliveryStatus.Sending]
        past = [row for row in waiting if row.ExpiresAt <= now]
        due = [row for row in waiting if row.ExpiresAt > now and not row.IsHeld and not row.IsWaiting]
        interrupted = [row for row in lapsed if self._interrupt(row, now)]
        expired = self._expire([row.WebhookDeliveryId for row in past])
        in_line = [
            row.WebhookDeliveryId for row in past if row.Line is not None and row.WebhookDeliveryId in expired
        ]
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
                    event_type=row.EventType,
                    attempt_count=row.AttemptCount,
                    was_held=row.IsHeld,
                    is_test=row.IsTest,
                )
                for row in past
                if row.WebhookDeliveryId in expired
            ],
        )

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        # IX_WebhookDelivery_Scheduled
        old = (_d.ScheduledAt < cutoff, unindexed(_d.DeliveryStatus).in_(_ENDED))
        oldest = delete_first(webhook_deliveries, *old, order_by=_d.ScheduledAt, limit=limit)
        return self._connection.execute(oldest).rowcount

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
        for chunk in chunks(delivery_ids):
            statement = (
                update(webhook_deliveries)
                .where(_d.WebhookDeliveryId.in_(chunk), unindexed(_d.DeliveryStatus).in_(_WAITING))
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


def _goes_now(delivery: NewDelivery) -> bool:
    return not delivery.is_held and delivery.line is None


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


def _streak(tally: EndpointTally, now: datetime) -> dict[str, Any]:
    """Return the values that go on with the successes in a row, or begin them anew after a failure."""
    if tally.broken:
        since = now if tally.streak else None
        return {"SuccessesInRow": tally.streak, "SucceedingSince": since, "LastFailedAt": now}
    if not tally.streak:
        return {}
    begun = func.coalesce(_w.SucceedingSince, literal(now, Utc()))
    return {"SuccessesInRow": _w.SuccessesInRow + tally.streak, "SucceedingSince": begun}
