"""Occurrences become alerts: through the queue `alerts` (section 14.2), and from events about disabled webhooks."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.core.ports import Clock, QueueSender
from domain.core.text_length import cut
from domain.core.transaction import Transactions, repeated
from domain.journal.events import DomainEvent
from domain.journal.occurrences import ALERTS_QUEUE, PLATFORM, Occurrence, message_of, occurrence
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.model import Alert, AlertFinding, AlertKind, ClosedAs, Closing
from domain.monitoring.alerts.ports import AlertTransaction
from domain.monitoring.alerts.rules import RECOVERIES, effective, finding_of, raises
from domain.webhooks.model import DISABLED

logger = logging.getLogger("hub.alerts")


class AlertIntake:
    def __init__(
        self, transactions: Transactions[AlertTransaction], ledger: AlertLedger, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._ledger = ledger
        self._clock = clock

    def receive(self, messages: Sequence[tuple[str, str]]) -> int:
        """Process (body, message id) pairs of the queue, and return how many alerts are new.

        - Each is logged as a structured warning, which Application Insights alert rules watch for, and raises an
          alert where its rule says so.
        - A message that cannot be parsed raises an alert of its own.
        - Raises Unavailable; processing a message again changes nothing."""
        unread = self._unread_before()
        raised = sum(self._process(body, message_id) for body, message_id in messages)
        if unread is not None:
            self._count_read(unread, sum(_is_occurrence(body) for body, _ in messages))
        return raised

    def _unread_before(self) -> Alert | None:
        """Return the active alert about a message of this queue that could not be understood."""
        with self._transactions.read() as tx:
            return tx.alerts.find_active(PLATFORM, AlertKind.UnreadableMessage, ALERTS_QUEUE)

    @repeated
    def _count_read(self, unread: Alert, count: int) -> None:
        with self._transactions.write() as tx:
            tx.alerts.succeed(PLATFORM, unread.kind, unread.subject, count=count, at=self._clock.now())
            tx.commit()

    def _process(self, body: str, message_id: str) -> bool:
        try:
            reported = _occurrence(body)
            finding = finding_of(reported)
        except (ValueError, KeyError, TypeError, RecursionError):
            logger.warning("alert", extra={"alert": {"kind": "unreadable-alert", "messageId": message_id}})
            summary = f"Message {message_id} of the queue alerts is no occurrence."
            unreadable = AlertKind.UnreadableMessage
            return self._raise(
                AlertFinding(PLATFORM, unreadable, "alerts", cut(summary, 400), self._clock.now())
            )
        if reported.source in RECOVERIES:
            self._recover(reported)
            return False
        logger.warning("alert", extra={"alert": json.loads(body)})
        return finding is not None and self._raise(finding)

    @repeated
    def _recover(self, reported: Occurrence) -> None:
        """End the alert whose cause is gone, if there is one that was last seen before."""
        kind, data = RECOVERIES[reported.source], json.loads(reported.data)
        with self._transactions.write() as tx:
            alert = tx.alerts.find_active(reported.tenant_id, kind, str(data["subject"]))
            if alert is None or reported.at <= alert.last_seen_at:
                return
            rule = effective(kind, tx.alert_rules.settings(reported.tenant_id).get(kind))
            closing = Closing(ClosedAs.Recovered, str(data["detail"]))
            ended = self._ledger.end(tx, rule, alert, closing=closing, now=self._clock.now())
            tx.commit()
        self._ledger.publish([ended] if ended else [])

    @repeated
    def _raise(self, finding: AlertFinding) -> bool:
        with self._transactions.write() as tx:
            if tx.standings.of(finding.tenant_id).deletion_requested_at is not None:
                return False
            rule = effective(finding.kind, tx.alert_rules.settings(finding.tenant_id).get(finding.kind))
            if not raises(rule, finding):
                return False
            alert = self._ledger.raise_(tx, rule, finding)
            tx.commit()
        self._ledger.publish([alert] if alert else [])
        return alert is not None


def _occurrence(body: str) -> Occurrence:
    fields: Any = json.loads(body)
    at = datetime.fromisoformat(fields["occurredAt"]).astimezone(UTC)
    return Occurrence(PLATFORM, UUID(fields["tenantId"]), str(fields["kind"]), json.dumps(fields["data"]), at)


def _is_occurrence(body: str) -> bool:
    try:
        finding_of(_occurrence(body))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


class DisabledWebhooks:
    """A consumer of the fan-out that sends an occurrence for each webhook that the hub disabled."""

    def __init__(self, queue: QueueSender) -> None:
        self._queue = queue

    def consume(self, events: Sequence[DomainEvent]) -> None:
        """Send the occurrences. Raises Unavailable; then the events are fanned out again."""
        messages = [
            message_of(
                occurrence(
                    "webhook-disabled", json.loads(event.data), event.occurred_at, tenant_id=event.tenant_id
                )
            )
            for event in events
            if event.is_of_hub(DISABLED)
        ]
        if messages:
            self._queue.send(ALERTS_QUEUE, messages)
