"""Use cases of OAuth: begin an authorization, show it, revoke it (UC-IM-03 steps 1-3)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from domain.core.errors import Conflict, Unavailable
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.integrations.access import reached
from domain.integrations.changes import ChangeRecorder
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus, SuspensionCause
from domain.integrations.ports import IntegrationTransaction
from domain.integrations.rules import Move, check_type_enabled, moved, status_after
from domain.journal.audit import AuditEntry
from domain.oauth.clients import OAuthClient, OAuthClients
from domain.oauth.grants import GrantStore
from domain.oauth.model import Authorization, Authorize, Grant, GrantStatus, OAuthConnection, PendingState
from domain.oauth.revocation import GrantRevoker
from domain.oauth.rules import check_redirect_after, may_authorize
from domain.oauth.states import StateStore, browser_hash, browser_name
from domain.providers.contract import IntegrationType, ProviderFailure

logger = logging.getLogger("hub.oauth")

_WITHDRAWN = "The authorisation was withdrawn."


class OAuthService:
    def __init__(
        self,
        transactions: Transactions[IntegrationTransaction],
        clients: OAuthClients,
        states: StateStore,
        grants: GrantStore,
        *,
        changes: ChangeRecorder,
        revoker: GrantRevoker,
        redirect_uri: str,
        disabled_types: Collection[IntegrationType] = (),
    ) -> None:
        self._transactions = transactions
        self._clients = clients
        self._states = states
        self._grants = grants
        self._changes = changes
        self._revoker = revoker
        self._redirect_uri = redirect_uri
        self._disabled_types = disabled_types

    def authorize(self, principal: Principal, integration_id: UUID, command: Authorize) -> Authorization:
        """Begin an authorization: return the address where the user grants access within ten minutes.

        Changes nothing else. Raises NotFound, Forbidden, Conflict (`no-oauth`, `oauth-not-configured`,
        `illegal-move`), RuleViolation (BR-IM-05), ValidationFailed, Unavailable."""
        check_redirect_after(command.redirect_after)
        integration = self._allowed(principal, integration_id)
        check_type_enabled(integration.integration_type, self._disabled_types)
        if integration.status in (IntegrationStatus.Error, IntegrationStatus.Disconnected):
            status_after(integration.status, Move.Validate)
        client = self._client(integration)
        verifier, browser = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        pending = PendingState(
            tenant_id=principal.tenant_id,
            user_id=principal.user_id,
            integration_id=integration_id,
            verifier=verifier,
            browser_hash=browser_hash(browser),
            expires_at=self._states.expiry(),
            redirect_after=command.redirect_after,
            destination=client.destination,
        )
        # A configuration without a client must be refused before anything is remembered.
        client.authorize_url(redirect_uri=self._redirect_uri, state="", verifier=verifier)
        state = self._states.begin(pending)
        url = client.authorize_url(redirect_uri=self._redirect_uri, state=state, verifier=verifier)
        return Authorization(url, pending.expires_at, browser_name(state), browser)

    def get(self, principal: Principal, integration_id: UUID) -> OAuthConnection:
        """Return the integration with its grant. Raises NotFound, Forbidden, Conflict (`no-oauth`), Unavailable."""
        with self._transactions.read() as tx:
            found = tx.integrations.get(principal.tenant_id, integration_id)
        integration = reached(principal, INTEGRATION_MANAGE, found)
        self._client(integration)
        return OAuthConnection(integration, self._grants.get(integration_id))

    def revoke(self, principal: Principal, integration_id: UUID) -> OAuthConnection:
        """Revoke the authorization and suspend the integration; does nothing when it is revoked already.

        The tokens are revoked at the provider where it has an endpoint for that and no other live grant would end with
        them, and destroyed here in any case; the integration's log says which.
        Raises NotFound, Forbidden, Conflict (`no-oauth`), PreconditionFailed, Unavailable."""
        integration = self._allowed(principal, integration_id)
        client = self._client(integration)
        grant = self._grants.get(integration_id)
        if grant is None or grant.status == GrantStatus.Revoked:
            return OAuthConnection(integration, grant)
        self._grants.begin_withdrawal(integration_id)
        integration = self._suspend(principal, integration)
        told = self._revoke_at_provider(integration, client, grant)
        self._grants.withdraw(integration_id)
        return OAuthConnection(integration, self._grants.get(integration_id), told)

    def finish_withdrawal(self, integration: Integration, grant: Grant) -> None:
        """Finish what a crash left of `revoke`. Raises StaleGrant if authorised again, Conflict, Unavailable."""
        self._grants.check(grant)
        if integration.status == IntegrationStatus.Active:
            self._suspend(None, integration)
        self._revoke_at_provider(integration, self._client(integration), grant)
        self._grants.revoke(grant)

    # -- steps --------------------------------------------------------------------------------------------

    def _allowed(self, principal: Principal, integration_id: UUID) -> Integration:
        with self._transactions.read() as tx:
            integration = tx.integrations.get(principal.tenant_id, integration_id)
        may_authorize(principal, integration)
        return integration

    def _client(self, integration: Integration) -> OAuthClient:
        try:
            return self._clients.of(integration)
        except ProviderFailure as failure:
            if failure.kind == "unavailable":
                raise Unavailable(failure.detail) from None
            raise Conflict(failure.detail, code="oauth-not-configured") from None

    @repeated
    def _suspend(self, principal: Principal | None, integration: Integration) -> Integration:
        with self._transactions.write() as tx:
            before = tx.integrations.get(integration.tenant_id, integration.integration_id)
            saved = before
            if before.status == IntegrationStatus.Active:
                suspended = replace(
                    moved(before, Move.Suspend, _WITHDRAWN),
                    suspension=SuspensionCause.Grant,
                    probe_after=None,
                    health_status=HealthStatus.Unknown,
                )
                action = "integration.suspended"
                saved = self._changes.save(tx, before, suspended, action, principal=principal)
            self._changes.log(tx, saved, _WITHDRAWN, principal=principal)
            action, target = "integration.authorization-withdrawn", saved.integration_id
            states = ({"status": integration.status.name} for integration in (before, saved))
            tx.audit.append(saved.tenant_id, AuditEntry(action, "integration", target, principal, *states))
            tx.commit()
        return saved

    def _revoke_at_provider(self, integration: Integration, client: OAuthClient, grant: Grant) -> bool | None:
        return self._revoker.revoke(integration, client, grant)
