"""Completing an authorization: from the provider's redirect to tokens and an active integration (UC-IM-03)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from uuid import UUID

from domain.core.errors import DomainError, NotFound, RuleViolation, Unavailable
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.ports import Clock
from domain.core.principal import Principal, RequestOrigin
from domain.core.tenants import refusal_of
from domain.core.transaction import Transactions
from domain.core.wire import rfc3339
from domain.integrations.changes import ChangeRecorder
from domain.integrations.commands import ActivateIntegration
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration, IntegrationStatus, LogLevel
from domain.integrations.ports import IntegrationTransaction
from domain.integrations.rules import MOVES, Move, moved
from domain.integrations.validation import CredentialValidator, ValidationResult
from domain.journal.audit import AuditEntry
from domain.journal.event_types import HubEvent
from domain.journal.events import build_event, derived_id
from domain.oauth.clients import OAuthClients
from domain.oauth.grants import GrantStore, StaleGrant
from domain.oauth.model import (
    Callback,
    Completion,
    CompletionStatus,
    Grant,
    GrantStatus,
    PendingState,
    Tokens,
)
from domain.oauth.rules import STATE_LIFETIME, denial, due_at, failure_of, tokens_of
from domain.oauth.states import StateRefused, StateStore, browser_name, is_same_browser
from domain.providers.contract import ProviderFailure

logger = logging.getLogger("hub.oauth")

AUTHORIZED = HubEvent.IntegrationAuthorized
_CODE_MAX = 4096
_MOVED = "An address of the integration changed since the authorisation was begun; begin it again."


class CallbackHandler:
    """Completes authorizations whose authorize request named `redirect_uri`.

    `same_browser`: True requires the cookie of the browser that began it, False refuses only a wrong cookie."""

    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        clients: OAuthClients,
        states: StateStore,
        grants: GrantStore,
        *,
        lifecycle: Lifecycle,
        validator: CredentialValidator,
        changes: ChangeRecorder,
        clock: Clock,
        redirect_uri: str,
        same_browser: bool,
    ) -> None:
        self._transactions = transactions
        self._clients = clients
        self._states = states
        self._grants = grants
        self._lifecycle = lifecycle
        self._validator = validator
        self._changes = changes
        self._clock = clock
        self._redirect_uri = redirect_uri
        self._same_browser = same_browser

    async def complete(self, callback: Callback, origin: RequestOrigin) -> Completion:
        """Complete an authorization (UC-IM-03 steps 4-6). The state is used up first.

        Raises Unavailable, and Forbidden of a suspended tenant."""
        try:
            pending = await asyncio.to_thread(self._states.take, callback.state)
            self._check_browser(pending, callback)
            integration = await asyncio.to_thread(self._integration, pending)
        except StateRefused as refused:
            logger.warning("OAuth callback refused", extra={"reason": str(refused)})
            return Completion(CompletionStatus.StateRefused, str(refused))
        principal = _principal(pending.tenant_id, pending.user_id, origin)
        try:
            exchanged = await asyncio.to_thread(self._exchange, integration, pending, callback)
            fresh, tokens, client_hash = exchanged
        except _NotGranted as reason:
            await asyncio.to_thread(self._not_authorized, principal, integration, reason.detail)
            back = pending.redirect_after
            return Completion(reason.status, reason.detail, integration, redirect_after=back)
        # Before the tokens are kept: no grant is ever in use that the audit log does not know.
        await asyncio.to_thread(self._record, principal, integration, fresh, client_hash)
        grant = await asyncio.to_thread(self._grants.establish, fresh, tokens)
        completion = await self.finish(principal, grant)
        return replace(completion, redirect_after=pending.redirect_after)

    async def finish(self, principal: Principal, grant: Grant) -> Completion:
        """Validate and activate the integration, and raise IntegrationAuthorized. Raises Unavailable.

        A repeat changes nothing twice; the timer repeats it while the provider does not answer, and after a crash."""
        integration = await asyncio.to_thread(self._current, grant)
        try:
            integration, validation = await self._activate(principal, integration)
        except Unavailable:
            raise
        except DomainError as error:
            await asyncio.to_thread(self._mark_finished, grant)
            rule = f" ({error.code})" if isinstance(error, RuleViolation) else ""
            detail = f"{error.detail}{rule}"
            return Completion(CompletionStatus.NotActivated, detail, integration, grant.scopes)
        status = CompletionStatus.Connected if validation.succeeded else CompletionStatus.NotActivated
        if validation.succeeded:
            await asyncio.to_thread(self._announce, integration, grant)
        if not validation.is_temporary:
            await asyncio.to_thread(self._mark_finished, grant)
        return Completion(status, validation.detail, integration, grant.scopes)

    async def resume(self, grant: Grant) -> Completion:
        return await self.finish(_principal(grant.tenant_id, grant.user_id, RequestOrigin()), grant)

    async def recognise(self, grant: Grant) -> None:
        """Store client and account of a grant that is older than these columns (0020). Raises DomainError."""
        integration = await asyncio.to_thread(self._current, grant)
        client = await asyncio.to_thread(self._clients.of, integration)
        await asyncio.to_thread(self._note_client, integration, client.hash)
        if integration.status == IntegrationStatus.Active:
            await self._activate(_principal(grant.tenant_id, grant.user_id, RequestOrigin()), integration)

    # -- steps --------------------------------------------------------------------------------------------

    def _note_client(self, integration: Integration, client_hash: str) -> None:
        with self._transactions.write() as tx:
            tx.integrations.note_client(integration.integration_id, client_hash)
            tx.commit()

    def _check_browser(self, pending: PendingState, callback: Callback) -> None:
        wanted = browser_name(callback.state)
        secret = next((value for name, value in callback.cookies if name == wanted), None)
        if secret is None and not self._same_browser:
            return
        if secret is None or not is_same_browser(pending, secret):
            raise StateRefused(
                "The authorisation was started in another browser, or by another user; start it again here."
            )

    def _integration(self, pending: PendingState) -> Integration:
        try:
            with self._transactions.read() as tx:
                found = tx.integrations.get(pending.tenant_id, pending.integration_id)
                refusal = refusal_of(tx.standings.of(pending.tenant_id))
        except NotFound:
            raise StateRefused("The integration does not exist any more.") from None
        if refusal is not None:
            raise refusal
        if found.status in (IntegrationStatus.Disconnected, IntegrationStatus.Error):
            raise StateRefused(f"The integration is {found.status.name} now; nothing was changed.")
        return found

    def _exchange(
        self, integration: Integration, pending: PendingState, callback: Callback
    ) -> tuple[Grant, Tokens, str]:
        if callback.error:
            raise _NotGranted(CompletionStatus.Denied, denial(callback.error))
        if not 0 < len(callback.code) <= _CODE_MAX:
            raise _NotGranted(CompletionStatus.ExchangeFailed, "The provider sent no code.")
        now = self._clock.now()
        try:
            client = self._clients.of(integration)
            if not client.may_get(pending.destination):
                raise _NotGranted(CompletionStatus.ExchangeFailed, _MOVED)
            answer = client.exchange(callback.code, pending.verifier, self._redirect_uri)
            if answer.status != 200:
                raise failure_of(answer)
            tokens = tokens_of(answer, client.profile, asked_at=now, fence=0, before=None)
        except ProviderFailure as failure:
            raise _NotGranted(CompletionStatus.ExchangeFailed, failure.detail) from None
        except Unavailable:
            raise
        except DomainError as error:
            raise _NotGranted(CompletionStatus.ExchangeFailed, error.detail) from None
        fresh = Grant(
            integration_id=integration.integration_id,
            tenant_id=integration.tenant_id,
            user_id=pending.user_id,
            status=GrantStatus.Active,
            authorized_at=now,
            expires_at=tokens.expires_at,
            # The timer takes over what a crash leaves unfinished.
            due_at=min(now + STATE_LIFETIME / 5, due_at(tokens.obtained_at, tokens.expires_at)),
            scopes=tokens.scopes,
            requested_scopes=tuple(client.profile.scopes),
            renewable=tokens.refresh_token is not None,
            destination=client.destination,
        )
        return fresh, tokens, client.hash

    def _current(self, grant: Grant) -> Integration:
        with self._transactions.read() as tx:
            return tx.integrations.get(grant.tenant_id, grant.integration_id)

    async def _activate(
        self, principal: Principal, integration: Integration
    ) -> tuple[Integration, ValidationResult]:
        if integration.status == IntegrationStatus.Active:
            validation = await self._validator.validate(integration)
            if validation.succeeded:
                confirm = self._lifecycle.reauthorized
                integration = await asyncio.to_thread(confirm, principal, integration, validation)
            return integration, validation
        result = await self._lifecycle.activate(principal, integration.integration_id, ActivateIntegration())
        assert result.validation is not None
        return result.integration, result.validation

    def _not_authorized(self, principal: Principal, integration: Integration, detail: str) -> None:
        reason = f"Authorisation failed: {detail}"
        with self._transactions.write() as tx:
            before = tx.integrations.get(integration.tenant_id, integration.integration_id)
            if Move.Validate in MOVES[before.status]:
                pending = moved(before, Move.Validate, reason)
                action = "integration.authorization-failed"
                self._changes.save(tx, before, pending, action, principal=principal)
            self._changes.log(tx, before, reason, level=LogLevel.Warning, principal=principal)
            tx.commit()

    def _record(self, principal: Principal, integration: Integration, grant: Grant, client_hash: str) -> None:
        granted = {"scopes": list(grant.scopes), "missingScopes": list(grant.missing_scopes)}
        with self._transactions.write() as tx:
            message, target = "Authorised with the provider.", integration.integration_id
            self._changes.log(tx, integration, message, details=granted, principal=principal)
            entry = AuditEntry("integration.authorized", "integration", target, principal, after=granted)
            tx.audit.append(integration.tenant_id, entry)
            tx.integrations.note_client(integration.integration_id, client_hash)
            tx.commit()

    def _announce(self, integration: Integration, grant: Grant) -> None:
        data = {
            "integrationId": str(integration.integration_id),
            "provider": integration.provider,
            "integrationType": integration.integration_type.name,
            "authorizedBy": str(grant.user_id),
            "authorizedAt": rfc3339(grant.authorized_at),
            "scopes": list(grant.scopes),
            "missingScopes": list(grant.missing_scopes),
        }
        event = build_event(
            AUTHORIZED,
            data,
            # One event an authorization, however often its end is repeated.
            event_id=derived_id(
                f"oauth-{integration.integration_id.hex}-{int(grant.authorized_at.timestamp() * 1000)}"
            ),
            tenant_id=integration.tenant_id,
            subject=integration.integration_id,
            at=self._clock.now(),
        )
        with self._transactions.write() as tx:
            tx.outbox.append([event])
            tx.commit()

    def _mark_finished(self, grant: Grant) -> None:
        """Mark it unless the integration was authorised again; a refresh meanwhile does not matter."""
        current = self._grants.get(grant.integration_id)
        while current is not None and current.authorized_at == grant.authorized_at and not current.finished:
            try:
                self._grants.change(current, _finished)
                return
            except StaleGrant:
                logger.info("grant changed while its authorization was finished, looking again")
                current = self._grants.get(grant.integration_id)
                if current is not None and current.status != GrantStatus.Active:
                    return


class _NotGranted(Exception):
    def __init__(self, ending: CompletionStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = ending
        self.detail = detail


def _finished(grant: Grant) -> Grant:
    obtained_at = grant.refreshed_at or grant.authorized_at
    due = due_at(obtained_at, grant.expires_at)
    return replace(grant, finished=True, due_at=max(due, grant.retry_at) if grant.retry_at else due)


def _principal(tenant_id: UUID, user_id: UUID, origin: RequestOrigin) -> Principal:
    """Return the user who began the authorization; permissions were checked then."""
    return Principal(tenant_id, user_id, frozenset((INTEGRATION_MANAGE,)), origin=origin)
