"""Messages to people about alerts, sent by a timer, so that no alert waits for a provider."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from datetime import timedelta

from domain.core.errors import DomainError, NotFound
from domain.core.ports import Clock
from domain.core.text_length import cut
from domain.core.transaction import Transactions
from domain.monitoring.alerts.model import Notification, NotificationStatus
from domain.monitoring.alerts.ports import AlertTransaction, Notifier
from domain.monitoring.alerts.rules import message_about, send_again_at
from domain.providers.contract import FailureKind, OutgoingMessage, ProviderFailure

logger = logging.getLogger("hub.alerts")


class NotificationSender:
    def __init__(
        self, transactions: Transactions[AlertTransaction], notifier: Notifier, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._notifier = notifier
        self._clock = clock

    async def send_due(self) -> dict[NotificationStatus, int]:
        """Send at most 50 due messages; return how many have which status now. Raises Unavailable.

        After a crash between sending and recording, a message is sent again when its lease is over."""
        due = await asyncio.to_thread(self._claim)
        sent = await asyncio.gather(*(self._send(notification, message) for notification, message in due))
        return dict(Counter(notification.status for notification in sent))

    def _claim(self) -> list[tuple[Notification, OutgoingMessage]]:
        now = self._clock.now()
        with self._transactions.write() as tx:
            due = tx.notifications.claim(now, now + timedelta(minutes=5), 50)
            claimed = []
            for notification in due:
                alert = tx.alerts.get(notification.tenant_id, notification.alert_id)
                message = message_about(alert, notification.transition, notification.recipient)
                claimed.append((notification, message))
            tx.commit()
        return claimed

    async def _send(self, notification: Notification, message: OutgoingMessage) -> Notification:
        try:
            await self._notifier.send(notification.tenant_id, notification.integration_id, message)
        except ProviderFailure as failure:
            settled = self._failed(notification, failure.detail, failure.kind)
        except NotFound:
            settled = self._failed(notification, "The integration no longer exists.", "rejected")
        except DomainError as error:
            settled = self._failed(notification, error.detail, None)
        else:
            now = self._clock.now()
            settled = replace(notification, status=NotificationStatus.Sent, sent_at=now, detail=None)
        await asyncio.to_thread(self._settle, settled)
        return settled

    def _failed(self, notification: Notification, detail: str, kind: FailureKind | None) -> Notification:
        alert_id, attempts = str(notification.alert_id), notification.attempts
        fields = {"alertId": alert_id, "reason": detail, "attempt": attempts}
        logger.warning("alert message not sent", extra=fields)
        again_at = send_again_at(attempts, kind, self._clock.now())
        if again_at is None:
            return replace(notification, status=NotificationStatus.Failed, detail=cut(detail, 400))
        return replace(notification, due_at=again_at, detail=cut(detail, 400))

    def _settle(self, notification: Notification) -> None:
        with self._transactions.write() as tx:
            tx.notifications.settle(notification)
            if notification.detail is not None:
                tx.alerts.note_failure(notification.tenant_id, notification.alert_id, notification.detail)
            tx.commit()
