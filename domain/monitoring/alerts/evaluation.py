"""The evaluation of every minute: what no single occurrence tells, such as rates, dead letters and recoveries."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from domain.apikeys.rate_limit import Charge
from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.shown_address import host_of
from domain.core.text_length import cut
from domain.core.transaction import Transactions, in_steps
from domain.core.wire import rfc3339
from domain.journal.occurrences import PLATFORM
from domain.journal.signals import hour_of
from domain.monitoring.alerts.bursts import BurstReporter
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.model import Alert, AlertFinding, AlertKind, Closing, RuleSettings
from domain.monitoring.alerts.ports import (
    AlertTransaction,
    DeadLetterCounts,
    HourRate,
    QuotaCharges,
    WebhookStanding,
)
from domain.monitoring.alerts.recovery import Standing, end_of
from domain.monitoring.alerts.rules import (
    RULES,
    Rate,
    effective,
    is_low_again,
    is_too_high,
    last_hour,
    raises,
)
from domain.monitoring.alerts.standing import anomaly_standing, attempts_standing, standings_of
from domain.monitoring.signal_series import SignalReader

logger = logging.getLogger("hub.alerts")

_RATE = AlertKind.WebhookFailureRate
_HELD = AlertKind.HeldDeliveries
_LIMITS = AlertKind.RateLimitStoreDown
_ANOMALIES = (AlertKind.KeyAnomaly, AlertKind.Anomaly)
#: Kinds whose alerts end by what `standings_of` finds alone.
_BY_STANDING = (
    AlertKind.WebhookDisabled,
    AlertKind.IntegrationHealth,
    AlertKind.IntegrationMoved,
    AlertKind.SyncFailed,
    AlertKind.EventLoop,
    AlertKind.SecurityViolation,
    AlertKind.UnreadableMessage,
)
#: How long before the first held delivery of a webhook expires somebody is told (BR-WH-05).
_HELD_NOTICE = timedelta(hours=1)
CHUNK = 100
#: The quota that is charged to see whether rate limits are counted; it is nobody's.
_PROBE = Charge(PLATFORM.hex, 10_000)

Settings = Mapping[AlertKind, Mapping[UUID, RuleSettings]]


def _summary(rate: Rate, host: str) -> str:
    return f"{rate.share:.0%} of {rate.total:,.0f} attempts to deliver to {host} failed within the last hour."


@dataclass(slots=True)
class EvaluationResult:
    """What a round found: the conditions that hold, and the alerts that end."""

    findings: list[AlertFinding] = field(default_factory=list)
    endings: list[tuple[Alert, Closing]] = field(default_factory=list)

    def judge(self, settings: Settings, alert: Alert, standing: Standing, now: datetime) -> bool:
        """Return whether the alert ends, and note it then."""
        rule = effective(alert.kind, settings[alert.kind].get(alert.tenant_id))
        closing = end_of(rule, alert, standing, now)
        if closing is not None:
            self.endings.append((alert, closing))
        return closing is not None


class AlertEvaluator:
    def __init__(
        self,
        transactions: Transactions[AlertTransaction],
        ledger: AlertLedger,
        clock: Clock,
        *,
        queues: DeadLetterCounts,
        limits: QuotaCharges,
        signals: SignalReader,
        retention: timedelta,
    ) -> None:
        self._transactions = transactions
        self._ledger = ledger
        self._bursts = BurstReporter(transactions, ledger)
        self._queues = queues
        self._limits = limits
        self._signals = signals
        self._clock = clock
        self._retention = retention

    def evaluate(self) -> tuple[int, int]:
        """Do one round, and return how many alerts it raised and how many ended. Raises Unavailable."""
        now = self._clock.now()
        told = self._bursts.report(now)
        self._try_limits(now)
        result = EvaluationResult()
        with self._transactions.read() as tx:
            settings = {kind: tx.alert_rules.of_kind(kind) for kind in RULES}
            self._rates(tx, settings, result, now)
            self._held(tx, settings, result, now)
            for kind in (*_BY_STANDING, _LIMITS):
                active = tx.alerts.active([kind])
                standings = standings_of(tx, kind, active)
                for alert in active:
                    result.judge(settings, alert, standings[alert.alert_id], now)
            self._anomalies(tx, settings, result, now)
            dead = tx.alerts.active([AlertKind.DeadLetters])
        self._dead_letters(dead, settings, result, now)
        raised, ended = self._store(result, settings, now)
        return told + raised, ended

    def forget_old(self) -> int:
        """Remove alerts that ended longer ago than the retention, and return how many."""
        cutoff = self._clock.now() - self._retention
        return in_steps(self._transactions, lambda tx: tx.alerts.delete_before(cutoff, CHUNK), CHUNK)

    def _try_limits(self, now: datetime) -> None:
        """Count one request while an alert says that rate limits cannot be counted: its successes end the alert."""
        with self._transactions.read() as tx:
            active = tx.alerts.active([_LIMITS])
        if not active:
            return
        try:
            self._limits.charge(PLATFORM, [_PROBE])
        except Unavailable as error:
            findings = [
                AlertFinding(PLATFORM, _LIMITS, alert.subject, cut(error.detail, 400), now)
                for alert in active
            ]
            with self._transactions.write() as tx:
                for finding in findings:
                    self._ledger.raise_(tx, RULES[_LIMITS], replace(finding, continues=True))
                tx.commit()
            return
        with self._transactions.write() as tx:
            for alert in active:
                tx.alerts.succeed(PLATFORM, _LIMITS, alert.subject, at=now)
            tx.commit()

    @staticmethod
    def _rates(tx: AlertTransaction, settings: Settings, result: EvaluationResult, now: datetime) -> None:
        by_webhook: dict[tuple[UUID, UUID], list[HourRate]] = {}
        for hour in tx.alert_conditions.webhook_rates(hour_of(now) - timedelta(hours=1)):
            by_webhook.setdefault((hour.tenant_id, hour.webhook_id), []).append(hour)
        active = {(alert.tenant_id, UUID(alert.subject)): alert for alert in tx.alerts.active([_RATE])}
        webhooks = tx.alert_conditions.webhooks(by_webhook.keys() | active.keys())
        for name in by_webhook.keys() | active.keys():
            rule = effective(_RATE, settings[_RATE].get(name[0]))
            rate, webhook = last_hour(by_webhook.get(name, ()), now), webhooks.get(name)
            alert = active.get(name)
            if alert is not None:
                standing = attempts_standing(webhook)
                if is_low_again(rule, rate):
                    # The few failures that are allowed do not take the evidence away.
                    standing = replace(standing, failed_at=None)
                if result.judge(settings, alert, standing, now):
                    continue
            if webhook is not None and rule.is_enabled and is_too_high(rule, rate):
                result.findings.append(_failing(name, rate, webhook, now))

    @staticmethod
    def _held(tx: AlertTransaction, settings: Settings, result: EvaluationResult, now: datetime) -> None:
        """Find what webhooks that are not active hold, from an hour before the first of it expires."""
        expiring = tx.alert_conditions.held(now, now + _HELD_NOTICE)
        active = tx.alerts.active([_HELD])
        standings = standings_of(tx, _HELD, active)
        webhooks = tx.alert_conditions.webhooks([(held.tenant_id, held.webhook_id) for held in expiring])
        for held in expiring:
            subject, first = str(held.webhook_id), held.first_expires_at
            deliveries = "1 delivery" if held.count == 1 else f"{held.count:,} deliveries"
            webhook = webhooks.get((held.tenant_id, held.webhook_id))
            of = host_of(webhook.url) if webhook else "The webhook"
            summary = (
                f"{of} is not active and holds {deliveries}, the first until {first:%Y-%m-%d %H:%M} UTC."
            )
            details = {"held": held.count, "firstExpiresAt": rfc3339(first)}
            finding = AlertFinding(held.tenant_id, _HELD, subject, summary, now, details)
            if raises(effective(_HELD, settings[_HELD].get(held.tenant_id)), finding):
                result.findings.append(finding)
        for alert in active:
            result.judge(settings, alert, standings[alert.alert_id], now)

    def _anomalies(
        self, tx: AlertTransaction, settings: Settings, result: EvaluationResult, now: datetime
    ) -> None:
        for alert in tx.alerts.active(_ANOMALIES):
            try:
                standing = anomaly_standing(tx, self._signals, alert)
            except Unavailable as error:
                logger.warning("hours of an anomaly not read", extra={"reason": error.detail})
                continue
            result.judge(settings, alert, standing, now)

    def _dead_letters(
        self, active: Sequence[Alert], settings: Settings, result: EvaluationResult, now: datetime
    ) -> None:
        try:
            counts = self._queues.dead_letter_counts()
        except Unavailable as error:
            logger.warning("dead letters not counted", extra={"reason": error.detail})
            return
        kind = AlertKind.DeadLetters
        for queue, count in counts.items():
            summary = f"{count} dead letters in the queue {queue}."
            details = {"queue": queue, "count": count}
            finding = AlertFinding(PLATFORM, kind, queue, summary, now, details, volume=count)
            if raises(RULES[kind], finding):
                result.findings.append(finding)
        for alert in active:
            is_empty = not counts.get(alert.subject)
            gone = f"The queue {alert.subject} has no dead letters any more." if is_empty else None
            result.judge(settings, alert, Standing(removed=gone, stands=not is_empty), now)

    def _store(
        self,
        result: EvaluationResult,
        settings: Settings,
        now: datetime,
    ) -> tuple[int, int]:
        raised = ended = 0
        changes: list[AlertFinding | tuple[Alert, Closing]] = [*result.findings, *result.endings]
        for start in range(0, len(changes), CHUNK):
            opened: list[Alert] = []
            closed: list[Alert] = []
            with self._transactions.write() as tx:
                for change in changes[start : start + CHUNK]:
                    subject = change if isinstance(change, AlertFinding) else change[0]
                    rule = effective(subject.kind, settings[subject.kind].get(subject.tenant_id))
                    if isinstance(change, AlertFinding):
                        alert = self._ledger.raise_(tx, rule, change)
                        opened += [alert] if alert else []
                    else:
                        alert = self._ledger.end(tx, rule, change[0], closing=change[1], now=now)
                        closed += [alert] if alert else []
                tx.commit()
            self._ledger.publish([*opened, *closed])
            for alert in opened:
                at, data = rfc3339(alert.opened_at), {"subject": alert.subject, "detail": alert.summary}
                about = {"kind": alert.kind.value, "tenantId": str(alert.tenant_id), "occurredAt": at}
                logger.warning("alert", extra={"alert": {**about, "data": data}})
            raised += len(opened)
            ended += len(closed)
        return raised, ended


def _failing(name: tuple[UUID, UUID], rate: Rate, webhook: WebhookStanding, now: datetime) -> AlertFinding:
    """Return the finding as of the last failure: what failed before a recovery opens nothing again."""
    details = {"attempts": round(rate.total), "failureRate": round(rate.share, 4)}
    summary = _summary(rate, host_of(webhook.url))
    at = webhook.last_failed_at or now
    return AlertFinding(name[0], _RATE, str(name[1]), summary, at, details, volume=round(rate.total))
