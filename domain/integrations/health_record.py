"""What health checks change: the stored health, events, alerts, and the suspension or return of an integration."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.core.errors import PreconditionFailed, RuleViolation, Unavailable
from domain.core.ports import IdGenerator
from domain.core.realtime import INTEGRATION_HEALTH, NOBODY, Realtime
from domain.core.transaction import Transactions
from domain.integrations.changes import ChangeRecorder
from domain.integrations.events import health_event, publish_health
from domain.integrations.health_rules import (
    HealthCheck,
    HealthOutcome,
    Vitals,
    alert_kind,
    degraded_reason,
    health_of,
    next_probe,
    observe,
    observe_limit,
    outcome_of,
    read_vitals,
    vitals_text,
)
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import HealthStatus, Integration, LogLevel
from domain.integrations.ports import HealthUpdate, IntegrationTransaction
from domain.integrations.rules import Move, activated, moved
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of

logger = logging.getLogger("hub.integrations")


_LEVELS = {HealthStatus.Healthy: LogLevel.Information, HealthStatus.Degraded: LogLevel.Warning}


@dataclass(frozen=True, slots=True)
class _Evaluated:
    check: HealthCheck
    vitals: Vitals
    update: HealthUpdate
    outcome: HealthOutcome


class HealthRecorder:
    """Stores results in groups: steady ones in one statement, each change in its own transaction."""

    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        lifecycle: Lifecycle,
        changes: ChangeRecorder,
        *,
        ids: IdGenerator,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._transactions = transactions
        self._lifecycle = lifecycle
        self._changes = changes
        self._ids = ids
        self._realtime = realtime

    def record(self, checks: Sequence[HealthCheck]) -> dict[HealthOutcome, int]:
        """Store the results; return how many checks had which outcome. Raises Unavailable.

        A check of an integration whose status or credentials have changed since changes nothing."""
        evaluated = [_evaluate(check) for check in checks]
        steady: list[HealthUpdate] = []
        for result in evaluated:
            if result.outcome in ("steady", "probe-again"):
                steady.append(result.update)
            else:
                self._change(result)
        with self._transactions.write() as tx:
            tx.integrations.record_checks(steady)
            tx.signals.append([_signal(check) for check in checks])
            tx.commit()
        return dict(Counter(result.outcome for result in evaluated))

    def _change(self, result: _Evaluated) -> None:
        checked = result.check.checked
        try:
            with self._transactions.write() as tx:
                now = tx.integrations.get(checked.tenant_id, checked.integration_id)
                if not now.is_enabled or not _is_same(now, checked):
                    return
                self._apply(tx, replace(now, health_status=checked.health_status), result)
                tx.commit()
            self._publish(checked)
        except PreconditionFailed:
            return
        except RuleViolation as refused:  # BR-IM-01: another one took its place while it was suspended
            self._stay_suspended(checked, result.update, refused)

    def _publish(self, checked: Integration) -> None:
        if not self._realtime.listening(checked.tenant_id, INTEGRATION_HEALTH):
            return
        try:
            with self._transactions.read() as tx:
                now = tx.integrations.find(checked.integration_id)
        except Unavailable as error:
            logger.warning("change of health not told", extra={"reason": error.detail})
            return
        if now is not None:
            publish_health(self._realtime, now, checked.health_status)

    def _apply(self, tx: IntegrationTransaction, before: Integration, result: _Evaluated) -> None:
        check, vitals, update = result.check, result.vitals, result.update
        after = replace(
            before,
            health_status=update.health_status,
            vitals=update.vitals,
            consecutive_failures=update.consecutive_failures,
            probe_after=update.probe_after,
            last_health_check=update.at,
        )
        detail = check.failure.detail if check.failure else "The provider answers."
        if result.outcome == "suspend":
            is_grant = check.failure is not None and check.failure.of_grant
            self._lifecycle.suspend_for_authentication(tx, after, detail, is_grant=is_grant)
        elif result.outcome == "fail":
            failed = self._changes.save(tx, after, moved(after, Move.Fail, detail), "integration.failed")
            self._changes.alert(tx, "integration-error", failed, detail)
        elif result.outcome == "resume":
            fresh = observe(replace(vitals, recent=(), consecutive_failures=0), check.milliseconds)
            active = replace(activated(after), vitals=vitals_text(fresh), health_status=health_of(fresh))
            resumed = self._changes.save(tx, after, active, "integration.resumed")
            self._changes.alert(tx, "integration-recovered", resumed, "The credentials are accepted again.")
        elif result.outcome in ("flapping", "limited"):
            tx.integrations.record_checks([replace(update, checked=after)])
            self._changes.alert(tx, "integration-degraded", after, degraded_reason(vitals, detail))
        else:
            self._change_health(tx, before, after, result, detail=detail)

    def _change_health(
        self,
        tx: IntegrationTransaction,
        before: Integration,
        after: Integration,
        result: _Evaluated,
        *,
        detail: str,
    ) -> None:
        """Store a new health that leaves the status as it is: log row, event, and an alert where one is due."""
        vitals, update = result.vitals, result.update
        tx.integrations.record_checks([replace(update, checked=after)])
        kind = alert_kind(before.health_status, after.health_status, vitals)
        if after.health_status == HealthStatus.Degraded:
            detail = degraded_reason(vitals, detail)
        level = _LEVELS.get(after.health_status, LogLevel.Error)
        message = f"Health is {after.health_status.name} (was {before.health_status.name}): {detail}"
        self._changes.log(tx, after, message, level=level)
        tx.outbox.append([health_event(self._ids, before, after.health_status, detail, now=update.at)])
        if kind is not None:
            self._changes.alert(tx, kind, after, detail)

    def _stay_suspended(self, checked: Integration, update: HealthUpdate, refused: RuleViolation) -> None:
        """Stop probing an integration whose credentials work again but whose place is taken: a person decides."""
        with self._transactions.write() as tx:
            current = tx.integrations.get(checked.tenant_id, checked.integration_id)
            if _is_same(current, checked):
                reason = f"Its credentials are accepted again. {refused.detail}"
                kept = replace(current, reason=reason, probe_after=None, last_health_check=update.at)
                self._changes.save(tx, current, kept, "integration.not-resumed", note=reason)
                tx.commit()


def _is_same(now: Integration, checked: Integration) -> bool:
    return (now.status, now.secret_name) == (checked.status, checked.secret_name)


def _evaluate(check: HealthCheck) -> _Evaluated:
    vitals = read_vitals(check.checked.vitals)
    if check.is_limited:
        vitals = observe_limit(vitals, check.at)
    else:
        vitals = observe(vitals, None if check.failure else check.milliseconds)
    status = health_of(vitals)
    update = HealthUpdate(
        checked=check.checked,
        health_status=status,
        vitals=vitals_text(vitals),
        consecutive_failures=vitals.consecutive_failures,
        probe_after=next_probe(check, vitals),
        at=check.at,
    )
    return _Evaluated(check, vitals, update, outcome_of(check, vitals, status))


def _signal(check: HealthCheck) -> Signal:
    id_, hour = check.checked.integration_id, hour_of(check.at)
    tally = check_tally(check.milliseconds, check.failure.kind if check.failure else None)
    return Signal(check.checked.tenant_id, SubjectKind.Integration, id_, hour, tally)


def check_tally(milliseconds: int, failure: str | None) -> Tally:
    """Count one health check; `failure` is the kind of its failure, None when it succeeded."""
    failed = failure is not None
    return Tally(
        total=1,
        succeeded=int(not failed),
        failed=int(failed),
        errors={failure: 1} if failure is not None else {},
        latency=Sketch.of([milliseconds]),
    )
