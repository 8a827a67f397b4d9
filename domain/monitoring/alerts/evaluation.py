"""The evaluation of every minute: what no single occurrence tells, such as rates, dead letters and recoveries."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from domain.core.errors import NotFound, Unavailable
from domain.core.ports import Clock
from domain.core.transaction import Transactions, in_steps
from domain.core.wire import rfc3339
from domain.journal.occurrences import PLATFORM
from domain.journal.signals import hour_of
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.model import Alert, AlertFinding, AlertKind, RuleSettings
from domain.monitoring.alerts.ports import AlertTransaction, DeadLetterCounts, HourRate
from domain.monitoring.alerts.rules import RULES, Rate, effective, evaluate_rate, is_quiet, last_hour, raises

logger = logging.getLogger("hub.alerts")

_BY_STATE = (AlertKind.WebhookDisabled, AlertKind.IntegrationHealth, AlertKind.SyncFailed)
_BY_SILENCE = tuple(kind for kind, rule in RULES.items() if not rule.watches_state)
_RATE = AlertKind.WebhookFailureRate
_HELD = AlertKind.HeldDeliveries
#: How long before the first held delivery of a webhook expires somebody is told (BR-WH-05).
_HELD_NOTICE = timedelta(hours=1)
_CHUNK = 100


def _summary(rate: Rate, host: str | None) -> str:
    to = f" to deliver to {host}" if host else ""
    return f"{rate.share:.0%} of {rate.total:,.0f} attempts{to} failed within the last hour."


def _host(tx: AlertTransaction, tenant_id: UUID, webhook_id: UUID) -> str | None:
    try:
        return urlsplit(tx.webhooks.get(tenant_id, webhook_id).url).netloc
    except NotFound:
        return None


@dataclass(slots=True)
class EvaluationResult:
    """What a round found: the conditions that hold, and the alerts that recovered, with the reason."""

    findings: list[AlertFinding] = field(default_factory=list)
    recoveries: list[tuple[Alert, str]] = field(default_factory=list)


class AlertEvaluator:
    def __init__(
        self,
        transactions: Transactions[AlertTransaction],
        ledger: AlertLedger,
        queues: DeadLetterCounts,
        clock: Clock,
        *,
        retention: timedelta,
    ) -> None:
        self._transactions = transactions
        self._ledger = ledger
        self._queues = queues
        self._clock = clock
        self._retention = retention

    def evaluate(self) -> tuple[int, int]:
        """Do one round, and return how many alerts it raised and how many recovered. Raises Unavailable."""
        now = self._clock.now()
        result = EvaluationResult()
        with self._transactions.read() as tx:
            settings = {kind: tx.alert_rules.of_kind(kind) for kind in RULES}
            self._rates(tx, settings[_RATE], result, now)
            self._held(tx, settings[_HELD], result, now)
            self._recoveries(tx, settings, result, now)
            dead = tx.alerts.active([AlertKind.DeadLetters])
        self._dead_letters(dead, result, now)
        return self._store(result, settings, now)

    def forget_old(self) -> int:
        """Remove alerts that recovered longer ago than the retention, and return how many."""
        cutoff = self._clock.now() - self._retention
        return in_steps(self._transactions, lambda tx: tx.alerts.delete_before(cutoff, _CHUNK), _CHUNK)

    @staticmethod
    def _rates(
        tx: AlertTransaction, settings: Mapping[UUID, RuleSettings], result: EvaluationResult, now: datetime
    ) -> None:
        by_webhook: dict[tuple[UUID, str], list[HourRate]] = {}
        for hour in tx.alert_conditions.webhook_rates(hour_of(now) - timedelta(hours=1)):
            by_webhook.setdefault((hour.tenant_id, str(hour.webhook_id)), []).append(hour)
        active = {(alert.tenant_id, alert.subject): alert for alert in tx.alerts.active([_RATE])}
        for tenant_id, subject in by_webhook.keys() | active.keys():
            rule = effective(_RATE, settings.get(tenant_id))
            rate = last_hour(by_webhook.get((tenant_id, subject), ()), now)
            alert, action = active.get((tenant_id, subject)), evaluate_rate(rule, rate)
            if action == "keep" or (action == "recover" and alert is None):
                continue
            summary = _summary(rate, _host(tx, tenant_id, UUID(subject)))
            if action == "raise":
                total = round(rate.total)
                details = {"attempts": total, "failureRate": round(rate.share, 4)}
                finding = AlertFinding(tenant_id, _RATE, subject, summary, now, details, volume=total)
                result.findings.append(finding)
            elif alert is not None and is_quiet(rule, alert, now):
                reason = summary if rule.is_enabled else "The rule was switched off."
                result.recoveries.append((alert, reason))

    @staticmethod
    def _held(
        tx: AlertTransaction, settings: Mapping[UUID, RuleSettings], result: EvaluationResult, now: datetime
    ) -> None:
        """Find what webhooks that are not active hold, from an hour before the first of it expires."""
        expiring: set[tuple[UUID, str]] = set()
        for held in tx.alert_conditions.held(now, now + _HELD_NOTICE):
            subject, first = str(held.webhook_id), held.first_expires_at
            expiring.add((held.tenant_id, subject))
            deliveries = "1 delivery" if held.count == 1 else f"{held.count:,} deliveries"
            of = _host(tx, held.tenant_id, held.webhook_id) or "The webhook"
            summary = (
                f"{of} is not active and holds {deliveries}, the first until {first:%Y-%m-%d %H:%M} UTC."
            )
            details = {"held": held.count, "firstExpiresAt": rfc3339(first)}
            finding = AlertFinding(held.tenant_id, _HELD, subject, summary, now, details)
            if raises(effective(_HELD, settings.get(held.tenant_id)), finding):
                result.findings.append(finding)
        for alert in tx.alerts.active([_HELD]):
            rule = effective(_HELD, settings.get(alert.tenant_id))
            if not rule.is_enabled:
                result.recoveries.append((alert, "The rule was switched off."))
            elif (alert.tenant_id, alert.subject) not in expiring and is_quiet(rule, alert, now):
                result.recoveries.append((alert, "The webhook holds nothing that is about to expire."))

    @staticmethod
    def _recoveries(
        tx: AlertTransaction,
        settings: Mapping[AlertKind, Mapping[UUID, RuleSettings]],
        result: EvaluationResult,
        now: datetime,
    ) -> None:
        for kind in (*_BY_STATE, *_BY_SILENCE):
            active = tx.alerts.active([kind])
            by_state = kind in _BY_STATE
            over = tx.alert_conditions.over(kind, active) if by_state and active else set()
            for alert in active:
                rule = effective(kind, settings[kind].get(alert.tenant_id))
                if not rule.is_enabled:
                    result.recoveries.append((alert, "The rule was switched off."))
                elif is_quiet(rule, alert, now) and (alert.alert_id in over or not by_state):
                    reason = "Its cause is gone." if by_state else "It did not happen again."
                    result.recoveries.append((alert, reason))

    def _dead_letters(self, active: Sequence[Alert], result: EvaluationResult, now: datetime) -> None:
        try:
            counts = self._queues.dead_letter_counts()
        except Unavailable as error:
            logger.warning("dead letters not counted", extra={"reason": error.detail})
            return
        kind = AlertKind.DeadLetters
        rule = RULES[kind]
        for queue, count in counts.items():
            summary = f"{count} dead letters in the queue {queue}."
            details = {"queue": queue, "count": count}
            finding = AlertFinding(PLATFORM, kind, queue, summary, now, details, volume=count)
            if raises(rule, finding):
                result.findings.append(finding)
        for alert in active:
            if not counts.get(alert.subject) and is_quiet(rule, alert, now):
                result.recoveries.append((alert, "The queue has no dead letters any more."))

    def _store(
        self,
        result: EvaluationResult,
        settings: Mapping[AlertKind, Mapping[UUID, RuleSettings]],
        now: datetime,
    ) -> tuple[int, int]:
        raised = recovered = 0
        changes: list[AlertFinding | tuple[Alert, str]] = [*result.findings, *result.recoveries]
        for start in range(0, len(changes), _CHUNK):
            opened: list[Alert] = []
            closed: list[Alert] = []
            with self._transactions.write() as tx:
                for change in changes[start : start + _CHUNK]:
                    subject = change if isinstance(change, AlertFinding) else change[0]
                    rule = effective(subject.kind, settings[subject.kind].get(subject.tenant_id))
                    if isinstance(change, AlertFinding):
                        alert = self._ledger.raise_(tx, rule, change)
                        opened += [alert] if alert else []
                    else:
                        alert = self._ledger.recover(tx, rule, change[0], reason=change[1], now=now)
                        closed += [alert] if alert else []
                tx.commit()
            self._ledger.publish([*opened, *closed])
            for alert in opened:
                at, data = rfc3339(alert.opened_at), {"subject": alert.subject, "detail": alert.summary}
                about = {"kind": alert.kind.value, "tenantId": str(alert.tenant_id), "occurredAt": at}
                logger.warning("alert", extra={"alert": {**about, "data": data}})
            raised += len(opened)
            recovered += len(closed)
        return raised, recovered
