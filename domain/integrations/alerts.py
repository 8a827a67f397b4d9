"""Alerts to the queue `alerts` (sections 12.3 and 14.2). They are committed with the change they tell of, sent
after it, and removed when the queue has them: a crash repeats one, and loses none."""

from __future__ import annotations

import json
import logging

from domain.errors import Unavailable
from domain.integrations.model import Alert
from domain.ports import QueueMessage, QueueSender
from domain.unit_of_work import UnitsOfWork
from domain.wire import rfc3339

logger = logging.getLogger("hub.integrations")

ALERTS_QUEUE = "alerts"
_BATCH = 100


class AlertSender:
    def __init__(self, units: UnitsOfWork, queue: QueueSender) -> None:
        self._units = units
        self._queue = queue

    def flush(self) -> int:
        """Send what waits; returns how many. What cannot be sent stays for the next time."""
        sent = 0
        try:
            while some := self._send_some():
                sent += some
        except Unavailable:
            logger.warning("alerts not sent, kept for the sweep")
        return sent

    def _send_some(self) -> int:
        with self._units.read() as unit:
            alerts = unit.alerts.waiting(_BATCH)
        if not alerts:
            return 0
        self._queue.send(ALERTS_QUEUE, [_message(alert) for alert in alerts])
        with self._units.write() as unit:
            unit.alerts.remove([alert.alert_id for alert in alerts])
            unit.commit()
        return len(alerts)


def _message(alert: Alert) -> QueueMessage:
    body = {
        "kind": alert.kind,
        "tenantId": str(alert.tenant_id),
        "occurredAt": rfc3339(alert.created_at),
        "data": json.loads(alert.data),
    }
    return QueueMessage(json.dumps(body), message_id=str(alert.alert_id))
