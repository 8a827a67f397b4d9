"""Results: attempts, the deliveries' next states and the endpoints' counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, insert, literal, select, update

from domain.webhooks.model import DeliveryStatus, WebhookState
from domain.webhooks.ports import AttemptResult, EndpointHealth, EndpointTally
from domain.webhooks.retry_policy import history_of
from infra.sql.statements import chunks
from infra.sql.types import Utc
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts, webhooks

_d = webhook_deliveries.c
_w = webhooks.c

# the primary key
_STILL_LEASED = (
    update(webhook_deliveries)
    .where(
        _d.WebhookDeliveryId.in_(bindparam("ids", expanding=True)),
        _d.LeaseId.in_(bindparam("leases", expanding=True)),
    )
    .values(LeaseId=_d.LeaseId)
    .returning(_d.WebhookDeliveryId, _d.LeaseId)
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
RETRY_GRACE = timedelta(seconds=60)


class SqlResults:
    """The part of the delivery pipeline that comes after the attempts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record(self, results: Sequence[AttemptResult]) -> list[AttemptResult]:
        leases = list({result.claimed.lease_id for result in results})
        held = {
            tuple(row)
            for chunk in chunks([result.claimed.webhook_delivery_id for result in results])
            for row in self._connection.execute(_STILL_LEASED, {"ids": chunk, "leases": leases}).all()
        }
        kept = [
            result
            for result in results
            if (result.claimed.webhook_delivery_id, result.claimed.lease_id) in held
        ]
        if kept:
            self._connection.execute(_RESULT, [_result_row(result) for result in kept])
            self._connection.execute(_ATTEMPT, [_attempt_row(result) for result in kept])
        return kept

    def tally(self, tallies: Sequence[EndpointTally], now: datetime) -> list[EndpointHealth]:
        return [health for tally in tallies for health in self._tally(tally, now)]

    def _tally(self, tally: EndpointTally, now: datetime) -> list[EndpointHealth]:
        if tally.delivered:
            consecutive, failing_since = 0, None
        else:
            consecutive = _w.ConsecutiveFailures + tally.failed_for_good  # type: ignore[assignment]
            failing_since = (
                func.coalesce(_w.FailingSince, literal(now, Utc()))
                if tally.attempts_failed
                else _w.FailingSince
            )
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
                DisabledReason=reason[:400],
                Version=_w.Version + 1,
            )
        )
        return self._connection.execute(statement).rowcount == 1


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
        "requeue_at": retry_at + RETRY_GRACE if retry_at else None,
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
    }
