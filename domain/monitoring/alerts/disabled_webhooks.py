"""TODO."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from domain.core.ports import QueueSender
from domain.core.principal import guid
from domain.journal.events import DomainEvent
from domain.journal.occurrences import ALERTS_QUEUE, message_of, occurrence
from domain.webhooks.model import DISABLED

#: More than the hub's own event about a disabled webhook ever has.
_OWN_BYTES = 8 * 1024


class DisabledWebhooks:
    """A consumer of the fan-out: a webhook that the hub disabled is an occurrence."""

    def __init__(self, queue: QueueSender) -> None:
        self._queue = queue

    def consume(self, events: Sequence[DomainEvent]) -> None:
        """Raises Unavailable; then the events are fanned out again."""
        messages = [
            message_of(occurrence("webhook-disabled", data, event.occurred_at, tenant_id=event.tenant_id))
            for event in events
            if event.type == DISABLED and (data := _disabled(event)) is not None
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
