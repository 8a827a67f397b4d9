"""Activation, suspension, review and disconnection: the moves of the state machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from uuid import UUID

from domain.alerts.occurring import OccurrenceSender
from domain.errors import PreconditionFailed
from domain.identity.model import Principal
from domain.integrations.changes import Changes
from domain.integrations.commands import ActivateIntegration, ReviewIntegration, SuspendIntegration
from domain.integrations.model import (
    HealthStatus,
    Integration,
    IntegrationStatus,
    IntegrationType,
    LogLevel,
    SuspensionCause,
)
from domain.integrations.proving import Proof, Prover
from domain.integrations.rules import Move, after, check_type_enabled, slot, slot_taken
from domain.integrations.vault import Vault
from domain.ports import Clock
from domain.unit_of_work import UnitOfWork, UnitsOfWork, repeated

MANAGE = "integration:manage"
ADMIN = "integration:admin"
#: The first probe of an integration whose credentials were refused.
FIRST_PROBE = timedelta(minutes=5)
_UNFINISHED = "Validation has not finished; activate it again if this stays."


@dataclass(frozen=True, slots=True)
class Outcome:
    """An integration after a request, and what was proved on the way."""

    integration: Integration
    proof: Proof | None = None


class Lifecycle:
    def __init__(
        self,
        units: UnitsOfWork,
        prover: Prover,
        vault: Vault,
        changes: Changes,
        occurrences: OccurrenceSender,
        clock: Clock,
        *,
        disabled_types: Collection[IntegrationType] = (),
        on_disconnect: Callable[[Integration], object] | None = None,
    ) -> None:
        self._units = units
        self._prover = prover
        self._vault = vault
        self._changes = changes
        self._occurrences = occurrences
        self._clock = clock
        self._disabled_types = disabled_types
        self._on_disconnect = on_disconnect

    async def activate(
        self,
        principal: Principal,
        integration_id: UUID,
        command: ActivateIntegration,
        if_match: int | None = None,
    ) -> Outcome:
        """Validate, test where the type asks for it, and activate: UC-IM-01 steps 3-7. What fails is told in the
        outcome's proof and the integration's reason. Raises NotFound, Conflict, RuleViolation (BR-IM-01,
        BR-IM-05), PreconditionFailed."""
        principal.require(MANAGE)
        return await self.start(principal, integration_id, command, if_match)

    async def start(
        self,
        principal: Principal,
        integration_id: UUID,
        command: ActivateIntegration,
        if_match: int | None = None,
    ) -> Outcome:
        """`activate` for a caller whose permission was checked."""
        begun = await asyncio.to_thread(self._begin, principal, integration_id, if_match)
        is_new = begun.status == IntegrationStatus.PendingValidation
        test = command.test if command.test is not None or is_new else False
        proof = await self._prover.prove(begun, command.test_options.to_options(), test=test)
        return Outcome(await asyncio.to_thread(self._conclude, principal, begun, proof), proof)

    @repeated
    def suspend(
        self,
        principal: Principal,
        integration_id: UUID,
        command: SuspendIntegration,
        if_match: int | None = None,
    ) -> Integration:
        """By a person, until a person activates it again. Raises NotFound, Conflict, PreconditionFailed."""
        principal.require(MANAGE)
        with self._units.write() as unit:
            before = self.current(unit, principal, integration_id, if_match)
            suspended = replace(
                moved(before, Move.Suspend, command.reason),
                suspension=SuspensionCause.Manual,
                probe_after=None,
            )
            saved = self._changes.save(unit, before, suspended, "integration.suspended", principal=principal)
            unit.commit()
        return saved

    async def review(
        self,
        principal: Principal,
        integration_id: UUID,
        command: ReviewIntegration,
        if_match: int | None = None,
    ) -> Outcome:
        """BR-IM-05: out of Error by a person's decision, with a note. Raises NotFound, Conflict,
        PreconditionFailed, RuleViolation (BR-IM-01)."""
        principal.require(MANAGE)
        reviewed = await asyncio.to_thread(self._review, principal, integration_id, command, if_match)
        if command.resolution != "Activate":
            return Outcome(reviewed)
        return await self.start(principal, integration_id, ActivateIntegration(), reviewed.version)

    def disconnect(
        self, principal: Principal, integration_id: UUID, reason: str, if_match: int | None = None
    ) -> None:
        """For good: the credentials are destroyed, the row stays for logs and audit. Again, it does nothing.
        Raises NotFound, PreconditionFailed."""
        principal.require(ADMIN)
        with self._units.write() as unit:
            before = self.current(unit, principal, integration_id, if_match)
            if before.status == IntegrationStatus.Disconnected:
                return
            gone = replace(
                moved(before, Move.Disconnect, reason),
                sealed_configuration=self._vault.seal(integration_id, _EMPTY),
                secret_name=None,
                sealed_account=None,
                suspension=None,
                probe_after=None,
                health_status=HealthStatus.Unknown,
            )
            self._changes.save(unit, before, gone, "integration.disconnected", principal=principal)
            unit.commit()
        self._vault.discard(before.secret_name)
        if self._on_disconnect is not None:
            self._on_disconnect(before)

    def authentication_failed(self, checked: Integration, detail: str, *, is_grant: bool = False) -> bool:
        """Section 11.1: the provider refused the credentials of an active integration: suspend it at once, and
        alert. Nothing happens when its credentials or status are no longer those of `checked`; False then.
        For health checks, tests, syncs and whoever else calls the provider."""
        with self._units.write() as unit:
            before = unit.integrations.get(checked.tenant_id, checked.integration_id)
            if before.status != IntegrationStatus.Active or before.secret_name != checked.secret_name:
                return False
            self.suspend_for_authentication(unit, before, detail, is_grant=is_grant)
            unit.commit()
        self._occurrences.flush()
        return True

    def suspend_for_authentication(
        self, unit: UnitOfWork, before: Integration, detail: str, *, is_grant: bool
    ) -> Integration:
        """The same inside a transaction; the caller commits and flushes the occurrences."""
        now = self._clock.now()
        suspended = replace(
            moved(before, Move.Suspend, f"The provider refused the credentials: {detail}"),
            suspension=SuspensionCause.Grant if is_grant else SuspensionCause.Authentication,
            probe_after=None if is_grant else now + FIRST_PROBE,
            health_status=HealthStatus.Unhealthy,
            last_health_check=now,
        )
        saved = self._changes.save(unit, before, suspended, "integration.suspended", level=LogLevel.Critical)
        self._changes.alert(unit, "integration-suspended", saved, detail)
        return saved

    @staticmethod
    def current(
        unit: UnitOfWork, principal: Principal, integration_id: UUID, if_match: int | None
    ) -> Integration:
        """The integration as it is, if it is what the caller saw. Raises NotFound, PreconditionFailed."""
        found = unit.integrations.get(principal.tenant_id, integration_id)
        if if_match is not None and found.version != if_match:
            raise PreconditionFailed("The integration was changed since; read it again.")
        return found

    # -- steps --------------------------------------------------------------------------------------------

    @repeated
    def _begin(self, principal: Principal, integration_id: UUID, if_match: int | None) -> Integration:
        """PendingValidation while the provider is asked, so that an interruption shows. A suspended one stays so."""
        with self._units.write() as unit:
            before = self.current(unit, principal, integration_id, if_match)
            check_type_enabled(before.integration_type, self._disabled_types)
            is_suspended = before.status == IntegrationStatus.Suspended
            pending = before if is_suspended else moved(before, Move.Validate, _UNFINISHED)
            if unit.integrations.slot_holder(before.tenant_id, slot(before)) is not None:
                raise slot_taken(before)
            if is_suspended:
                return before
            saved = self._changes.save(unit, before, pending, "integration.validating", principal=principal)
            unit.commit()
        return saved

    @repeated
    def _conclude(self, principal: Principal, begun: Integration, proof: Proof) -> Integration:
        with self._units.write() as unit:
            before = self.current(unit, principal, begun.integration_id, begun.version)
            concluded = self._judged(before, proof)
            saved = self._changes.save(
                unit, before, concluded, f"integration.{_ACTIONS[concluded.status]}", principal=principal
            )
            if saved.status == IntegrationStatus.Error:
                self._changes.alert(unit, "integration-error", saved, proof.detail)
            unit.commit()
        self._occurrences.flush()
        return saved

    def _judged(self, before: Integration, proof: Proof) -> Integration:
        """What a proof makes of an integration that waits for it."""
        if proof.succeeded:
            active = activated(before)
            return self.validated(active, proof)
        if before.status == IntegrationStatus.Suspended:
            return replace(before, reason=proof.detail)
        if proof.stage == "test" and before.integration_type == IntegrationType.PaymentGateway:
            # A charge may stand whose reversal failed: a person has to look.
            return moved(before, Move.Fail, proof.detail)
        if proof.stage == "authorization" or proof.is_passing:
            return moved(before, Move.Validate, proof.detail)
        return moved(before, Move.Refuse, proof.detail)

    def validated(self, integration: Integration, proof: Proof) -> Integration:
        """With what a successful proof found out."""
        account = json.dumps(asdict(proof.check)) if proof.check else None
        sealed = self._vault.seal(integration.integration_id, account) if account else None
        return replace(integration, validated_at=self._clock.now(), sealed_account=sealed)

    @repeated
    def _review(
        self, principal: Principal, integration_id: UUID, command: ReviewIntegration, if_match: int | None
    ) -> Integration:
        move = Move.Shelve if command.resolution == "Suspend" else Move.Review
        with self._units.write() as unit:
            before = self.current(unit, principal, integration_id, if_match)
            reviewed = replace(
                moved(before, move, f"Reviewed: {command.note}"),
                suspension=SuspensionCause.Manual if move == Move.Shelve else None,
                consecutive_failures=0,
                vitals=None,
            )
            saved = self._changes.save(
                unit, before, reviewed, "integration.reviewed", principal=principal, note=command.note
            )
            unit.commit()
        return saved


def moved(integration: Integration, move: Move, reason: str | None) -> Integration:
    """The integration after a legal move. Raises Conflict, RuleViolation (BR-IM-05)."""
    return replace(integration, status=after(integration.status, move), reason=reason)


def activated(integration: Integration) -> Integration:
    """Active, with its health to be found anew. Raises as `moved`."""
    return replace(
        moved(integration, Move.Activate, None),
        suspension=None,
        probe_after=None,
        consecutive_failures=0,
        health_status=HealthStatus.Unknown,
        vitals=None,
    )


_EMPTY = '{"plain":{},"secrets":[]}'
_ACTIONS = {
    IntegrationStatus.Active: "activated",
    IntegrationStatus.Draft: "refused",
    IntegrationStatus.PendingValidation: "pending",
    IntegrationStatus.Error: "failed",
    IntegrationStatus.Suspended: "not-resumed",
}
