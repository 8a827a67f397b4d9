"""Use cases of alerts and their rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from domain.core.errors import Conflict, FieldError, NotFound, ValidationFailed, check_version
from domain.core.paging import Page, PageRequest
from domain.core.permissions import ALERTS_MANAGE, ALERTS_PLATFORM, ALERTS_READ
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.text_length import TextConstraints
from domain.core.transaction import Transactions, repeated
from domain.core.wire import Command, sent_fields
from domain.integrations.rules import RECIPIENTS
from domain.journal.audit import AuditEntry
from domain.journal.occurrences import PLATFORM
from domain.monitoring.alerts.ledger import AlertLedger
from domain.monitoring.alerts.model import (
    Alert,
    AlertFilter,
    AlertKind,
    AlertRule,
    ClosedAs,
    Closing,
    Notification,
    RuleSettings,
    Severity,
    Sink,
)
from domain.monitoring.alerts.ports import AlertTransaction
from domain.monitoring.alerts.rules import RULES, effective

Recipient = Annotated[str, TextConstraints(min_length=3, max_length=254)]


class SinkCommand(Command):
    integration_id: Annotated[UUID, Field(strict=False)] = Field(
        description="One of the tenant's e-mail or SMS integrations"
    )
    recipients: Annotated[list[Recipient], Field(min_length=1, max_length=20)] = Field(
        description="E-mail addresses, or phone numbers in E.164"
    )


class ChangeAlertRule(Command):
    """Body of `PUT /api/alerts/rules/{kind}`: the fields sent are replaced; null restores the default."""

    is_enabled: bool | None = None
    severity: Literal["Information", "Warning", "Critical"] | None = None
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Share of failures that must be exceeded, of 1"
    )
    minimum_volume: int | None = Field(
        None, ge=1, le=1_000_000, description="How often it must have happened"
    )
    sinks: Annotated[list[SinkCommand], Field(max_length=5)] | None = Field(
        None, description="Who is notified by e-mail or SMS, beside webhooks and realtime messages"
    )


class AcknowledgeAlert(Command):
    note: Annotated[str, TextConstraints(min_length=1, max_length=400)] | None = None


class ResolveAlert(Command):
    note: Annotated[str, TextConstraints(min_length=1, max_length=400)] = Field(
        description="What was found and done: it is what the alert ends with"
    )


@dataclass(frozen=True, slots=True)
class AlertDetail:
    alert: Alert
    notifications: Sequence[Notification]


class AlertService:
    def __init__(
        self, transactions: Transactions[AlertTransaction], ledger: AlertLedger, clock: Clock
    ) -> None:
        self._transactions = transactions
        self._ledger = ledger
        self._clock = clock

    def page(
        self, principal: Principal, filter_: AlertFilter, page: PageRequest, *, platform: bool = False
    ) -> Page[Alert]:
        principal.require(ALERTS_READ)
        if platform:
            principal.require(ALERTS_PLATFORM)
        with self._transactions.read() as tx:
            return tx.alerts.page(PLATFORM if platform else principal.tenant_id, filter_, page)

    def get(self, principal: Principal, alert_id: UUID) -> AlertDetail:
        principal.require(ALERTS_READ)
        with self._transactions.read() as tx:
            return self._detail(tx, self._find(tx, principal, alert_id))

    @repeated
    def acknowledge(self, principal: Principal, alert_id: UUID, command: AcknowledgeAlert) -> AlertDetail:
        """Record that somebody looks after it. Raises Forbidden, NotFound; Conflict unless it is open."""
        principal.require(ALERTS_MANAGE)
        with self._transactions.write() as tx:
            alert = self._find(tx, principal, alert_id)
            if not tx.alerts.acknowledge(
                alert.tenant_id, alert_id, by=principal.user_id, note=command.note, at=self._clock.now()
            ):
                raise Conflict(f"The alert is no longer open: its status is {alert.status.name}.")
            detail = self._detail(tx, tx.alerts.get(alert.tenant_id, alert_id))
            before = {"status": alert.status.name}
            after = {"status": detail.alert.status.name, "note": command.note}
            entry = AuditEntry("alert.acknowledged", "alert", alert_id, principal, before, after)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        self._ledger.publish([detail.alert])
        return detail

    @repeated
    def resolve(self, principal: Principal, alert_id: UUID, command: ResolveAlert) -> AlertDetail:
        """End an alert whose cause a person has removed. Raises Forbidden, NotFound; Conflict when it has ended."""
        principal.require(ALERTS_MANAGE)
        now = self._clock.now()
        with self._transactions.write() as tx:
            alert = self._find(tx, principal, alert_id)
            rule = effective(alert.kind, tx.alert_rules.settings(alert.tenant_id).get(alert.kind))
            closing = Closing(ClosedAs.Resolved, command.note)
            ended = self._ledger.end(tx, rule, alert, closing=closing, now=now)
            if ended is None:
                raise Conflict(f"The alert has ended: its status is {alert.status.name}.")
            before = {"status": alert.status.name}
            after = {"status": ended.status.name, "note": command.note}
            entry = AuditEntry("alert.resolved", "alert", alert_id, principal, before, after)
            tx.audit.append(principal.tenant_id, entry)
            detail = self._detail(tx, tx.alerts.get(alert.tenant_id, alert_id))
            tx.commit()
        self._ledger.publish([detail.alert])
        return detail

    def rules(self, principal: Principal) -> list[AlertRule]:
        """Return the rules with the tenant's settings, without those of the platform."""
        principal.require(ALERTS_READ)
        with self._transactions.read() as tx:
            settings = tx.alert_rules.settings(principal.tenant_id)
        return [effective(kind, settings.get(kind)) for kind, rule in RULES.items() if not rule.is_platform]

    @repeated
    def change_rule(
        self, principal: Principal, kind: str, command: ChangeAlertRule, if_match: int | None = None
    ) -> AlertRule:
        """Change a rule for the tenant. Raises Forbidden, NotFound, ValidationFailed, PreconditionFailed."""
        principal.require(ALERTS_MANAGE)
        rule = _rule(kind)
        _check_applies(rule, command)
        with self._transactions.write() as tx:
            before = tx.alert_rules.settings(principal.tenant_id).get(rule.kind, RuleSettings())
            check_version("alert rule", if_match, before.version)
            if command.sinks is not None:
                _check_sinks(tx, principal.tenant_id, command.sinks)
            after, now = _changed(before, command), self._clock.now()
            tx.alert_rules.set(principal.tenant_id, rule.kind, after, by=principal.user_id, now=now)
            states = _state(before), _state(after)
            entry = AuditEntry("alertrule.updated", "alertrule", rule.kind, principal, *states)
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        return effective(rule.kind, replace(after, version=before.version + 1))

    @staticmethod
    def _find(tx: AlertTransaction, principal: Principal, alert_id: UUID) -> Alert:
        try:
            return tx.alerts.get(principal.tenant_id, alert_id)
        except NotFound:
            if ALERTS_PLATFORM not in principal.permissions:
                raise
        return tx.alerts.get(PLATFORM, alert_id)

    @staticmethod
    def _detail(tx: AlertTransaction, alert: Alert) -> AlertDetail:
        return AlertDetail(alert, tx.notifications.of_alert(alert.tenant_id, alert.alert_id))


