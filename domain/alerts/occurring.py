"""Occurrences on their way to the queue `alerts` (section 14.2). They are committed with the change they tell of,
sent after it, and removed when the queue has them: a crash repeats one, and loses none."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from domain.alerts.model import PLATFORM, Occurrence
from domain.errors import Unavailable
from domain.events.model import DomainEvent
from domain.identity.rules import guid
from domain.ports import QueueMessage, QueueSender
from domain.unit_of_work import UnitsOfWork
from domain.webhooks.model import DISABLED
from domain.wire import rfc3339

logger = logging.getLogger("hub.alerts")

ALERTS_QUEUE = "alerts"
_BATCH = 100
#: More than the hub's own event about a disabled webhook ever has.
_OWN_BYTES = 8 * 1024


def occurrence(
    source: str, data: Mapping[str, Any], at: datetime, *, tenant_id: UUID = PLATFORM
) -> Occurrence:
    """Without a tenant it is the hub's own trouble. The id follows from the rest: the same thing told twice is one
    occurrence."""
    text = json.dumps(data)
    return Occurrence(uuid5(tenant_id, f"{source} {rfc3339(at)} {text}"), tenant_id, source, text, at)


def message_of(one: Occurrence) -> QueueMessage:
    body = {
        "kind": one.source,
        "tenantId": str(one.tenant_id),
        "occurredAt": rfc3339(one.at),
        "data": json.loads(one.data),
    }
    return QueueMessage(json.dumps(body), message_id=str(one.occurrence_id))


class OccurrenceSender:
    def __init__(self, units: UnitsOfWork, queue: QueueSender) -> None:
        self._units = units
        self._queue = queue

    def flush(self) -> int:
        """Send what waits; returns how many. What cannot be sent stays for the next time."""
        sent = 0
        try:
            while some := self._send_some():
                sent += some
        except Unavailable:
            logger.warning("alerts not sent, kept for the sweep")
        return sent

    def _send_some(self) -> int:
        with self._units.read() as unit:
            waiting = unit.occurrences.waiting(_BATCH)
        if not waiting:
            return 0
        self._queue.send(ALERTS_QUEUE, [message_of(one) for one in waiting])
        with self._units.write() as unit:
            unit.occurrences.remove([one.occurrence_id for one in waiting])
            unit.commit()
        return len(waiting)


class DisabledWebhooks:
    """A consumer of the fan-out: a webhook that the hub disabled is an occurrence."""

    def __init__(self, queue: QueueSender) -> None:
        self._queue = queue

    def consume(self, events: Sequence[DomainEvent]) -> None:
        """Raises Unavailable; then the events are fanned out again."""
        messages = [
            message_of(occurrence("webhook-disabled", data, one.occurred_at, tenant_id=one.tenant_id))
            for one in events
            if one.type == DISABLED and (data := _disabled(one)) is not None
        ]
        if messages:
            self._queue.send(ALERTS_QUEUE, messages)


def _disabled(event: DomainEvent) -> Mapping[str, Any] | None:
    """None for an event that only bears the name: anyone may raise one, and the queue does not take every size."""
    if event.size > _OWN_BYTES:
        return None
    try:
        data: Any = json.loads(event.data)
    except RecursionError:
        return None
    is_ours = guid(data.get("webhookId")) is not None and isinstance(data.get("reason"), str)
    return data if is_ours else None
