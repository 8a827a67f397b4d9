"""Watching integrations (UC-IM-04, BR-IM-03, BR-IM-04)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from domain.core.errors import PreconditionFailed, RuleViolation, Unavailable
from domain.core.ports import Clock, IdGenerator
from domain.core.realtime import INTEGRATION_HEALTH, NOBODY, Realtime
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from domain.integrations.connection import Catalogue, Connector
from domain.integrations.events import health_event, integration_span, publish_health
from domain.integrations.health_history import HealthSample, HealthSamples
from domain.integrations.health_rules import (
    FAILURES_BEFORE_ALERT,
    Vitals,
    failures,
    health_of,
    is_flapping,
    is_slow,
    observe,
    read_vitals,
    vitals_text,
)
from domain.integrations.lifecycle import FIRST_PROBE, Changes, Lifecycle, activated, moved
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus, LogLevel
from domain.integrations.ports import HealthUpdate, IntegrationTransaction
from domain.integrations.rules import Move
from domain.integrations.validation import guarded
from domain.journal.occurrences import OccurrenceSender
from domain.journal.signals import Signal, Sketch, SubjectKind, Tally, hour_of
from domain.providers.contract import IntegrationType, ProviderFailure

_PROBE_AT_MOST = timedelta(hours=6)
#: Failures that waiting does not mend: our request is wrong, or a permission is missing.
_LASTING = frozenset(("forbidden", "rejected"))

Verdict = Literal["steady", "changed", "flapping", "suspend", "fail", "resume", "probe-again"]


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check of one integration as it was when the check began."""

    checked: Integration
    at: datetime
    milliseconds: int
    failure: ProviderFailure | None = None

    @property
    def is_failure(self) -> bool:
        """An answer that asks us to wait is an answer."""
        return self.failure is not None and self.failure.kind != "rate_limited"


def verdict(finding: HealthCheck, vitals: Vitals, status: HealthStatus) -> Verdict:
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


def _signal(finding: HealthCheck) -> Signal:
    checked = finding.checked
    outcome = check_tally(finding.milliseconds, finding.failure.kind if finding.failure else None)
    return Signal(
        checked.tenant_id, SubjectKind.Integration, checked.integration_id, hour_of(finding.at), outcome
    )


class FindingRecorder:
    """Group commit: steady results in one statement, each change in its own transaction."""

    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        catalogue: Catalogue,
        lifecycle: Lifecycle,
        changes: Changes,
        ids: IdGenerator,
        realtime: Realtime = NOBODY,
    ) -> None:
        self._transactions = transactions
        self._catalogue = catalogue
        self._lifecycle = lifecycle
        self._changes = changes
        self._ids = ids
        self._realtime = realtime

    def record(self, findings: Sequence[HealthCheck]) -> dict[Verdict, int]:
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
        with self._transactions.write() as tx:
            tx.integrations.record_checks(steady)
            tx.signals.append([_signal(one) for one in findings])
            tx.commit()
        return counts

    def _change(self, finding: HealthCheck, vitals: Vitals, update: HealthUpdate, what: Verdict) -> None:
        checked = finding.checked
        try:
            with self._transactions.write() as tx:
                now = tx.integrations.get(checked.tenant_id, checked.integration_id)
                if (now.status, now.secret_name, now.is_enabled) != (
                    checked.status,
                    checked.secret_name,
                    True,
                ):
                    return
                before = replace(now, health_status=checked.health_status)
                self._apply(tx, before, finding, vitals, update, what)
                tx.commit()
            self._publish(checked)
        except PreconditionFailed:
            return
        except RuleViolation as refused:  # BR-IM-01: another one took its place while it was suspended
            self._stay_suspended(checked, update, refused)

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

    def _apply(
        self,
        tx: IntegrationTransaction,
        before: Integration,
        finding: HealthCheck,
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
            self._lifecycle.suspend_for_authentication(tx, after, detail, is_grant=is_grant)
        elif what == "fail":
            failed = self._changes.save(tx, after, moved(after, Move.Fail, detail), "integration.failed")
            self._changes.alert(tx, "integration-error", failed, detail)
        elif what == "resume":
            fresh = observe(replace(vitals, recent=(), consecutive_failures=0), finding.milliseconds)
            active = replace(activated(after), vitals=vitals_text(fresh), health_status=health_of(fresh))
            resumed = self._changes.save(tx, after, active, "integration.resumed")
            self._changes.alert(tx, "integration-recovered", resumed, "The credentials are accepted again.")
        elif what == "flapping":
            tx.integrations.record_checks([replace(update, checked=after)])
            self._changes.alert(tx, "integration-degraded", after, _degraded(vitals, detail))
        else:
            self._tell(tx, before, after, vitals, update, detail)

    def _tell(
        self,
        tx: IntegrationTransaction,
        before: Integration,
        after: Integration,
        vitals: Vitals,
        update: HealthUpdate,
        detail: str,
    ) -> None:
        """A change of health that leaves the status as it is: log row, event, and an alert where one is due."""
        tx.integrations.record_checks([replace(update, checked=after)])
        kind = _alert_kind(before.health_status, after.health_status, vitals)
        if after.health_status == HealthStatus.Degraded:
            detail = _degraded(vitals, detail)
        level = {
            HealthStatus.Healthy: LogLevel.Information,
            HealthStatus.Degraded: LogLevel.Warning,
        }.get(after.health_status, LogLevel.Error)
        message = f"Health is {after.health_status.name} (was {before.health_status.name}): {detail}"
        self._changes.log(tx, after, message, level=level)
        tx.outbox.append([health_event(self._ids, before, after.health_status, detail, update.at)])
        if kind is not None:
            self._changes.alert(tx, kind, after, detail)

    def _stay_suspended(self, checked: Integration, update: HealthUpdate, refused: RuleViolation) -> None:
        """Its credentials work again, but its place is taken: a person decides."""
        with self._transactions.write() as tx:
            current = tx.integrations.get(checked.tenant_id, checked.integration_id)
            if (current.status, current.secret_name) == (checked.status, checked.secret_name):
                reason = f"Its credentials are accepted again. {refused.detail}"
                kept = replace(current, reason=reason, probe_after=None, last_health_check=update.at)
                self._changes.save(tx, current, kept, "integration.not-resumed", note=reason)
                tx.commit()


def _updated(finding: HealthCheck) -> tuple[Vitals, HealthUpdate]:
    checked = finding.checked
    past = read_vitals(checked.vitals)
    if finding.failure is not None and not finding.is_failure:
        vitals = past
    else:
        vitals = observe(past, None if finding.failure else finding.milliseconds)
    status = health_of(vitals)
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


def _next_probe(finding: HealthCheck, vitals: Vitals) -> datetime | None:
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


logger = logging.getLogger("hub.integrations")

#: Section 9.1: a health check ends within 30 s.
PROBE_SECONDS = 25.0
_PAGE = 500
#: A run that comes again at once, as timers may, checks nothing twice.
_NOT_AGAIN_WITHIN = timedelta(minutes=2)


@dataclass(slots=True)
class Round:
    """One run: how many were checked, and with which verdicts."""

    checked: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)


