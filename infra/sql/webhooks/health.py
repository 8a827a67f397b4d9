"""The health of webhooks over SQL: counters, learned outages, and the disabling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, func, literal, select, update

from domain.core.text_length import cut
from domain.webhooks.model import WebhookState
from domain.webhooks.ports import EndpointHealth, EndpointTally
from domain.webhooks.retry_policy import history_of
from infra.sql.types import Utc
from infra.sql.webhooks.tables import webhooks

_w = webhooks.c


class SqlEndpointHealth:
    """The part of the delivery pipeline that judges webhooks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tally(self, tallies: Sequence[EndpointTally], now: datetime) -> list[EndpointHealth]:
        in_order = sorted(tallies, key=lambda tally: tally.webhook_id)
        return [health for tally in in_order for health in self._tally(tally, now)]

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


def _streak(tally: EndpointTally, now: datetime) -> dict[str, Any]:
    """Return the values that go on with the successes in a row, or begin them anew after a failure."""
    if tally.broken:
        since = now if tally.streak else None
        return {"SuccessesInRow": tally.streak, "SucceedingSince": since, "LastFailedAt": now}
    if not tally.streak:
        return {}
    begun = func.coalesce(_w.SucceedingSince, literal(now, Utc()))
    return {"SuccessesInRow": _w.SuccessesInRow + tally.streak, "SucceedingSince": begun}
