"""Messages to people about alerts: sent by a timer, so that no alert ever waits for a provider."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from domain.core.errors import DomainError, NotFound
from domain.core.ports import Clock
from domain.core.transaction import Transactions
from domain.monitoring.alerts.model import Notification, NotificationStatus
from domain.monitoring.alerts.ports import AlertTransaction, Notifier
from domain.monitoring.alerts.rules import message_about, send_again_at
from domain.providers.contract import FailureKind, OutgoingMessage, ProviderFailure

logger = logging.getLogger("hub.alerts")

_BATCH = 50
_LEASE = timedelta(minutes=5)


class NotificationSender:
    def __init__(
        self, transactions: Transactions[AlertTransaction], notifier: Notifier, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._notifier = notifier
        self._clock = clock

    async def send_due(self) -> dict[NotificationStatus, int]:
        """Send what is due, at most 50; returns how many have which status now. After a crash between a message and
        its record it is sent again when the lease is over. Raises Unavailable when the database is down."""
        due = await asyncio.to_thread(self._claim)
        settled = await asyncio.gather(*(self._send(one, message) for one, message in due))
        counts: dict[NotificationStatus, int] = {}
        for one in settled:
            counts[one.status] = counts.get(one.status, 0) + 1
        return counts

    def _claim(self) -> list[tuple[Notification, OutgoingMessage]]:
        now = self._clock.now()
        with self._transactions.write() as tx:
            due = tx.notifications.claim(now, now + _LEASE, _BATCH)
            messages = [
                message_about(tx.alerts.get(one.tenant_id, one.alert_id), one.transition, one.recipient)
                for one in due
            ]
            tx.commit()
        return list(zip(due, messages, strict=True))

    async def _send(self, one: Notification, message: OutgoingMessage) -> Notification:
        try:
            await self._notifier.send(one.tenant_id, one.integration_id, message)
        except ProviderFailure as failure:
            settled = self._failed(one, failure.detail, failure.kind)
        except NotFound:
            settled = self._failed(one, "The integration does not exist any more.", "rejected")
        except DomainError as error:
            settled = self._failed(one, error.detail, None)
        else:
            sent = NotificationStatus.Sent
            settled = replace(one, status=sent, sent_at=self._clock.now(), detail=None)
        await asyncio.to_thread(self._settle, settled)
        return settled

    def _failed(self, one: Notification, detail: str, kind: FailureKind | None) -> Notification:
        again_at = send_again_at(one.attempts, kind, self._clock.now())
        logger.warning(
            "alert message not sent",
            extra={"alertId": str(one.alert_id), "reason": detail, "attempt": one.attempts},
        )
        if again_at is None:
            return replace(one, status=NotificationStatus.Failed, detail=detail[:400])
        return replace(one, due_at=again_at, detail=detail[:400])

    def _settle(self, one: Notification) -> None:
        with self._transactions.write() as tx:
            tx.notifications.settle(one)
            if one.detail is not None:
                tx.alerts.note_failure(one.tenant_id, one.alert_id, one.detail)
            tx.commit()
