"""`POST /api/integrations/{id}/test`: does it work, right now?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.errors import Conflict
from domain.identity.model import Principal
from domain.integrations.changes import Changes
from domain.integrations.commands import TestIntegration
from domain.integrations.connector import Catalogue
from domain.integrations.lifecycle import MANAGE, Lifecycle
from domain.integrations.model import Integration, IntegrationStatus, LogLevel
from domain.integrations.proving import Proof, Prover
from domain.ports import Clock
from domain.unit_of_work import UnitsOfWork


@dataclass(frozen=True, slots=True)
class Trial:
    proof: Proof
    tested_at: datetime


class Trials:
    def __init__(
        self,
        units: UnitsOfWork,
        catalogue: Catalogue,
        prover: Prover,
        lifecycle: Lifecycle,
        changes: Changes,
        clock: Clock,
    ) -> None:
        self._units = units
        self._catalogue = catalogue
        self._prover = prover
        self._lifecycle = lifecycle
        self._changes = changes
        self._clock = clock

    async def test(self, principal: Principal, integration_id: UUID, command: TestIntegration) -> Trial:
        """Validate the stored credentials and make the provider's test. Changes nothing but the log, except
        that refused credentials suspend an active integration (section 11.1). Raises NotFound, Conflict."""
        principal.require(MANAGE)
        integration = await asyncio.to_thread(self._get, principal, integration_id)
        proof = await self._prover.prove(integration, command.to_options(), test=True)
        await asyncio.to_thread(self._record, principal, integration, proof)
        return Trial(proof, self._clock.now())

    def _get(self, principal: Principal, integration_id: UUID) -> Integration:
        with self._units.read() as unit:
            found = unit.integrations.get(principal.tenant_id, integration_id)
        if found.status == IntegrationStatus.Disconnected:
            raise Conflict("A disconnected integration has no credentials to test.")
        return found

    def _record(self, principal: Principal, integration: Integration, proof: Proof) -> None:
        level = LogLevel.Information if proof.succeeded else LogLevel.Warning
        details = {"stage": proof.stage, "steps": [step.name for step in proof.steps]}
        with self._units.write() as unit:
            self._changes.log(
                unit,
                integration,
                f"Tested: {proof.detail}",
                level=level,
                details=details,
                principal=principal,
            )
            unit.commit()
        if proof.failure is not None and proof.failure.kind == "unauthorized":
            is_grant = self._catalogue.get(integration.provider).profile.oauth is not None
            self._lifecycle.authentication_failed(integration, proof.failure.detail, is_grant=is_grant)