class HealthMonitor:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        connector: Connector,
        recorder: FindingRecorder,
        samples: HealthSamples,
        occurrences: OccurrenceSender,
        clock: Clock,
        *,
        concurrency: int,
        disabled_types: Collection[IntegrationType] = (),
        probe_seconds: float = PROBE_SECONDS,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._transactions = transactions
        self._connector = connector
        self._recorder = recorder
        self._samples = samples
        self._occurrences = occurrences
        self._clock = clock
        self._concurrency = concurrency
        self._disabled_types = disabled_types
        self._probe_seconds = probe_seconds
        self._tracer = tracer

    async def run(self) -> Round:
        """Check every enabled active integration, and those suspended ones whose probe is due; at most
        `concurrency` at a time. Raises Unavailable when the database does not answer."""
        outcome, after = Round(), None
        while page := await asyncio.to_thread(self._due, after):
            after = page[-1].integration_id
            await self._check_all(
                [one for one in page if one.integration_type not in self._disabled_types], outcome
            )
        await asyncio.to_thread(self._occurrences.flush)
        return outcome

    async def check(self, integration: Integration) -> HealthCheck:
        """One probe; never raises for what the provider does. Raises Unavailable when the secret store does not
        answer, which says nothing about the integration."""
        with integration_span(self._tracer, "check_integration", integration.integration_id) as span:
            finding = await self._probed(integration)
            if finding.failure is not None:
                span.fail(finding.failure.kind)
        return finding

    async def _probed(self, integration: Integration) -> HealthCheck:
        started = time.perf_counter()
        failure: ProviderFailure | None = None
        try:
            opened = asyncio.to_thread(self._connector.connect, integration, retries=0)
            provider, connection = await guarded(opened, integration)
            started = time.perf_counter()
            async with asyncio.timeout(self._probe_seconds):
                await guarded(provider.probe(connection), integration)
        except ProviderFailure as error:
            failure = error
        except TimeoutError:
            failure = ProviderFailure("unavailable", "No answer in time.")
        elapsed = round((time.perf_counter() - started) * 1000)
        return HealthCheck(integration, self._clock.now(), elapsed, failure)

    def _due(self, after: UUID | None) -> list[Integration]:
        now = self._clock.now()
        with self._transactions.read() as tx:
            return tx.integrations.due_for_check(
                now, after=after, checked_before=now - _NOT_AGAIN_WITHIN, limit=_PAGE
            )

    async def _check_all(self, integrations: list[Integration], outcome: Round) -> None:
        waiting = iter(integrations)
        findings: list[HealthCheck] = []

        async def work() -> None:
            for integration in waiting:
                try:
                    finding = await self.check(integration)
                except Unavailable as error:
                    logger.error("integration not checked", extra={"reason": error.detail})
                    continue
                findings.append(finding)
                await asyncio.to_thread(self._sample, finding)

        await asyncio.gather(*(work() for _ in range(min(self._concurrency, len(integrations)))))
        counts = await asyncio.to_thread(self._recorder.record, findings)
        outcome.checked += len(findings)
        for verdict, count in counts.items():
            outcome.verdicts[verdict] = outcome.verdicts.get(verdict, 0) + count

    def _sample(self, finding: HealthCheck) -> None:
        failure = finding.failure.kind if finding.failure else None
        sample = HealthSample(finding.at, finding.milliseconds, failure)
        try:
            self._samples.add(finding.checked.integration_id, sample)
        except Unavailable:
            logger.warning("health sample lost", extra={"integration": str(finding.checked.integration_id)})


def check_tally(milliseconds: int, failure: str | None) -> Tally:
    """One health check; `failure` is its kind, None when it succeeded."""
    failed = failure is not None
    return Tally(
        total=1,
        succeeded=int(not failed),
        failed=int(failed),
        errors={failure: 1} if failure is not None else {},
        latency=Sketch.of([milliseconds]),
    )
