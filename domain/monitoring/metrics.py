"""What the hub measures of itself, over all tenants."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Protocol

from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.transaction import Transaction, Transactions
from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.journal.signals import SubjectKind, Tally
from domain.monitoring.alerts.model import Severity
from domain.sync.model import SyncStatus
from domain.webhooks.model import DeliveryStatus, WebhookState


@dataclass(frozen=True, slots=True)
class IntegrationGroup:
    """The integrations of a provider with the same status and health."""

    provider: str
    status: IntegrationStatus
    health: HealthStatus


@dataclass(frozen=True, slots=True)
class KeyTotals:
    """The number of `active` keys, neither revoked nor expired, and the requests of all keys there ever were.

    `limited` are those that a quota refused, `refused` those refused for another reason."""

    active: int = 0
    accepted: int = 0
    limited: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that are stored and not fanned out.

    `oldest` is since when the oldest waits, counted from its last announcement."""

    events: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredMeasures:
    """What the database says.

    - `signals`: those of hours that began at or after `since`; all deliveries under `Tenant`.
    - `deliveries`, `syncs`: those that have not ended; `alerts`: those that have not recovered."""

    since: datetime
    signals: Mapping[SubjectKind, Tally]
    integrations: Mapping[IntegrationGroup, int]
    webhooks: Mapping[WebhookState, int]
    deliveries: Mapping[DeliveryStatus, int]
    syncs: Mapping[SyncStatus, int]
    alerts: Mapping[Severity, int]
    keys: KeyTotals
    backlog: Backlog


@dataclass(frozen=True, slots=True)
class Measures:
    """All measures at `taken_at`. `queues` has messages by queue and state; None when the queue did not answer."""

    taken_at: datetime
    stored: StoredMeasures
    queues: Mapping[str, Mapping[str, int]] | None = field(default=None)


class Metrics(Protocol):
    """The database's numbers, over all tenants."""

    def read(self, *, since: datetime, now: datetime) -> StoredMeasures:
        """Return the signals since the beginning of an hour, and everything else as it is now."""


class QueueDepths(Protocol):
    def message_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return messages by queue and state, `dead` among them, of queues that hold any.

        An adapter names only the states that it may count. Raises Unavailable."""


logger = logging.getLogger("hub.metrics")

#: Within this time several scrapers cost the database one reading.
KEPT = timedelta(seconds=5)


class MetricsService:
    def __init__(
        self, transactions: Transactions[MetricsTransaction], queues: QueueDepths, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._queues = queues
        self._clock = clock
        self._lock = Lock()
        self._last: Measures | None = None

    def read(self) -> Measures:
        """Return the measures of this moment, or of the last few seconds.

        - Counts are since midnight (UTC): counts over all that is stored would fall whenever old rows are deleted.
        - A queue that does not answer is left out. Raises Unavailable when the database does not answer."""
        with self._lock:
            now = self._clock.now()
            if self._last is None or not self._last.taken_at <= now < self._last.taken_at + KEPT:
                midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
                with self._transactions.read() as tx:
                    stored = tx.metrics.read(since=midnight, now=now)
                self._last = Measures(now, stored, self._messages())
            return self._last

    def _messages(self) -> dict[str, dict[str, int]] | None:
        try:
            return {queue: dict(counts) for queue, counts in self._queues.message_counts().items()}
        except Unavailable as error:
            logger.warning("queues not counted", extra={"error": error.detail})
            return None


class MetricsTransaction(Transaction, Protocol):
    """The transaction of the hub's metrics."""

    @property
    def metrics(self) -> Metrics: ...
