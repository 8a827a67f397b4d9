"""Bursts become alerts: told once they are a violation, and when they are over, as one occurrence that counts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.text_length import cut
from domain.core.transaction import Transactions, repeated
from domain.core.wire import rfc3339
from domain.journal.bursts import POLICIES, Burst, BurstSource
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.model import Alert, AlertFinding, AlertKind, RuleSettings
from domain.monitoring.alerts.ports import AlertTransaction
from domain.monitoring.alerts.rules import effective, raises

logger = logging.getLogger("hub.alerts")

_KIND = AlertKind.SecurityViolation
_MOST = 1_000


class BurstReporter:
    def __init__(self, transactions: Transactions[AlertTransaction], ledger: AlertLedger) -> None:
        self._transactions = transactions
        self._ledger = ledger

    @repeated
    def report(self, now: datetime) -> int:
        """Tell of the bursts that go on or are over, and return how many alerts it raised. Raises Unavailable.

        - The log has one line when a burst is a violation and one when it is over, whatever the tenant's rule is.
        - The alert's count follows the burst from minute to minute; the burst stays one occurrence."""
        with self._transactions.read() as tx:
            if not tx.bursts.largest(1):
                return 0
        opened: list[Alert] = []
        told: list[Burst] = []
        with self._transactions.write() as tx:
            settings = tx.alert_rules.of_kind(_KIND)
            for burst in tx.bursts.largest(_MOST):
                alert = self._tell(tx, settings, burst, now)
                opened += [alert] if alert else []
                if burst.is_violation and (burst.logged_at is None or burst.is_over(now)):
                    told.append(burst)
            for source, policy in POLICIES.items():
                tx.bursts.forget_quiet(source, now - policy.pause)
            tx.commit()
        self._ledger.publish(opened)
        for burst in told:
            _log(burst, now)
        return len(opened)

    def _tell(
        self, tx: AlertTransaction, settings: Mapping[UUID, RuleSettings], burst: Burst, now: datetime
    ) -> Alert | None:
        is_over, alert = burst.is_over(now), None
        rule = effective(_KIND, settings.get(burst.tenant_id))
        finding = finding_of_burst(burst, now)
        is_news = burst.told_count != burst.count or is_over
        if is_news and raises(rule, finding):
            alert = self._ledger.raise_(tx, rule, finding)
            burst = replace(burst, told_count=burst.count)
        if burst.is_violation and burst.logged_at is None:
            burst = replace(burst, logged_at=now)
        if is_over:
            tx.bursts.end(burst)
        else:
            tx.bursts.note(burst)
        return alert


def finding_of_burst(burst: Burst, now: datetime) -> AlertFinding:
    """Return what is told of a burst, as long as it goes on and when it is over."""
    details = _details(burst, now)
    is_told = burst.told_count is not None
    return AlertFinding(
        burst.tenant_id,
        _KIND,
        burst.subject,
        cut(details["detail"], 400),
        burst.last_at,
        details,
        volume=burst.count,
        continues=is_told,
    )


def _details(burst: Burst, now: datetime) -> dict[str, Any]:
    is_over = burst.is_over(now)
    return {
        "subject": burst.subject,
        "detail": sentence(burst, is_over=is_over),
        "count": burst.count,
        "sourceIp": burst.source_ip,
        "state": "ended" if is_over else "ongoing",
        "startedAt": rfc3339(burst.started_at),
        "lastAt": rfc3339(burst.last_at),
    }


def sentence(burst: Burst, *, is_over: bool) -> str:
    when = f"since {burst.started_at:%Y-%m-%d %H:%M:%S} UTC"
    if is_over:
        when = f"from {burst.started_at:%Y-%m-%d %H:%M:%S} to {burst.last_at:%H:%M:%S} UTC; it is over"
    match burst.source:
        case BurstSource.Refusals:
            what = f"{burst.label}: {burst.count:,} incoming webhooks were refused {when}."
            return f"{what} {burst.reason}".strip()
        case BurstSource.SameBodies:
            what = f"{burst.count:,} incoming webhooks had an earlier body under a new, unsigned id"
            return f"{burst.label}: {what} {when}."
        case BurstSource.UnknownCredentials:
            return f"{burst.count:,} credentials that nobody knows were tried from {burst.subject} {when}."


def _log(burst: Burst, now: datetime) -> None:
    data = _details(burst, now)
    at = rfc3339(burst.started_at)
    about = {"kind": _KIND.value, "tenantId": str(burst.tenant_id), "occurredAt": at, "data": data}
    logger.warning("alert", extra={"alert": about})
