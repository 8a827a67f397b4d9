"""Refused webhooks: logged each, counted in the database seldom, so that a flood of them writes little."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID

from domain.alerts.occurring import occurrence
from domain.errors import Unavailable
from domain.integrations.model import Integration
from domain.unit_of_work import UnitsOfWork

logger = logging.getLogger("hub.security")

WRITE_EVERY = timedelta(seconds=10)


class Refusals:
    """Thread-safe. A count not yet written is lost with the process; the log lines are not."""

    def __init__(self, units: UnitsOfWork) -> None:
        self._units = units
        self._lock = threading.Lock()
        self._waiting: Counter[UUID] = Counter()
        self._written: dict[UUID, datetime] = {}

    def note(self, integration: Integration, reason: str, source_ip: str | None, now: datetime) -> None:
        """Log it, and write the count when the last write for this integration is 10 s old. Never raises for a
        database that is down: the caller is refused either way."""
        logger.warning(
            "incoming webhook refused",
            extra={
                "integrationId": str(integration.integration_id),
                "tenantId": str(integration.tenant_id),
                "provider": integration.provider,
                "sourceIp": source_ip,
                "reason": reason,
            },
        )
        count = self._take(integration.integration_id, now)
        if count == 0:
            return
        try:
            with self._units.write() as unit:
                unit.incoming.count_refusals(
                    integration.tenant_id, integration.integration_id, count, reason, now
                )
                unit.occurrences.append(
                    occurrence(
                        "security-violation",
                        {
                            "subject": str(integration.integration_id),
                            "detail": f"{integration.name}: {count:,} incoming webhooks refused. {reason}",
                            "count": count,
                            "sourceIp": source_ip,
                        },
                        now,
                        tenant_id=integration.tenant_id,
                    )
                )
                unit.commit()
        except Unavailable:
            with self._lock:
                self._waiting[integration.integration_id] += count

    def _take(self, integration_id: UUID, now: datetime) -> int:
        """How many to write now; 0 while it is too early."""
        with self._lock:
            self._waiting[integration_id] += 1
            last = self._written.get(integration_id)
            if last is not None and now - last < WRITE_EVERY:
                return 0
            self._written[integration_id] = now
            return self._waiting.pop(integration_id)
