"""What a health check's result means for an integration, and storing it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from domain.errors import PreconditionFailed, RuleViolation, Unavailable
from domain.insights.counting import check_tally
from domain.insights.model import Signal, SubjectKind, hour_of
from domain.integrations.changes import Changes
from domain.integrations.connector import Catalogue
from domain.integrations.events import health_event
from domain.integrations.lifecycle import FIRST_PROBE, Lifecycle, activated, moved
from domain.integrations.live import publish_health
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus, LogLevel
from domain.integrations.ports import HealthUpdate
from domain.integrations.providers import ProviderFailure
from domain.integrations.rules import Move
from domain.integrations.vitals import (
    FAILURES_BEFORE_ALERT,
    Vitals,
    failures,
    is_flapping,
    is_slow,
    judge,
    observe,
    read_vitals,
    vitals_text,
)
from domain.ports import IdGenerator
from domain.realtime.model import INTEGRATION_HEALTH
from domain.realtime.ports import NOBODY, Realtime
from domain.unit_of_work import UnitOfWork, UnitsOfWork

logger = logging.getLogger("hub.integrations")

_PROBE_AT_MOST = timedelta(hours=6)
#: Failures that waiting does not mend: our request is wrong, or a permission is missing.
_LASTING = frozenset(("forbidden", "rejected"))

Verdict = Literal["steady", "changed", "flapping", "suspend", "fail", "resume", "probe-again"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one integration as it was when the check began."""

    checked: Integration
    at: datetime
    milliseconds: int
    failure: ProviderFailure | None = None

    @property
    def is_failure(self) -> bool:
        """An answer that asks us to wait is an answer."""
        return self.failure is not None and self.failure.kind != "rate_limited"


def verdict(finding: Finding, vitals: Vitals, status: HealthStatus) -> Verdict:
    """What follows from a check that led to these vitals and this health."""
    failure = finding.failure
    if finding.checked.status == IntegrationStatus.Suspended:
        return "probe-again" if failure is not None else "resume"
    if failure is not None and failure.kind == "unauthorized":
        return "suspend"
    if (
        failure is not None
        and failure.kind in _LASTING
        and vitals.consecutive_failures >= FAILURES_BEFORE_ALERT
    ):
        return "fail"
    if status != finding.checked.health_status:
        return "changed"
    began = is_flapping(vitals) and not is_flapping(read_vitals(finding.checked.vitals))
    return "flapping" if began and status == HealthStatus.Degraded else "steady"


def _signal(finding: Finding) -> Signal:
    checked = finding.checked
    outcome = check_tally(finding.milliseconds, finding.failure.kind if finding.failure else None)
    return Signal(
        checked.tenant_id, SubjectKind.Integration, checked.integration_id, hour_of(finding.at), outcome
    )


