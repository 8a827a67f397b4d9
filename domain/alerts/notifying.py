"""Messages to people about alerts: sent by a timer, so that no alert ever waits for a provider."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta

from domain.alerts.model import Notification, NotificationStatus
from domain.alerts.ports import Notifier
from domain.alerts.rules import message_about, send_again_at
from domain.errors import DomainError, NotFound
from domain.integrations.providers import FailureKind, ProviderFailure
from domain.messages import OutgoingMessage
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork

logger = logging.getLogger("hub.alerts")

_BATCH = 50
_LEASE = timedelta(minutes=5)


class NotificationSender:
    def __init__(self, units: UnitsOfWork, notifier: Notifier, clock: Clock) -> None:
        self._units = units
        self._notifier = notifier
        self._clock = clock

    async def run(self) -> dict[NotificationStatus, int]:
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
        with self._units.write() as unit:
            due = unit.notifications.claim(now, now + _LEASE, _BATCH)
            messages = [
                message_about(unit.alerts.get(one.tenant_id, one.alert_id), one.transition, one.recipient)
                for one in due
            ]
            unit.commit()
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
        with self._units.write() as unit:
            unit.notifications.settle(one)
            if one.detail is not None:
                unit.alerts.note_failure(one.tenant_id, one.alert_id, one.detail)
            unit.commit()
