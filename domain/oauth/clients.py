"""The OAuth client of an integration: its provider's authorization server, and its credentials there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from domain.core.errors import Conflict, Unavailable
from domain.integrations.configuration import read_plain
from domain.integrations.connection import Catalogue, stored_configuration, typed_configuration
from domain.integrations.credential_store import CredentialStore
from domain.integrations.destinations import bound_to, is_bound
from domain.integrations.model import Integration
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.rules import provider_hash
from domain.oauth.model import Tokens
from domain.oauth.ports import TokenEndpoint, TokenRequest, TokenResponse
from domain.oauth.rules import authorize_url, client_of, filled
from domain.providers.contract import Configuration, ProviderFailure
from domain.providers.oauth_profile import OAuthProfile


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """Calls the authorization server of one integration."""

    integration: Integration
    profile: OAuthProfile
    configuration: Configuration = field(repr=False)
    endpoint: TokenEndpoint
    #: The fields that are set and no secret; the addresses of the installation's app are not.
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def destination(self) -> Mapping[str, str]:
        """What a grant keeps of where its tokens may go."""
        return bound_to(type(self.configuration), self.plain)

    def may_get(self, bound: Mapping[str, str] | None) -> bool:
        """Return whether the tokens of a grant with this destination may be sent to where the client is configured.

        None is that of a grant from before destinations were kept."""
        return bound is None or is_bound(type(self.configuration), self.plain, bound)

    @property
    def hash(self) -> str:
        """What the client is recognised by: its id, which is one only at its authorization server.

        Anybody may configure a server of their own with the id of somebody else's client, which is no secret."""
        server = filled(self.profile.token_url, self.configuration)
        return provider_hash(self.integration.provider, f"{server} {client_of(self.configuration)[0]}")

    def authorize_url(self, *, redirect_uri: str, state: str, verifier: str) -> str:
        return authorize_url(
            self.profile, self.configuration, redirect_uri=redirect_uri, state=state, verifier=verifier
        )

    def exchange(self, code: str, verifier: str, redirect_uri: str) -> TokenResponse:
        """Exchange a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5). Raises ProviderFailure."""
        form = {"grant_type": "authorization_code", "code": code}
        form |= {"redirect_uri": redirect_uri, "code_verifier": verifier}
        return self._post(self.profile.token_url, form, secrets=(code, verifier))

    def refresh(self, refresh_token: str) -> TokenResponse:
        """Refresh the tokens (RFC 6749 section 6). Raises ProviderFailure."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._post(self.profile.token_url, form, secrets=(refresh_token,))

    def revoke(self, tokens: Tokens) -> bool | None:
        """Revoke the tokens (RFC 7009); return whether the server did, None if it cannot. Raises ProviderFailure."""
        if self.profile.revoke_url is None:
            return None
        token = tokens.refresh_token or tokens.access_token
        answer = self._post(self.profile.revoke_url, {"token": token}, secrets=(token,))
        return answer.status < 300

    def _post(self, template: str, form: dict[str, str], *, secrets: tuple[str, ...]) -> TokenResponse:
        client_id, client_secret = client_of(self.configuration)
        basic = None
        if self.profile.client_authentication == "basic":
            # RFC 6749 section 2.3.1: form-encoded first.
            basic = (quote_plus(client_id), quote_plus(client_secret))
        else:
            form |= {"client_id": client_id, "client_secret": client_secret}
        return self.endpoint.post(
            TokenRequest(
                url=filled(template, self.configuration),
                form=form,
                account=str(self.integration.integration_id),
                tenant=str(self.integration.tenant_id),
                basic=basic,
                secrets=(client_secret, *secrets),
                allow_tls_1_2=self.integration.allow_tls_1_2,
            )
        )


class OAuthClients:
    def __init__(
        self,
        catalogue: Catalogue,
        credential_store: CredentialStore,
        endpoint: TokenEndpoint,
        apps: OAuthApps,
    ) -> None:
        self._catalogue = catalogue
        self._apps = apps
        self._credential_store = credential_store
        self._endpoint = endpoint

    def of(self, integration: Integration) -> OAuthClient:
        """Return the client of an integration. Raises Conflict (`no-oauth`) for a provider without OAuth.

        Raises ProviderFailure when the configuration cannot be read or the secret store does not answer."""
        profile = self._catalogue.get(integration.provider).profile
        if profile.oauth is None:
            raise Conflict("This provider does not use OAuth and needs no authorisation.", code="no-oauth")
        try:
            stored = stored_configuration(self._credential_store, integration)
            split = self._apps.completed(profile, stored)
        except Unavailable as error:
            raise ProviderFailure("unavailable", error.detail) from error
        oauth = self._apps.oauth_of(profile, stored) or profile.oauth
        configuration = typed_configuration(profile, split)
        return OAuthClient(integration, oauth, configuration, self._endpoint, stored.plain)

    def may_get(
        self, integration: Integration, plain: Mapping[str, Any] | None, bound: Mapping[str, str] | None
    ) -> bool:
        """Return whether tokens with this destination may go where `plain`, or else what is stored, leads."""
        if bound is None:
            return True
        if plain is None:
            sealed = integration.sealed_configuration
            plain, _ = read_plain(self._credential_store.open(integration.integration_id, sealed))
        return is_bound(self._catalogue.get(integration.provider).profile.configuration, plain, bound)
