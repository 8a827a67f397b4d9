"""Watching integrations (UC-IM-04, BR-IM-03): probe those that are due, and pass the results on to be recorded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.slots import TenantTurns
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from domain.integrations.connection import Connector
from domain.integrations.events import integration_span
from domain.integrations.health_history import HealthSample, HealthSamples
from domain.integrations.health_record import HealthRecorder
from domain.integrations.health_rules import HealthCheck, HealthOutcome
from domain.integrations.model import Integration
from domain.integrations.ports import IntegrationTransaction
from domain.integrations.validation import guarded
from domain.journal.occurrences import OccurrenceSender
from domain.providers.contract import IntegrationType, ProviderFailure

logger = logging.getLogger("hub.integrations")

#: Section 9.1: a health check ends within 30 s.
PROBE_SECONDS = 25.0
PAGE = 500
#: A run that comes again at once, as timers may, checks nothing twice.
_NOT_AGAIN_WITHIN = timedelta(minutes=2)


@dataclass(slots=True)
class HealthRun:
    """How many integrations one run checked, and with which outcomes."""

    checked: int = 0
    outcomes: Counter[HealthOutcome] = field(default_factory=Counter)


class HealthMonitor:
    """Probes integrations, at most `concurrency` of a tenant at a time; tenants take turns."""

    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        connector: Connector,
        recorder: HealthRecorder,
        samples: HealthSamples,
        *,
        occurrences: OccurrenceSender,
        clock: Clock,
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
        # Alone a tenant gets half of the slots.
        self._turns = TenantTurns(2 * concurrency)
        self._disabled_types = disabled_types
        self._probe_seconds = probe_seconds
        self._tracer = tracer

    async def check_due(self) -> HealthRun:
        """Check the enabled active integrations, and the suspended ones whose probe is due. Raises Unavailable."""
        run, after = HealthRun(), None
        async with asyncio.TaskGroup() as checking:
            while page := await asyncio.to_thread(self._due, after):
                after = page[-1].integration_id
                by_tenant: dict[UUID, list[Integration]] = {}
                for found in page:
                    if found.integration_type not in self._disabled_types:
                        by_tenant.setdefault(found.tenant_id, []).append(found)
                # What one tenant's take is no other's business: each is recorded as soon as its own are checked.
                for own in by_tenant.values():
                    checking.create_task(self._check_all(own, run))
        await asyncio.to_thread(self._occurrences.flush)
        return run

    async def check(self, integration: Integration) -> HealthCheck:
        """Probe one integration; never raise for what the provider does.

        Raises Unavailable when the secret store does not answer, which says nothing about the integration."""
        with integration_span(self._tracer, "check_integration", integration.integration_id) as span:
            check = await self._probe(integration)
            if check.failure is not None:
                span.fail(check.failure.kind)
        return check

    async def _probe(self, integration: Integration) -> HealthCheck:
        started = time.perf_counter()
        failure: ProviderFailure | None = None
        try:
            connecting = self._connector.connect_soon(integration, retries=0)
            provider, connection = await guarded(connecting, integration)
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
                now, after=after, checked_before=now - _NOT_AGAIN_WITHIN, limit=PAGE
            )

    async def _check_all(self, integrations: list[Integration], run: HealthRun) -> None:
        """Check some integrations of one tenant."""
        checks: list[HealthCheck] = []

        async def check(integration: Integration) -> None:
            async with self._turns.turn(integration.tenant_id):
                try:
                    checked = await self.check(integration)
                except Unavailable as error:
                    logger.error("integration not checked", extra={"reason": error.detail})
                    return
                checks.append(checked)
                await asyncio.to_thread(self._sample, checked)

        await asyncio.gather(*(check(integration) for integration in integrations))
        run.outcomes.update(await asyncio.to_thread(self._recorder.record, checks))
        run.checked += len(checks)

    def _sample(self, check: HealthCheck) -> None:
        sample = HealthSample(check.at, check.milliseconds, check.failure.kind if check.failure else None)
        try:
            self._samples.add(check.checked.integration_id, sample)
        except Unavailable:
            logger.warning("health sample lost", extra={"integration": str(check.checked.integration_id)})
