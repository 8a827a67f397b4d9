"""The composition of everything about OAuth, each part built on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from domain.core.ports import Cipher, Clock, SecretStore, TableStore
from domain.core.tracing import UNTRACED, Tracer
from domain.integrations.model import Integration
from domain.oauth.clients import OAuthClients
from domain.oauth.completion import CallbackHandler
from domain.oauth.grants import GrantStore
from domain.oauth.refresh import TokenRefresher
from domain.oauth.service import OAuthService
from domain.oauth.states import StateStore
from domain.oauth.tokens import OAuthTokens
from infra.app.integrations import IntegrationParts
from infra.app.once import once
from infra.app.settings import Settings
from infra.providers._kit.token_endpoint import HttpTokenEndpoint
from infra.sql.transaction import SqlTransactions

if TYPE_CHECKING:
    import httpx

CALLBACK_PATH = "/api/oauth/callback"


class OAuthParts:
    """Implements AccessTokens too, so that integrations, whose connections need tokens, and tokens, whose loss
    suspends integrations, may be built in any order."""

    def __init__(
        self,
        settings: Settings,
        transactions: SqlTransactions,
        secrets: SecretStore,
        tables: TableStore,
        cipher: Cipher,
        transport: Callable[[], httpx.AsyncBaseTransport],
        clock: Clock,
        integrations: Callable[[], IntegrationParts],
        *,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._settings = settings
        self._transactions = transactions
        self._secrets = secrets
        self._tables = tables
        self._cipher = cipher
        self._transport = transport
        self._clock = clock
        self._integrations = integrations
        self._tracer = tracer

    def current(self, integration: Integration) -> str | None:
        """As AccessTokens says."""
        return self.tokens.current(integration)

    def forget(self, integration: Integration) -> None:
        """Destroy the tokens of an integration that was disconnected."""
        self.tokens.forget(integration)

    @property
    def redirect_uri(self) -> str:
        """What is registered with the providers."""
        return f"{self._settings.public_url.rstrip('/')}{CALLBACK_PATH}"

    @once
    def tokens(self) -> OAuthTokens:
        return OAuthTokens(self.clients, self.grants, self._clock, self._lost)

    @once
    def grants(self) -> GrantStore:
        return GrantStore(self._tables, self._secrets, self._clock)

    @once
    def states(self) -> StateStore:
        return StateStore(self._tables, self._cipher, self._clock)

    @once
    def clients(self) -> OAuthClients:
        parts = self._integrations()
        return OAuthClients(
            parts.catalogue, parts.credential_store, HttpTokenEndpoint(self._transport, self._clock)
        )

    @once
    def service(self) -> OAuthService:
        parts = self._integrations()
        return OAuthService(
            self._transactions,
            self.clients,
            self.states,
            self.grants,
            changes=parts.changes,
            redirect_uri=self.redirect_uri,
            disabled_types=parts.catalogue.disabled_types,
        )

    @once
    def callback_handler(self) -> CallbackHandler:
        parts = self._integrations()
        return CallbackHandler(
            self._transactions,
            self.clients,
            self.states,
            self.grants,
            lifecycle=parts.lifecycle,
            validator=parts.validator,
            changes=parts.changes,
            clock=self._clock,
            redirect_uri=self.redirect_uri,
            same_browser=self._settings.needs_same_browser,
        )

    @once
    def token_refresher(self) -> TokenRefresher:
        return TokenRefresher(
            self._transactions,
            self.grants,
            self.states,
            self.tokens,
            callback_handler=self.callback_handler,
            finish_withdrawal=self.service.finish_withdrawal,
            clock=self._clock,
            tracer=self._tracer,
        )

    def _lost(self, integration: Integration, detail: str) -> object:
        return self._integrations().lifecycle.authentication_failed(integration, detail, is_grant=True)
