"""Activation, suspension, review and disconnection: the moves of the state machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from domain.core.errors import check_version
from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.core.ports import Clock, IdGenerator
from domain.core.principal import Principal, guid
from domain.core.transaction import Transactions, repeated
from domain.integrations.commands import ActivateIntegration, ReviewIntegration, SuspendIntegration
from domain.integrations.configuration import MASK
from domain.integrations.events import status_events
from domain.integrations.model import (
    HealthStatus,
    Integration,
    IntegrationLog,
    IntegrationStatus,
    LogLevel,
    SuspensionCause,
)
from domain.integrations.ports import IntegrationTransaction, SlotTaken
from domain.integrations.rules import Move, after, check_type_enabled, slot, slot_taken
from domain.integrations.validation import Proof, Prover
from domain.integrations.vault import Vault
from domain.journal.audit import AuditEntry
from domain.journal.occurrences import OccurrenceSender, occurrence
from domain.providers.contract import IntegrationType

_LEVELS: Mapping[IntegrationStatus, LogLevel] = {
    IntegrationStatus.Suspended: LogLevel.Warning,
    IntegrationStatus.Error: LogLevel.Error,
}


class Changes:
    """Row, events, log row and audit entry, together or not at all."""

    def __init__(self, clock: Clock, ids: IdGenerator) -> None:
        self._clock = clock
        self._ids = ids

    def add(self, tx: IntegrationTransaction, integration: Integration, principal: Principal) -> None:
        """Store a new integration."""
        tx.integrations.add(integration.tenant_id, integration)
        self.log(tx, integration, "Created as a draft.", principal=principal)
        self._audit(tx, "integration.created", None, integration, principal, ())

    def save(
        self,
        tx: IntegrationTransaction,
        before: Integration,
        after: Integration,
        action: str,
        *,
        principal: Principal | None = None,
        changed: Sequence[str] = (),
        note: str | None = None,
        level: LogLevel | None = None,
    ) -> Integration:
        """Store `after`. `changed` are pointers into the configuration; `note` is a person's. Without a principal
        the hub itself did it. Raises PreconditionFailed, RuleViolation (BR-IM-01)."""
        now = self._clock.now()
        if principal is not None:
            after = replace(after, modified_at=now, modified_by=principal.user_id)
        try:
            tx.integrations.update(after.tenant_id, after)
        except SlotTaken:
            raise slot_taken(after) from None
        by = principal.user_id if principal else None
        tx.outbox.append(status_events(self._ids, before, after, by, now))
        if before.status != after.status or note is not None:
            message = note or after.reason or f"{after.status.name}."
            details = {"previousStatus": before.status.name, "status": after.status.name, "action": action}
            level = level if level is not None else _LEVELS.get(after.status, LogLevel.Information)
            self.log(tx, after, message, level=level, details=details, principal=principal)
        self._audit(tx, action, before, after, principal, changed, note)
        return replace(after, version=after.version + 1)

    def log(
        self,
        tx: IntegrationTransaction,
        integration: Integration,
        message: str,
        *,
        level: LogLevel = LogLevel.Information,
        details: Mapping[str, Any] | None = None,
        principal: Principal | None = None,
    ) -> None:
        """An IntegrationLogs row. Neither text nor details may hold a value of the configuration."""
        tx.integration_logs.append(
            [
                IntegrationLog(
                    integration_log_id=self._ids.new(),
                    integration_id=integration.integration_id,
                    log_level=level,
                    message=message,
                    created_at=self._clock.now(),
                    details=json.dumps(details) if details else None,
                    request_id=_request_id(principal),
                )
            ]
        )

    def alert(self, tx: IntegrationTransaction, kind: str, integration: Integration, detail: str) -> None:
        """Tell the administrators; goes to the queue after the commit."""
        data = {
            "integrationId": str(integration.integration_id),
            "name": integration.name,
            "integrationType": integration.integration_type.name,
            "provider": integration.provider,
            "status": integration.status.name,
            "healthStatus": integration.health_status.name,
            "consecutiveFailures": integration.consecutive_failures,
            "detail": detail,
        }
        tx.occurrences.append(occurrence(kind, data, self._clock.now(), tenant_id=integration.tenant_id))

    def _audit(
        self,
        tx: IntegrationTransaction,
        action: str,
        before: Integration | None,
        after: Integration,
        principal: Principal | None,
        changed: Sequence[str],
        note: str | None = None,
    ) -> None:
        new = _state(after, changed)
        if note is not None:
            new["note"] = note
        old = _state(before, changed) if before else None
        entry = AuditEntry(action, "integration", after.integration_id, principal, old, new)
        tx.audit.append(after.tenant_id, entry)


def _state(integration: Integration, changed: Sequence[str]) -> dict[str, Any]:
    """What the audit log shows. The configuration is encrypted at rest (BR-IM-06) and the audit log is not, so
    of the configuration it names the fields that changed and never a value."""
    state: dict[str, Any] = {
        "name": integration.name,
        "integrationType": integration.integration_type.name,
        "provider": integration.provider,
        "status": integration.status.name,
        "reason": integration.reason,
        "isEnabled": integration.is_enabled,
        "allowTls12": integration.allow_tls_1_2,
    }
    if changed:
        state["configuration"] = {pointer.removeprefix("/configuration/"): MASK for pointer in changed}
    return state


def _request_id(principal: Principal | None) -> UUID | None:
    return guid(principal.origin.request_id) if principal else None


#: The first probe of an integration whose credentials were refused.
FIRST_PROBE = timedelta(minutes=5)
_UNFINISHED = "Validation has not finished; activate it again if this stays."


@dataclass(frozen=True, slots=True)
class LifecycleResult:
    """An integration after a request, and what was proved on the way."""

    integration: Integration
    proof: Proof | None = None


class Lifecycle:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        prover: Prover,
        vault: Vault,
        changes: Changes,
        occurrences: OccurrenceSender,
        clock: Clock,
        *,
        disabled_types: Collection[IntegrationType] = (),
        on_disconnect: Callable[[Integration], object] | None = None,
    ) -> None:
        self._transactions = transactions
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
    ) -> LifecycleResult:
        """Validate, test where the type asks for it, and activate: UC-IM-01 steps 3-7. What fails is told in the
        outcome's proof and the integration's reason. Raises NotFound, Conflict, RuleViolation (BR-IM-01,
        BR-IM-05), PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        return await self.start(principal, integration_id, command, if_match)

    async def start(
        self,
        principal: Principal,
        integration_id: UUID,
        command: ActivateIntegration,
        if_match: int | None = None,
    ) -> LifecycleResult:
        """`activate` for a caller whose permission was checked."""
        begun = await asyncio.to_thread(self._begin, principal, integration_id, if_match)
        is_new = begun.status == IntegrationStatus.PendingValidation
        test = command.test if command.test is not None or is_new else False
        proof = await self._prover.prove(begun, command.test_options.to_options(), test=test)
        return LifecycleResult(await asyncio.to_thread(self._conclude, principal, begun, proof), proof)

    @repeated
    def suspend(
        self,
        principal: Principal,
        integration_id: UUID,
        command: SuspendIntegration,
        if_match: int | None = None,
    ) -> Integration:
        """By a person, until a person activates it again. Raises NotFound, Conflict, PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.write() as tx:
            before = self.current(tx, principal, integration_id, if_match)
            suspended = replace(
                moved(before, Move.Suspend, command.reason),
                suspension=SuspensionCause.Manual,
                probe_after=None,
            )
            saved = self._changes.save(tx, before, suspended, "integration.suspended", principal=principal)
            tx.commit()
        return saved

    async def review(
        self,
        principal: Principal,
        integration_id: UUID,
        command: ReviewIntegration,
        if_match: int | None = None,
    ) -> LifecycleResult:
        """BR-IM-05: out of Error by a person's decision, with a note. Raises NotFound, Conflict,
        PreconditionFailed, RuleViolation (BR-IM-01)."""
        principal.require(INTEGRATION_MANAGE)
        reviewed = await asyncio.to_thread(self._review, principal, integration_id, command, if_match)
        if command.resolution != "Activate":
            return LifecycleResult(reviewed)
        return await self.start(principal, integration_id, ActivateIntegration(), reviewed.version)

    def disconnect(
        self, principal: Principal, integration_id: UUID, reason: str, if_match: int | None = None
    ) -> None:
        """For good: the credentials are destroyed, the row stays for logs and audit. Again, it does nothing.
        Raises NotFound, PreconditionFailed."""
        principal.require(INTEGRATION_ADMIN)
        with self._transactions.write() as tx:
            before = self.current(tx, principal, integration_id, if_match)
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
            self._changes.save(tx, before, gone, "integration.disconnected", principal=principal)
            tx.commit()
        self._vault.discard(before.secret_name)
        if self._on_disconnect is not None:
            self._on_disconnect(before)

    def authentication_failed(self, checked: Integration, detail: str, *, is_grant: bool = False) -> bool:
        """Section 11.1: the provider refused the credentials of an active integration: suspend it at once, and
        alert. Nothing happens when its credentials or status are no longer those of `checked`; False then.
        For health checks, tests, syncs and whoever else calls the provider."""
        with self._transactions.write() as tx:
            before = tx.integrations.get(checked.tenant_id, checked.integration_id)
            if before.status != IntegrationStatus.Active or before.secret_name != checked.secret_name:
                return False
            self.suspend_for_authentication(tx, before, detail, is_grant=is_grant)
            tx.commit()
        self._occurrences.flush()
        return True

    def suspend_for_authentication(
        self, tx: IntegrationTransaction, before: Integration, detail: str, *, is_grant: bool
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
        saved = self._changes.save(tx, before, suspended, "integration.suspended", level=LogLevel.Critical)
        self._changes.alert(tx, "integration-suspended", saved, detail)
        return saved

    @staticmethod
    def current(
        tx: IntegrationTransaction, principal: Principal, integration_id: UUID, if_match: int | None
    ) -> Integration:
        """The integration as it is, if it is what the caller saw. Raises NotFound, PreconditionFailed."""
        found = tx.integrations.get(principal.tenant_id, integration_id)
        check_version("integration", if_match, found.version)
        return found

    # -- steps --------------------------------------------------------------------------------------------

    @repeated
    def _begin(self, principal: Principal, integration_id: UUID, if_match: int | None) -> Integration:
        """PendingValidation while the provider is asked, so that an interruption shows. A suspended one stays so."""
        with self._transactions.write() as tx:
            before = self.current(tx, principal, integration_id, if_match)
            check_type_enabled(before.integration_type, self._disabled_types)
            is_suspended = before.status == IntegrationStatus.Suspended
            pending = before if is_suspended else moved(before, Move.Validate, _UNFINISHED)
            if tx.integrations.slot_holder(before.tenant_id, slot(before)) is not None:
                raise slot_taken(before)
            if is_suspended:
                return before
            saved = self._changes.save(tx, before, pending, "integration.validating", principal=principal)
            tx.commit()
        return saved

    @repeated
    def _conclude(self, principal: Principal, begun: Integration, proof: Proof) -> Integration:
        with self._transactions.write() as tx:
            before = self.current(tx, principal, begun.integration_id, begun.version)
            concluded = self._judged(before, proof)
            saved = self._changes.save(
                tx, before, concluded, f"integration.{_ACTIONS[concluded.status]}", principal=principal
            )
            if saved.status == IntegrationStatus.Error:
                self._changes.alert(tx, "integration-error", saved, proof.detail)
            tx.commit()
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
        with self._transactions.write() as tx:
            before = self.current(tx, principal, integration_id, if_match)
            reviewed = replace(
                moved(before, move, f"Reviewed: {command.note}"),
                suspension=SuspensionCause.Manual if move == Move.Shelve else None,
                consecutive_failures=0,
                vitals=None,
            )
            saved = self._changes.save(
                tx, before, reviewed, "integration.reviewed", principal=principal, note=command.note
            )
            tx.commit()
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
