"""Builds the use cases of alerts, anomalies, metrics and the dashboard."""

from __future__ import annotations

from datetime import timedelta

from domain.apikeys.rate_limit import RateLimiter
from domain.apikeys.usage import UsageService
from domain.integrations.health_history import HealthSamples
from domain.monitoring.alerts.evaluation import AlertEvaluator
from domain.monitoring.alerts.intake import AlertIntake
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.notifications import NotificationSender
from domain.monitoring.alerts.service import AlertService
from domain.monitoring.anomalies.service import AnomalyService
from domain.monitoring.anomalies.watch import AnomalyWatch
from domain.monitoring.dashboard import OverviewService
from domain.monitoring.dead_letters import DeadLetterService
from domain.monitoring.metrics import MetricsService
from domain.monitoring.signal_series import SignalReader, SignalService
from infra.app.hub import Hub, builds
from infra.app.settings import Settings


@builds
def alert_ledger(hub: Hub) -> AlertLedger:
    return AlertLedger(hub.ids, hub.realtime)


@builds
def alert_service(hub: Hub) -> AlertService:
    return AlertService(hub.transactions, hub.use(AlertLedger), hub.clock)


@builds
def alert_intake(hub: Hub) -> AlertIntake:
    return AlertIntake(hub.transactions, hub.use(AlertLedger), hub.clock)


@builds
def alert_evaluator(hub: Hub) -> AlertEvaluator:
    retention = timedelta(days=hub.settings.alert_days)
    return AlertEvaluator(
        hub.transactions,
        hub.use(AlertLedger),
        hub.clock,
        queues=hub.queue,
        limits=hub.use(RateLimiter),
        signals=hub.use(SignalReader),
        retention=retention,
    )


@builds
def notification_sender(hub: Hub) -> NotificationSender:
    return NotificationSender(hub.transactions, hub.notifier, hub.clock)


@builds
def dead_letter_service(hub: Hub) -> DeadLetterService:
    return DeadLetterService(hub.transactions, hub.queue)


@builds
def metrics_service(hub: Hub) -> MetricsService:
    return MetricsService(hub.transactions, hub.queue, hub.clock)


@builds
def overview_service(hub: Hub) -> OverviewService:
    return OverviewService(hub.transactions, hub.use(HealthSamples), hub.use(RateLimiter), hub.clock)


@builds
def signal_reader(hub: Hub) -> SignalReader:
    return SignalReader(hub.transactions, hub.use(UsageService))


@builds
def signal_service(hub: Hub) -> SignalService:
    return SignalService(
        hub.transactions, hub.clock, hub.use(SignalReader), retention=_signal_retention(hub.settings)
    )


@builds
def anomaly_service(hub: Hub) -> AnomalyService:
    return AnomalyService(hub.transactions, hub.use(SignalReader), hub.clock)


@builds
def anomaly_watch(hub: Hub) -> AnomalyWatch:
    return AnomalyWatch(
        hub.transactions,
        hub.use(SignalReader),
        hub.clock,
        hub.ids,
        retention=_signal_retention(hub.settings),
    )


def _signal_retention(settings: Settings) -> timedelta:
    return timedelta(days=settings.signal_days)
