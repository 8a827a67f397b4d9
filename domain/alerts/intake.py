"""The queue `alerts`: from what happened to alerts (section 14.2)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from domain.alerts.ledger import Ledger
from domain.alerts.model import PLATFORM, AlertKind, Finding, Occurrence
from domain.alerts.rules import effective, finding_of, raises
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork, repeated

logger = logging.getLogger("hub.alerts")


class Intake:
    def __init__(self, units: UnitsOfWork, ledger: Ledger, clock: Clock) -> None:
        self._units = units
        self._ledger = ledger
        self._clock = clock

    def handle(self, messages: Sequence[tuple[str, str]]) -> int:
        """(body, message id) pairs. Each is a structured warning, which Application Insights alert rules watch for,
        and an alert where its rule says so; returns how many are new. One that cannot be understood is an alert
        itself. Raises Unavailable; repeating is harmless."""
        return sum(self._take(body, message_id) for body, message_id in messages)

    def _take(self, body: str, message_id: str) -> bool:
        try:
            one = _occurrence(body)
            finding = finding_of(one)
        except (ValueError, KeyError, TypeError, RecursionError):
            logger.warning("alert", extra={"alert": {"kind": "unreadable-alert", "messageId": message_id}})
            summary = f"Message {message_id} of the queue alerts is no occurrence."
            unreadable = AlertKind.UnreadableMessage
            return self._raise(Finding(PLATFORM, unreadable, "alerts", summary[:400], self._clock.now()))
        logger.warning("alert", extra={"alert": json.loads(body)})
        return finding is not None and self._raise(finding)

    @repeated
    def _raise(self, finding: Finding) -> bool:
        with self._units.write() as unit:
            rule = effective(finding.kind, unit.alert_rules.settings(finding.tenant_id).get(finding.kind))
            if not raises(rule, finding):
                return False
            alert = self._ledger.raise_(unit, rule, finding)
            unit.commit()
        self._ledger.publish([alert] if alert else [])
        return alert is not None


def _occurrence(body: str) -> Occurrence:
    fields: Any = json.loads(body)
    at = datetime.fromisoformat(fields["occurredAt"]).astimezone(UTC)
    return Occurrence(PLATFORM, UUID(fields["tenantId"]), str(fields["kind"]), json.dumps(fields["data"]), at)
