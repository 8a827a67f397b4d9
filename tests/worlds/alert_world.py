"""Alerts over the embedded database, with a notifier that a test scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.core.paging import PageRequest
from domain.core.principal import Principal
from domain.journal.occurrences import OccurrenceSender, message_of, occurrence
from domain.journal.signals import Signal, SubjectKind, Tally, hour_of
from domain.monitoring.alerts.evaluation import AlertEvaluator
from domain.monitoring.alerts.intake import AlertIntake
from domain.monitoring.alerts.model import Alert, AlertFilter
from domain.monitoring.alerts.notifications import NotificationSender
from domain.monitoring.alerts.service import AlertService, ChangeAlertRule
from domain.providers.contract import OutgoingMessage
from tests.worlds.integration_world import IntegrationWorld


class AlertWorld(IntegrationWorld):
    """`sent` is what the notifier was given; `refuses` is what it raises instead of sending."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, notifier=self)
        self.refuses: Exception | None = None
        self.sent: list[tuple[UUID, OutgoingMessage]] = []
        self.service, self.intake = self.hub.use(AlertService), self.hub.use(AlertIntake)
        self.evaluator, self.notifications = self.hub.use(AlertEvaluator), self.hub.use(NotificationSender)

    async def send(self, tenant_id: UUID, integration_id: UUID, message: OutgoingMessage) -> None:
        """Notifier."""
        if self.refuses is not None:
            raise self.refuses
        self.sent.append((integration_id, message))

    def happen(self, source: str, data: Mapping[str, Any], *, owner: Principal | None = None) -> str:
        """Put an occurrence into the queue, process it, and return the message."""
        tenant_id = (owner or self.principal).tenant_id
        body = message_of(occurrence(source, data, self.clock.now(), tenant_id=tenant_id)).body
        self.intake.receive([(body, "m-1")])
        return body

    def take_sent(self) -> int:
        """Process what the product itself put into the queue `alerts`."""
        self.hub.use(OccurrenceSender).flush()
        return self.intake.receive(
            [(message.body, message.message_id or "") for message in self.queue.take("alerts")]
        )

    def attempts(self, webhook_id: UUID, succeeded: int, failed: int) -> None:
        tally = Tally(total=succeeded + failed, succeeded=succeeded, failed=failed)
        hour = hour_of(self.clock.now())
        with self.transactions.write() as tx:
            tx.signals.append(
                [Signal(self.principal.tenant_id, SubjectKind.Webhook, webhook_id, hour, tally)]
            )
            tx.commit()

    def listed(
        self, *, platform: bool = False, owner: Principal | None = None, **filter_: Any
    ) -> list[Alert]:
        """Newest first."""
        page = self.service.page(
            owner or self.principal, AlertFilter(**filter_), PageRequest(), platform=platform
        )
        return list(page.items)

    def rule(self, kind: str, **fields: Any) -> None:
        command = ChangeAlertRule.model_validate_json(json.dumps(fields))
        self.service.change_rule(self.principal, kind, command)
