"""Builds the use cases of OAuth."""

from __future__ import annotations

from domain.integrations.changes import ChangeRecorder
from domain.integrations.credential_store import CredentialStore
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.validation import CredentialValidator
from domain.oauth.clients import OAuthClients
from domain.oauth.completion import CallbackHandler
from domain.oauth.grants import GrantStore
from domain.oauth.refresh import TokenRefresher
from domain.oauth.revocation import GrantRevoker
from domain.oauth.service import OAuthService
from domain.oauth.states import StateStore
from domain.oauth.tokens import OAuthTokens
from infra.app.hub import Hub, builds
from infra.app.settings import Settings
from infra.providers._kit.token_endpoint import HttpTokenEndpoint

CALLBACK_PATH = "/api/oauth/callback"


def redirect_uri(settings: Settings) -> str:
    """Return the address that is registered with the providers."""
    return f"{settings.public_url.rstrip('/')}{CALLBACK_PATH}"


@builds
def grant_store(hub: Hub) -> GrantStore:
    return GrantStore(hub.tables, hub.secrets, hub.clock)


@builds
def state_store(hub: Hub) -> StateStore:
    return StateStore(hub.tables, hub.cipher, hub.clock)


@builds
def oauth_clients(hub: Hub) -> OAuthClients:
    endpoint = HttpTokenEndpoint(lambda: hub.provider_transport, hub.clock)
    return OAuthClients(hub.catalogue, hub.use(CredentialStore), endpoint, hub.use(OAuthApps))


@builds
def oauth_tokens(hub: Hub) -> OAuthTokens:
    def lost(integration: Integration, detail: str) -> object:
        # Asked for when it happens: the lifecycle itself is built of these tokens.
        return hub.use(Lifecycle).authentication_failed(integration, detail, is_grant=True)

    return OAuthTokens(hub.use(OAuthClients), hub.use(GrantStore), hub.clock, lost)


@builds
def grant_revoker(hub: Hub) -> GrantRevoker:
    return GrantRevoker(
        hub.transactions,
        hub.use(OAuthClients),
        hub.use(GrantStore),
        changes=hub.use(ChangeRecorder),
    )


@builds
def oauth_service(hub: Hub) -> OAuthService:
    return OAuthService(
        hub.transactions,
        hub.use(OAuthClients),
        hub.use(StateStore),
        hub.use(GrantStore),
        changes=hub.use(ChangeRecorder),
        revoker=hub.use(GrantRevoker),
        redirect_uri=redirect_uri(hub.settings),
        disabled_types=hub.catalogue.disabled_types,
    )


@builds
def callback_handler(hub: Hub) -> CallbackHandler:
    return CallbackHandler(
        hub.transactions,
        hub.use(OAuthClients),
        hub.use(StateStore),
        hub.use(GrantStore),
        lifecycle=hub.use(Lifecycle),
        validator=hub.use(CredentialValidator),
        changes=hub.use(ChangeRecorder),
        clock=hub.clock,
        redirect_uri=redirect_uri(hub.settings),
        same_browser=hub.settings.needs_same_browser,
    )


@builds
def token_refresher(hub: Hub) -> TokenRefresher:
    return TokenRefresher(
        hub.transactions,
        hub.use(GrantStore),
        hub.use(StateStore),
        hub.use(OAuthTokens),
        callback_handler=hub.use(CallbackHandler),
        finish_withdrawal=hub.use(OAuthService).finish_withdrawal,
        clean_up=hub.use(GrantRevoker).clean_up,
        clock=hub.clock,
        tracer=hub.tracer,
    )
