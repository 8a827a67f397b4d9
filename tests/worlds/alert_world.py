"""Alerts over the embedded database, with a notifier that a test scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.apikeys.model import ApiKey
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
from domain.webhooks.model import RetryPolicy, Webhook, WebhookState
from domain.webhooks.ports import EndpointTally
from tests.worlds.integration_world import IntegrationWorld

HOOK = UUID(int=77)


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

    def webhook(self, webhook_id: UUID = HOOK, state: WebhookState = WebhookState.Active) -> None:
        webhook = Webhook(
            webhook_id,
            self.principal.tenant_id,
            "https://shop.example/hook",
            ["*"],
            "sealed",
            state,
            RetryPolicy(),
            30,
            self.clock.now(),
            self.principal.user_id,
        )
        with self.transactions.write() as tx:
            tx.webhooks.add(webhook.tenant_id, webhook)
            tx.commit()

    def key(self) -> UUID:
        id_, now = self.hub.ids.new(), self.clock.now()
        key = ApiKey(
            id_,
            self.principal.tenant_id,
            "Till",
            id_.hex * 2,
            "ihk_abcd",
            ("webhook:read",),
            1000,
            now,
            self.principal.user_id,
            quota_id=id_,
        )
        with self.transactions.write() as tx:
            tx.api_keys.add(key.tenant_id, key)
            tx.commit()
        return id_

    def revoke(self, key_id: UUID) -> None:
        with self.transactions.write() as tx:
            key = tx.api_keys.get(self.principal.tenant_id, key_id)
            tx.api_keys.update(key.tenant_id, replace(key, is_active=False, revoked_at=self.clock.now()))
            tx.commit()

    def attempts(self, webhook_id: UUID, succeeded: int, failed: int) -> None:
        """Record attempts as the pipeline does, the failed ones first."""
        tally = Tally(total=succeeded + failed, succeeded=succeeded, failed=failed)
        streak = EndpointTally(
            webhook_id, delivered=succeeded, attempts_failed=failed, streak=succeeded, broken=failed > 0
        )
        hour = hour_of(self.clock.now())
        with self.transactions.write() as tx:
            tx.signals.append(
                [Signal(self.principal.tenant_id, SubjectKind.Webhook, webhook_id, hour, tally)]
            )
            tx.pipeline.tally([streak], self.clock.now())
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
