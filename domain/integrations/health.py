"""Watching integrations (UC-IM-04, BR-IM-03, BR-IM-04)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from domain.alerts.occurring import OccurrenceSender
from domain.errors import Unavailable
from domain.integrations.connector import Connector
from domain.integrations.findings import Finding, FindingRecorder
from domain.integrations.model import Integration, IntegrationType
from domain.integrations.providers import ProviderFailure
from domain.integrations.proving import guarded
from domain.integrations.samples import Sample, Samples
from domain.integrations.tracing import integration_span
from domain.ports import Clock
from domain.tracing import UNTRACED, Tracer
from domain.unit_of_work import UnitsOfWork

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
        units: UnitsOfWork,
        connector: Connector,
        recorder: FindingRecorder,
        samples: Samples,
        occurrences: OccurrenceSender,
        clock: Clock,
        *,
        concurrency: int,
        disabled_types: Collection[IntegrationType] = (),
        probe_seconds: float = PROBE_SECONDS,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._units = units
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

    async def check(self, integration: Integration) -> Finding:
        """One probe; never raises for what the provider does. Raises Unavailable when the secret store does not
        answer, which says nothing about the integration."""
        with integration_span(self._tracer, "check_integration", integration.integration_id) as span:
            finding = await self._probed(integration)
            if finding.failure is not None:
                span.fail(finding.failure.kind)
        return finding

    async def _probed(self, integration: Integration) -> Finding:
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
        return Finding(integration, self._clock.now(), elapsed, failure)

    def _due(self, after: UUID | None) -> list[Integration]:
        now = self._clock.now()
        with self._units.read() as unit:
            return unit.integrations.due_for_check(
                now, after=after, checked_before=now - _NOT_AGAIN_WITHIN, limit=_PAGE
            )

    async def _check_all(self, integrations: list[Integration], outcome: Round) -> None:
        waiting = iter(integrations)
        findings: list[Finding] = []

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

    def _sample(self, finding: Finding) -> None:
        failure = finding.failure.kind if finding.failure else None
        sample = Sample(finding.at, finding.milliseconds, failure)
        try:
            self._samples.add(finding.checked.integration_id, sample)
        except Unavailable:
            logger.warning("health sample lost", extra={"integration": str(finding.checked.integration_id)})
