"""Occurrences on their way to the queue `alerts` (section 14.2).

They are committed with the change they tell of and removed when the queue has them: a crash loses none."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID, uuid5

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage, QueueSender
from domain.core.transaction import Transaction, Transactions
from domain.core.wire import rfc3339
from domain.journal.event_types import HubEvent

RAISED: Final = HubEvent.AlertRaised
RECOVERED: Final = HubEvent.AlertRecovered
CLOSED: Final = HubEvent.AlertClosed
ALERT_EVENTS: Final = frozenset({RAISED, RECOVERED, CLOSED})

#: Whose alerts are about the hub itself and no tenant's business.
PLATFORM: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Something that happened and may become an alert; `source` is its producer's name for it, `data` JSON text."""

    occurrence_id: UUID
    tenant_id: UUID
    source: str
    data: str
    at: datetime


logger = logging.getLogger("hub.alerts")

ALERTS_QUEUE = "alerts"
BATCH = 100


def occurrence(
    source: str, data: Mapping[str, Any], at: datetime, *, tenant_id: UUID = PLATFORM
) -> Occurrence:
    """Build an occurrence, without a tenant the hub's own. Reported twice it has the same id."""
    text = json.dumps(data)
    return Occurrence(uuid5(tenant_id, f"{source} {rfc3339(at)} {text}"), tenant_id, source, text, at)


def message_of(reported: Occurrence) -> QueueMessage:
    body = {
        "kind": reported.source,
        "tenantId": str(reported.tenant_id),
        "occurredAt": rfc3339(reported.at),
        "data": json.loads(reported.data),
    }
    return QueueMessage(json.dumps(body), message_id=str(reported.occurrence_id))


class OccurrenceSender:
    def __init__(self, transactions: Transactions[OccurrenceTransaction], queue: QueueSender) -> None:
        self._transactions = transactions
        self._queue = queue

    def flush(self) -> int:
        """Send the occurrences that wait; return how many. What cannot be sent stays for the next time."""
        sent = 0
        try:
            while waiting := self._waiting():
                self._queue.send(ALERTS_QUEUE, [message_of(reported) for reported in waiting])
                with self._transactions.write() as tx:
                    tx.occurrences.remove([reported.occurrence_id for reported in waiting])
                    tx.commit()
                sent += len(waiting)
        except Unavailable:
            logger.warning("alerts not sent, kept for the sweep")
        return sent

    def _waiting(self) -> list[Occurrence]:
        with self._transactions.read() as tx:
            return tx.occurrences.waiting(BATCH)


class Occurrences(Protocol):
    def append(self, occurrence: Occurrence) -> None: ...

    def waiting(self, limit: int) -> list[Occurrence]:
        """Return the oldest ones."""

    def remove(self, occurrence_ids: Collection[UUID]) -> None: ...


class OccurrenceTransaction(Transaction, Protocol):
    """A transaction that may report occurrences, which become alerts."""

    @property
    def occurrences(self) -> Occurrences: ...