def _rule(kind: str) -> AlertRule:
    rule = RULES.get(AlertKind(kind)) if kind in {known.value for known in AlertKind} else None
    if rule is None or rule.is_platform:
        raise NotFound("The alert rule does not exist; GET /api/alerts/rules lists those that do.")
    return rule


def _check_applies(rule: AlertRule, command: ChangeAlertRule) -> None:
    errors = [
        FieldError(f"/{wire}", "This rule does not have this field.")
        for name, wire in (("threshold", "threshold"), ("minimum_volume", "minimumVolume"))
        if getattr(command, name) is not None and getattr(rule, name) is None
    ]
    if errors:
        raise ValidationFailed("The rule does not have these fields.", errors)


def _check_sinks(tx: AlertTransaction, tenant_id: UUID, sinks: Sequence[SinkCommand]) -> None:
    errors: list[FieldError] = []
    for index, sink in enumerate(sinks):
        pointer = f"/sinks/{index}/integrationId"
        try:
            integration = tx.integrations.get(tenant_id, sink.integration_id)
        except NotFound:
            errors.append(FieldError(pointer, "The integration does not exist."))
            continue
        form = RECIPIENTS.get(integration.integration_type)
        if form is None:
            errors.append(FieldError(pointer, "This is not an e-mail or SMS integration."))
            continue
        errors += [
            FieldError(f"/sinks/{index}/recipients/{position}", f"Must be {form[1]}.")
            for position, recipient in enumerate(sink.recipients)
            if not form[0].fullmatch(recipient)
        ]
    if errors:
        raise ValidationFailed("The sinks cannot be used; see errors.", errors)


def _changed(before: RuleSettings, command: ChangeAlertRule) -> RuleSettings:
    fields = sent_fields(command, nullable=command.model_fields_set)
    if command.severity is not None:
        fields["severity"] = Severity[command.severity]
    if "sinks" in fields:
        fields["sinks"] = tuple(
            Sink(sink.integration_id, tuple(dict.fromkeys(sink.recipients))) for sink in command.sinks or ()
        )
    return replace(before, **fields)


def _state(settings: RuleSettings) -> dict[str, Any]:
    return {
        "isEnabled": settings.is_enabled,
        "severity": settings.severity.name if settings.severity is not None else None,
        "threshold": settings.threshold,
        "minimumVolume": settings.minimum_volume,
        "sinks": [
            {"integrationId": str(sink.integration_id), "recipients": len(sink.recipients)}
            for sink in settings.sinks
        ],
    }
