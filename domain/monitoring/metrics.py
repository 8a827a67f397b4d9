"""What the hub measures of itself, over all tenants."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
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
    provider: str
    status: IntegrationStatus
    health: HealthStatus


@dataclass(frozen=True, slots=True)
class KeyTotals:
    """Active keys, and requests of all keys ever: `limited` by quotas, `refused` for another reason."""

    active: int = 0
    accepted: int = 0
    limited: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events stored and not fanned out; `oldest` is since when, counted from its last announcement."""

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
    queues: Mapping[str, Mapping[str, int]] | None = None


class Metrics(Protocol):
    def read(self, *, since: datetime, now: datetime) -> StoredMeasures: ...


class QueueDepths(Protocol):
    def message_counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return messages by queue and countable state, `dead` among them. Raises Unavailable."""


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
        """Return the measures of this moment, or of the last few seconds. Raises Unavailable.

        Counts are since midnight (UTC), so that deleting rows lowers none. A silent queue is left out."""
        with self._lock:
            now = self._clock.now()
            if self._last is None or not self._last.taken_at <= now < self._last.taken_at + KEPT:
                midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
                with self._transactions.read() as tx:
                    stored = tx.metrics.read(since=midnight, now=now)
                try:
                    queues = self._queues.message_counts()
                except Unavailable as error:
                    logger.warning("queues not counted", extra={"error": error.detail})
                    queues = None
                self._last = Measures(now, stored, queues)
            return self._last


class MetricsTransaction(Transaction, Protocol):
    """What the metrics of the hub itself are read from."""

    @property
    def metrics(self) -> Metrics: ...
