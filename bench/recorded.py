"""What a hub's endpoints went through, read from the attempts it stores, as a file that names nobody.

`python -m bench.retries --record FILE` writes it of the hub that the settings name, `--recorded FILE` simulates it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, false, select

from domain.recommendations.retry_rules import outage_length
from domain.webhooks.model import AttemptOutcome
from domain.webhooks.retry_policy import ReceiverAnswer, is_outage
from infra.sql.engine import Database
from infra.sql.webhooks.tables import webhook_deliveries, webhook_delivery_attempts

_a = webhook_delivery_attempts.c
_d = webhook_deliveries.c

#: What whoever comes in a period of each kind is answered.
ANSWERS = {
    "unreachable": ReceiverAnswer(failure="timeout"),
    "error": ReceiverAnswer(status=503),
    "limit": ReceiverAnswer(status=429),
}

_MOMENT_SECONDS = 60.0

# IX_WebhookAttempt_Started, then the primary key of deliveries; no text of an answer or error is read
_ATTEMPTS = (
    select(_d.WebhookId, _a.StartedAt, _a.AttemptNumber, _a.HttpStatusCode)
    .join(webhook_deliveries, _d.WebhookDeliveryId == _a.WebhookDeliveryId)
    .where(
        _a.StartedAt >= bindparam("since"),
        _d.IsTest == false(),
        _a.Outcome.in_((AttemptOutcome.Delivered, AttemptOutcome.Failed)),
    )
    .order_by(_a.StartedAt)
)


class Seen(NamedTuple):
    """An attempt: of which endpoint, when it began, whether a delivery's first, its status, None without an answer."""

    endpoint: UUID
    at: datetime
    is_first: bool
    status: int | None


@dataclass(slots=True)
class _Endpoint:
    """In seconds since `began`. `kind` and `since` are those of the period under way, `failed` its last attempt."""

    began: float
    last: float = 0.0
    deliveries: int = 0
    kind: str | None = None
    since: float = 0.0
    failed: float = 0.0
    periods: list[tuple[float, float, str]] = field(default_factory=list)

    def see(self, attempt: Seen) -> None:
        """End a period midway to an answer of another sort, as adaptive retry takes it."""
        self.last, kind = attempt.at.timestamp() - self.began, _kind(attempt.status)
        self.deliveries += attempt.is_first
        if self.kind is not None and (kind is None or (kind == "limit") != (self.kind == "limit")):
            end = min(self.last, self.since + outage_length(self.since, self.failed, self.last))
            if end - self.since >= 1.0:  # else posts crossed on their way
                self.periods.append((round(self.since, 1), round(end, 1), self.kind))
            self.kind = None
        if kind is not None:
            if self.kind is None:
                self.kind, self.since = kind, self._began_limit() if kind == "limit" else self.last
            self.failed = self.last

    def _began_limit(self) -> float:
        """Now, or when the one began that ended a moment ago: at its limit an endpoint takes a post here and there."""
        if (
            self.periods
            and self.periods[-1][2] == "limit"
            and self.last - self.periods[-1][1] < _MOMENT_SECONDS
        ):
            return self.periods.pop()[0]
        return self.last


def _kind(status: int | None) -> str | None:
    """None for an endpoint that takes posts, or refuses this one alone."""
    if status is None:
        return "unreachable"
    if status == 429:
        return "limit"
    return "error" if is_outage(ReceiverAnswer(status=status)) else None


def recording(attempts: Iterable[Seen]) -> list[dict[str, Any]]:
    """Return each endpoint that had a period which ended, from attempts in the order of their start.

    Of each: seconds from its first to its last attempt, deliveries begun, and periods as [start, end, kind] in
    seconds from that first attempt."""
    endpoints: dict[UUID, _Endpoint] = {}
    for attempt in attempts:
        endpoints.setdefault(attempt.endpoint, _Endpoint(attempt.at.timestamp())).see(attempt)
    return [
        {"seconds": round(endpoint.last, 1), "deliveries": endpoint.deliveries, "periods": endpoint.periods}
        for endpoint in endpoints.values()
        if endpoint.periods
    ]


def attempts_since(database: Database, since: datetime) -> Iterator[Seen]:
    """Read the attempts of all endpoints. Raises Unavailable.

    Interrupted attempts and those to addresses that may not be called are left out."""
    with database.read() as connection:
        rows = connection.execution_options(yield_per=1_000).execute(_ATTEMPTS, {"since": since})
        for webhook_id, at, number, status in rows:
            yield Seen(webhook_id, at, number == 1, status)


def write(endpoints: list[dict[str, Any]], path: Path) -> None:
    """One endpoint to a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(endpoint) for endpoint in endpoints) + "\n]\n")
