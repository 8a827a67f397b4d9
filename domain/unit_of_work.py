"""One transaction: enter, use repositories, `commit()`; leaving without it rolls back."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, Protocol, TypeVar

from domain.alerts.ports import AlertConditions, AlertRules, Alerts, Notifications, Occurrences
from domain.anomalies.ports import Anomalies, Sightings
from domain.apikeys.ports import ApiKeys
from domain.audit.ports import Audit
from domain.errors import Undone
from domain.events.ports import Outbox
from domain.identity.users import Users
from domain.incoming.ports import IncomingWebhooks
from domain.insights.ports import Signals
from domain.integrations.ports import IntegrationLogs, Integrations
from domain.metrics.ports import Metrics
from domain.privacy.ports import Erasures, PersonalData
from domain.recommendations.ports import Decisions, Outcomes, PeerChecks
from domain.sync.ports import SyncJobs, SyncRecords, SyncSettings
from domain.webhooks.ports import Deliveries, DeliveryPipeline, Webhooks

logger = logging.getLogger("hub.units")

P = ParamSpec("P")
T = TypeVar("T")
_TRIES = 3


class UnitOfWork(Protocol):
    """The repositories of one transaction. Those of `Webhooks` and `Deliveries` see one tenant at a time; the
    outbox and the pipeline serve the product itself and see all."""

    @property
    def users(self) -> Users: ...
    @property
    def api_keys(self) -> ApiKeys: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def integrations(self) -> Integrations: ...
    @property
    def integration_logs(self) -> IntegrationLogs: ...
    @property
    def occurrences(self) -> Occurrences: ...
    @property
    def alerts(self) -> Alerts: ...
    @property
    def alert_rules(self) -> AlertRules: ...
    @property
    def alert_conditions(self) -> AlertConditions: ...
    @property
    def notifications(self) -> Notifications: ...
    @property
    def incoming(self) -> IncomingWebhooks: ...
    @property
    def sync_jobs(self) -> SyncJobs: ...
    @property
    def sync_records(self) -> SyncRecords: ...
    @property
    def sync_settings(self) -> SyncSettings: ...
    @property
    def erasures(self) -> Erasures: ...
    @property
    def personal_data(self) -> PersonalData: ...
    @property
    def webhooks(self) -> Webhooks: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def pipeline(self) -> DeliveryPipeline: ...
    @property
    def signals(self) -> Signals: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def anomalies(self) -> Anomalies: ...
    @property
    def sightings(self) -> Sightings: ...
    @property
    def outcomes(self) -> Outcomes: ...
    @property
    def peers(self) -> PeerChecks: ...
    @property
    def decisions(self) -> Decisions: ...
    @property
    def outbox(self) -> Outbox: ...

    def commit(self) -> None:
        """Make it durable, then announce the events appended. Raises Unavailable when the database is down,
        OutcomeUnknown when it may be durable all the same."""


class UnitsOfWork(Protocol):
    """Opens units of work. Either raises Undone where the whole may be done again at once (`repeated`), otherwise
    Unavailable."""

    def write(self) -> AbstractContextManager[UnitOfWork]:
        """A transaction that may change things."""

    def read(self) -> AbstractContextManager[UnitOfWork]:
        """A snapshot to read from; takes no write lock."""


def in_steps(
    units: UnitsOfWork, step: Callable[[UnitOfWork], int], size: int, *, transactions: int | None = None
) -> int:
    """Do `step` in one transaction after another until it found fewer than the `size` it asks for, at most
    `transactions` times; returns how many it found in all. Raises Unavailable; what was committed stays."""
    done, left = 0, transactions
    while left is None or left > 0:
        with units.write() as unit:
            count = step(unit)
            unit.commit()
        done += count
        if count < size:
            break
        left = None if left is None else left - 1
    return done


def repeated(use_case: Callable[P, T]) -> Callable[P, T]:
    """Do `use_case` again, three times in all, when the database undid its transaction.

    For functions of one unit of work that do nothing outside it before it has ended, and raise Undone for nothing
    after it: each time they start from their arguments. docs/adr/0011-repeated-transactions.md has the reasons."""

    @functools.wraps(use_case)
    def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_TRIES - 1):
            try:
                return use_case(*args, **kwargs)
            except Undone as reason:
                logger.info("transaction repeated", extra={"of": use_case.__qualname__, "why": reason.detail})
        return use_case(*args, **kwargs)

    return tried