class FindingRecorder:
    """Group commit: steady results in one statement, each change in its own transaction."""

    def __init__(
        self,
        units: UnitsOfWork,
        catalogue: Catalogue,
        lifecycle: Lifecycle,
        changes: Changes,
        ids: IdGenerator,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._units = units
        self._catalogue = catalogue
        self._lifecycle = lifecycle
        self._changes = changes
        self._ids = ids
        self._realtime = realtime

    def record(self, findings: Sequence[Finding]) -> dict[Verdict, int]:
        """Store what the checks found; returns how many had which verdict. A finding about an integration whose
        status or credentials have changed since is dropped. Raises Unavailable."""
        counts: dict[Verdict, int] = {}
        steady: list[HealthUpdate] = []
        for finding in findings:
            vitals, update = _updated(finding)
            what = verdict(finding, vitals, update.health_status)
            counts[what] = counts.get(what, 0) + 1
            if what in ("steady", "probe-again"):
                steady.append(update)
            else:
                self._change(finding, vitals, update, what)
        with self._units.write() as unit:
            unit.integrations.record_checks(steady)
            unit.signals.append([_signal(one) for one in findings])
            unit.commit()
        return counts

    def _change(self, finding: Finding, vitals: Vitals, update: HealthUpdate, what: Verdict) -> None:
        checked = finding.checked
        try:
            with self._units.write() as unit:
                now = unit.integrations.get(checked.tenant_id, checked.integration_id)
                if (now.status, now.secret_name, now.is_enabled) != (
                    checked.status,
                    checked.secret_name,
                    True,
                ):
                    return
                before = replace(now, health_status=checked.health_status)
                self._apply(unit, before, finding, vitals, update, what)
                unit.commit()
            self._publish(checked)
        except PreconditionFailed:
            return
        except RuleViolation as refused:  # BR-IM-01: another one took its place while it was suspended
            self._stay_suspended(checked, update, refused)

    def _publish(self, checked: Integration) -> None:
        if not self._realtime.listening(checked.tenant_id, INTEGRATION_HEALTH):
            return
        try:
            with self._units.read() as unit:
                now = unit.integrations.find(checked.integration_id)
        except Unavailable as error:
            logger.warning("change of health not told", extra={"reason": error.detail})
            return
        if now is not None:
            publish_health(self._realtime, now, checked.health_status)

    def _apply(
        self,
        unit: UnitOfWork,
        before: Integration,
        finding: Finding,
        vitals: Vitals,
        update: HealthUpdate,
        what: Verdict,
    ) -> None:
        after = replace(
            before,
            health_status=update.health_status,
            vitals=update.vitals,
            consecutive_failures=update.consecutive_failures,
            probe_after=update.probe_after,
            last_health_check=update.at,
        )
        detail = finding.failure.detail if finding.failure else "The provider answers."
        if what == "suspend":
            is_grant = self._catalogue.get(before.provider).profile.oauth is not None
            self._lifecycle.suspend_for_authentication(unit, after, detail, is_grant=is_grant)
        elif what == "fail":
            failed = self._changes.save(unit, after, moved(after, Move.Fail, detail), "integration.failed")
            self._changes.alert(unit, "integration-error", failed, detail)
        elif what == "resume":
            fresh = observe(replace(vitals, recent=(), consecutive_failures=0), finding.milliseconds)
            active = replace(activated(after), vitals=vitals_text(fresh), health_status=judge(fresh))
            resumed = self._changes.save(unit, after, active, "integration.resumed")
            self._changes.alert(unit, "integration-recovered", resumed, "The credentials are accepted again.")
        elif what == "flapping":
            unit.integrations.record_checks([replace(update, checked=after)])
            self._changes.alert(unit, "integration-degraded", after, _degraded(vitals, detail))
        else:
            self._tell(unit, before, after, vitals, update, detail)

    def _tell(
        self,
        unit: UnitOfWork,
        before: Integration,
        after: Integration,
        vitals: Vitals,
        update: HealthUpdate,
        detail: str,
    ) -> None:
        """A change of health that leaves the status as it is: log row, event, and an alert where one is due."""
        unit.integrations.record_checks([replace(update, checked=after)])
        kind = _alert_kind(before.health_status, after.health_status, vitals)
        if after.health_status == HealthStatus.Degraded:
            detail = _degraded(vitals, detail)
        level = {
            HealthStatus.Healthy: LogLevel.Information,
            HealthStatus.Degraded: LogLevel.Warning,
        }.get(after.health_status, LogLevel.Error)
        message = f"Health is {after.health_status.name} (was {before.health_status.name}): {detail}"
        self._changes.log(unit, after, message, level=level)
        unit.outbox.append([health_event(self._ids, before, after.health_status, detail, update.at)])
        if kind is not None:
            self._changes.alert(unit, kind, after, detail)

    def _stay_suspended(self, checked: Integration, update: HealthUpdate, refused: RuleViolation) -> None:
        """Its credentials work again, but its place is taken: a person decides."""
        with self._units.write() as unit:
            current = unit.integrations.get(checked.tenant_id, checked.integration_id)
            if (current.status, current.secret_name) == (checked.status, checked.secret_name):
                reason = f"Its credentials are accepted again. {refused.detail}"
                kept = replace(current, reason=reason, probe_after=None, last_health_check=update.at)
                self._changes.save(unit, current, kept, "integration.not-resumed", note=reason)
                unit.commit()


def _updated(finding: Finding) -> tuple[Vitals, HealthUpdate]:
    checked = finding.checked
    past = read_vitals(checked.vitals)
    if finding.failure is not None and not finding.is_failure:
        vitals = past
    else:
        vitals = observe(past, None if finding.failure else finding.milliseconds)
    status = judge(vitals)
    update = HealthUpdate(
        checked,
        status,
        vitals_text(vitals),
        vitals.consecutive_failures,
        _next_probe(finding, vitals),
        finding.at,
    )
    return vitals, update


def _degraded(vitals: Vitals, detail: str) -> str:
    """What is wrong with one that is Degraded."""
    if is_slow(vitals):
        return f"It answers much more slowly than its usual {vitals.baseline_ms:.0f} ms."
    if is_flapping(vitals):
        return f"{failures(vitals)} of the last {len(vitals.recent)} checks failed. {detail}"
    return detail


def _next_probe(finding: Finding, vitals: Vitals) -> datetime | None:
    """Ever more seldom, because repeated wrong logins lock accounts."""
    if finding.checked.status != IntegrationStatus.Suspended or finding.failure is None:
        return None
    factor: int = 2 ** min(vitals.consecutive_failures, 12)
    return finding.at + min(FIRST_PROBE * factor, _PROBE_AT_MOST)


def _alert_kind(before: HealthStatus, after: HealthStatus, vitals: Vitals) -> str | None:
    if after == HealthStatus.Unhealthy:
        return "integration-unhealthy"
    if before == HealthStatus.Unhealthy:
        return "integration-recovered" if vitals.consecutive_failures == 0 else None
    if after == HealthStatus.Degraded and (is_slow(vitals) or is_flapping(vitals)):
        return "integration-degraded"
    return None
