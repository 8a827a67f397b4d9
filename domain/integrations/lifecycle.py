"""Activation, suspension, review and disconnection: the moves of the state machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from uuid import UUID

from domain.core.errors import RuleViolation, check_version
from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.integrations.access import reached
from domain.integrations.changes import ChangeRecorder
from domain.integrations.commands import ActivateIntegration, ReviewIntegration, SuspendIntegration
from domain.integrations.credential_store import CredentialStore
from domain.integrations.health_rules import FIRST_PROBE
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus, LogLevel, SuspensionCause
from domain.integrations.ports import IntegrationTransaction
from domain.integrations.rules import (
    RECIPIENT_POINTER,
    RECIPIENTS,
    Move,
    activated,
    check_recipient,
    check_type_enabled,
    early_slot,
    moved,
    provider_hash,
    slot_taken,
)
from domain.integrations.validation import CredentialValidator, ValidationResult
from domain.journal.occurrences import OccurrenceSender
from domain.providers.contract import IntegrationType, ProviderFailure

_UNFINISHED = "Validation has not finished; activate it again if this stays."


@dataclass(frozen=True, slots=True)
class LifecycleResult:
    """An integration after a request, with the validation that the request made, if it made one."""

    integration: Integration
    validation: ValidationResult | None = None


class Lifecycle:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        validator: CredentialValidator,
        credential_store: CredentialStore,
        changes: ChangeRecorder,
        *,
        occurrences: OccurrenceSender,
        clock: Clock,
        disabled_types: Collection[IntegrationType] = (),
        on_disconnect: Callable[[Integration], object] | None = None,
    ) -> None:
        self._transactions = transactions
        self._validator = validator
        self._credential_store = credential_store
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
        """Validate, test where the type asks for it, and activate: UC-IM-01 steps 3-7.

        A failure shows in the result's validation and in the integration's reason. Raises NotFound, Conflict,
        RuleViolation (BR-IM-01, BR-IM-05), PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        return await self.start(principal, integration_id, command, if_match)

    async def start(
        self,
        principal: Principal,
        integration_id: UUID,
        command: ActivateIntegration,
        if_match: int | None = None,
    ) -> LifecycleResult:
        """Do what `activate` does, for a caller whose permission was checked."""
        recipient = command.test_options.recipient
        begun = await asyncio.to_thread(self._begin, principal, integration_id, if_match, recipient=recipient)
        is_new = begun.status == IntegrationStatus.PendingValidation
        test = command.test if command.test is not None or is_new else False
        options, email = command.test_options.to_options(), principal.email
        validation = await self._validator.validate(begun, options, test=test, email=email)
        try:
            concluded = await asyncio.to_thread(self._conclude, principal, begun, validation)
        except RuleViolation as refused:
            await asyncio.to_thread(self._stay, principal, begun, refused.detail)
            raise
        return LifecycleResult(concluded, validation)

    @repeated
    def suspend(
        self,
        principal: Principal,
        integration_id: UUID,
        command: SuspendIntegration,
        if_match: int | None = None,
    ) -> Integration:
        """Suspend until a person activates it again. Raises NotFound, Conflict, PreconditionFailed."""
        principal.require(INTEGRATION_MANAGE)
        with self._transactions.write() as tx:
            before = self.current(tx, principal, integration_id, if_match)
            suspended = moved(before, Move.Suspend, command.reason)
            suspended = replace(suspended, suspension=SuspensionCause.Manual, probe_after=None)
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
        """Take the integration out of Error by a person's decision, with a note (BR-IM-05).

        Raises NotFound, Conflict, PreconditionFailed, RuleViolation (BR-IM-01)."""
        principal.require(INTEGRATION_MANAGE)
        reviewed = await asyncio.to_thread(self._review, principal, integration_id, command, if_match)
        if command.resolution != "Activate":
            return LifecycleResult(reviewed)
        # Its messages were tested when it was set up, and a review names nobody to send another one to.
        test = False if reviewed.integration_type in RECIPIENTS else None
        again = ActivateIntegration(test=test)
        return await self.start(principal, integration_id, again, reviewed.version)

    def disconnect(
        self, principal: Principal, integration_id: UUID, reason: str, if_match: int | None = None
    ) -> None:
        """Disconnect for good: revoke an OAuth grant, destroy the credentials, keep the row for its log. Idempotent.

        Raises NotFound, PreconditionFailed."""
        with self._transactions.write() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
            before = reached(principal, INTEGRATION_ADMIN, found)
            check_version("integration", if_match, before.version)
            if before.status == IntegrationStatus.Disconnected:
                return
            gone = replace(
                moved(before, Move.Disconnect, reason),
                sealed_configuration=self._credential_store.seal(integration_id, _EMPTY),
                secret_name=None,
                sealed_account=None,
                account_hash=None,
                suspension=None,
                probe_after=None,
                health_status=HealthStatus.Unknown,
            )
            self._changes.save(tx, before, gone, "integration.disconnected", principal=principal)
            tx.commit()
        if self._on_disconnect is not None:
            # Revoking at the provider needs the credentials.
            self._on_disconnect(before)
        self._credential_store.discard(before.secret_name)

    def reauthorized(
        self, principal: Principal, integration: Integration, validation: ValidationResult
    ) -> Integration:
        """Store the account that an active integration was authorised with again; a known one changes nothing.

        Suspends it and raises RuleViolation (BR-IM-01) where another integration holds the account's slot."""
        try:
            return self._with_account(principal, integration, validation)
        except RuleViolation as refused:
            with self._transactions.write() as tx:
                before = tx.integrations.get(integration.tenant_id, integration.integration_id)
                if before.status == IntegrationStatus.Active:
                    suspended = replace(
                        moved(before, Move.Suspend, refused.detail), suspension=SuspensionCause.Grant
                    )
                    action = "integration.suspended"
                    self._changes.save(tx, before, suspended, action, principal=principal)
                    tx.commit()
            raise

    def heed(self, checked: Integration, failure: ProviderFailure) -> None:
        """Do what `authentication_failed` does where the failure says so; do nothing for any other.

        The cause is Grant only where the grant itself is gone or refused: a 401 alone says nothing of it."""
        if failure.kind == "unauthorized":
            self.authentication_failed(checked, failure.detail, is_grant=failure.of_grant)

    def authentication_failed(self, checked: Integration, detail: str, *, is_grant: bool = False) -> bool:
        """Suspend an active integration whose credentials the provider refused, and alert (section 11.1).

        Returns False when it is not active any more, or its credentials are no longer those of `checked`."""
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
        """Do what `authentication_failed` does in a transaction; the caller commits and flushes the occurrences."""
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
        """Return the integration as stored. Raises NotFound; PreconditionFailed when `if_match` is not its version."""
        found = tx.integrations.get(principal.tenant_id, integration_id)
        check_version("integration", if_match, found.version)
        return found

    # -- steps --------------------------------------------------------------------------------------------

    @repeated
    def _with_account(
        self, principal: Principal, integration: Integration, validation: ValidationResult
    ) -> Integration:
        with self._transactions.write() as tx:
            before = tx.integrations.get(integration.tenant_id, integration.integration_id)
            after = self.validated(before, validation)
            if before.status != IntegrationStatus.Active or after.account_hash == before.account_hash:
                return before
            saved = self._changes.save(tx, before, after, "integration.activated", principal=principal)
            tx.commit()
        return saved

    @repeated
    def _begin(
        self, principal: Principal, integration_id: UUID, if_match: int | None, *, recipient: str | None
    ) -> Integration:
        """Store PendingValidation before the provider is asked, so that an interruption shows; Suspended stays."""
        with self._transactions.write() as tx:
            before = self.current(tx, principal, integration_id, if_match)
            check_type_enabled(before.integration_type, self._disabled_types)
            check_recipient(before.integration_type, recipient, RECIPIENT_POINTER)
            is_suspended = before.status == IntegrationStatus.Suspended
            pending = before if is_suspended else moved(before, Move.Validate, _UNFINISHED)
            wanted = early_slot(before)
            if wanted and tx.integrations.slot_holder(before.tenant_id, wanted) is not None:
                raise slot_taken(before)
            if is_suspended:
                return before
            saved = self._changes.save(tx, before, pending, "integration.validating", principal=principal)
            tx.commit()
        return saved

    @repeated
    def _conclude(
        self, principal: Principal, begun: Integration, validation: ValidationResult
    ) -> Integration:
        with self._transactions.write() as tx:
            before = self.current(tx, principal, begun.integration_id, begun.version)
            concluded = self._concluded(before, validation)
            action = f"integration.{_ACTIONS[concluded.status]}"
            saved = self._changes.save(tx, before, concluded, action, principal=principal)
            if saved.status == IntegrationStatus.Error:
                self._changes.alert(tx, "integration-error", saved, validation.detail)
            tx.commit()
        self._occurrences.flush()
        return saved

    @repeated
    def _stay(self, principal: Principal, begun: Integration, reason: str) -> None:
        """Say why it is not active, unless it changed since."""
        with self._transactions.write() as tx:
            before = tx.integrations.get(principal.tenant_id, begun.integration_id)
            if before.version != begun.version:
                return
            action = f"integration.{_ACTIONS[before.status]}"
            self._changes.save(tx, before, replace(before, reason=reason), action, principal=principal)
            self._changes.log(tx, before, reason, level=LogLevel.Warning, principal=principal)
            tx.commit()

    def _concluded(self, before: Integration, validation: ValidationResult) -> Integration:
        if validation.succeeded:
            return self.validated(activated(before), validation)
        if before.status == IntegrationStatus.Suspended:
            return replace(before, reason=validation.detail)
        if validation.stage == "test" and before.integration_type == IntegrationType.PaymentGateway:
            if validation.failure is not None and validation.failure.nothing_charged:
                return moved(before, Move.Validate, validation.detail)
            # A charge may stand whose reversal failed: a person has to look.
            return moved(before, Move.Fail, validation.detail)
        if validation.stage == "authorization" or validation.is_temporary or validation.cause is not None:
            return moved(before, Move.Validate, validation.detail)
        return moved(before, Move.Refuse, validation.detail)

    def validated(self, integration: Integration, validation: ValidationResult) -> Integration:
        """Return the integration with the account that a successful validation found."""
        check, sealed, account = validation.check, None, None
        if check is not None:
            shown = {name: value for name, value in asdict(check).items() if name != "identity"}
            sealed = self._credential_store.seal(integration.integration_id, json.dumps(shown))
            account = provider_hash(integration.provider, check.identity or check.account)
        return replace(
            integration, validated_at=self._clock.now(), sealed_account=sealed, account_hash=account
        )

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


_EMPTY = '{"plain":{},"secrets":[]}'
_ACTIONS = {
    IntegrationStatus.Active: "activated",
    IntegrationStatus.Draft: "refused",
    IntegrationStatus.PendingValidation: "pending",
    IntegrationStatus.Error: "failed",
    IntegrationStatus.Suspended: "not-resumed",
}
