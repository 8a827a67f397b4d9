"""The composition of alerts, each part built on first use."""

from __future__ import annotations

from datetime import timedelta

from domain.apikeys.rate_limit import RateLimiter
from domain.core.ports import Clock, IdGenerator, TableStore
from domain.core.realtime import Realtime
from domain.core.tracing import Tracer
from domain.integrations.health_history import HealthSamples
from domain.integrations.service import IntegrationNotifier
from domain.journal.signals import KeyHours
from domain.monitoring.alerts.evaluation import AlertEvaluator
from domain.monitoring.alerts.intake import AlertIntake
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.notifications import NotificationSender
from domain.monitoring.alerts.ports import DeadLetterCounts
from domain.monitoring.alerts.service import AlertService
from domain.monitoring.anomalies.service import AnomalyService
from domain.monitoring.anomalies.watch import AnomalyWatch
from domain.monitoring.dashboard import OverviewService
from domain.monitoring.signal_series import SignalReader, SignalService
from domain.recommendations.wording import Wording
from infra.app.integrations import IntegrationParts
from infra.app.once import once
from infra.app.settings import Settings
from infra.azure.openai.factory import wording
from infra.sql.transaction import SqlTransactions


class AlertParts:
    def __init__(
        self,
        settings: Settings,
        transactions: SqlTransactions,
        queues: DeadLetterCounts,
        clock: Clock,
        ids: IdGenerator,
        *,
        integrations: IntegrationParts,
        realtime: Realtime,
    ) -> None:
        self._settings = settings
        self._transactions = transactions
        self._queues = queues
        self._clock = clock
        self._integrations = integrations
        self._ledger = AlertLedger(ids, realtime)

    @once
    def service(self) -> AlertService:
        return AlertService(self._transactions, self._ledger, self._clock)

    @once
    def intake(self) -> AlertIntake:
        return AlertIntake(self._transactions, self._ledger, self._clock)

    @once
    def evaluator(self) -> AlertEvaluator:
        retention = timedelta(days=self._settings.alert_days)
        return AlertEvaluator(
            self._transactions, self._ledger, self._queues, self._clock, retention=retention
        )

    @once
    def notifications(self) -> NotificationSender:
        notifier = IntegrationNotifier(self._transactions, self._integrations.connector)
        return NotificationSender(self._transactions, notifier, self._clock)


class InsightParts:
    def __init__(
        self,
        settings: Settings,
        transactions: SqlTransactions,
        tables: TableStore,
        limiter: RateLimiter,
        clock: Clock,
        ids: IdGenerator,
        *,
        key_hours: KeyHours,
        tracer: Tracer,
    ) -> None:
        self._tracer = tracer
        self._ids = ids
        self._reader = SignalReader(transactions, key_hours)
        self._settings = settings
        self._transactions = transactions
        self._tables = tables
        self._limiter = limiter
        self._clock = clock

    @once
    def signals(self) -> SignalService:
        return SignalService(self._transactions, self._clock, self._reader, retention=self._retention)

    @once
    def anomalies(self) -> AnomalyService:
        return AnomalyService(self._transactions, self._reader, self._clock)

    @once
    def watch(self) -> AnomalyWatch:
        return AnomalyWatch(
            self._transactions, self._reader, self._clock, self._ids, retention=self._retention
        )

    @property
    def _retention(self) -> timedelta:
        return timedelta(days=self._settings.signal_days)

    @once
    def overview(self) -> OverviewService:
        samples = HealthSamples(self._tables, retention=timedelta(days=self._settings.health_sample_days))
        return OverviewService(self._transactions, samples, self._limiter, self._clock)

    @once
    def wording(self) -> Wording:
        return wording(self._settings, self._tables, self._clock, self._tracer)
