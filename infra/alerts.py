"""The composition of alerts, each part built on first use."""

from __future__ import annotations

from datetime import timedelta

from domain.alerts.evaluation import Evaluator
from domain.alerts.intake import Intake
from domain.alerts.ledger import Ledger
from domain.alerts.notifying import NotificationSender
from domain.alerts.ports import DeadLetterCounts
from domain.alerts.service import AlertService
from domain.integrations.messaging import IntegrationNotifier
from domain.ports import Clock, IdGenerator
from domain.realtime.ports import Realtime
from domain.unit_of_work import UnitsOfWork
from infra.integrations import IntegrationParts
from infra.once import once
from infra.settings import Settings


class AlertParts:
    def __init__(
        self,
        settings: Settings,
        units: UnitsOfWork,
        queues: DeadLetterCounts,
        clock: Clock,
        ids: IdGenerator,
        *,
        integrations: IntegrationParts,
        realtime: Realtime,
    ) -> None:
        self._settings = settings
        self._units = units
        self._queues = queues
        self._clock = clock
        self._integrations = integrations
        self._ledger = Ledger(ids, realtime)

    @once
    def service(self) -> AlertService:
        return AlertService(self._units, self._ledger, self._clock)

    @once
    def intake(self) -> Intake:
        return Intake(self._units, self._ledger, self._clock)

    @once
    def evaluator(self) -> Evaluator:
        retention = timedelta(days=self._settings.alert_days)
        return Evaluator(self._units, self._ledger, self._queues, self._clock, retention=retention)

    @once
    def notifications(self) -> NotificationSender:
        notifier = IntegrationNotifier(self._units, self._integrations.connector)
        return NotificationSender(self._units, notifier, self._clock)
