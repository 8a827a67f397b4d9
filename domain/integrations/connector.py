"""From a stored integration to a connection that its adapter can use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from domain.errors import NotFound
from domain.integrations.configuration import Split
from domain.integrations.model import Integration, IntegrationType
from domain.integrations.ports import AccessTokens, OpenHttp
from domain.integrations.providers import Connection, Provider, ProviderFailure
from domain.integrations.vault import SecretsMissing, Vault
from domain.ports import Clock


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every adapter by provider name, and the types that are switched off (section 16.2)."""

    providers: Mapping[str, Provider]
    disabled_types: Collection[IntegrationType] = ()

    def get(self, name: str) -> Provider:
        """Raises NotFound."""
        if name not in self.providers:
            raise NotFound("There is no such provider; see GET /api/providers.")
        return self.providers[name]


class Connector:
    """Opens connections. Its methods read the secret store and may fetch an OAuth token: not for an event loop."""

    def __init__(
        self, catalogue: Catalogue, vault: Vault, tokens: AccessTokens, open_http: OpenHttp, clock: Clock
    ) -> None:
        self._catalogue = catalogue
        self._vault = vault
        self._tokens = tokens
        self._open_http = open_http
        self._clock = clock

    def connect(
        self, integration: Integration, *, retries: int = 2, split: Split | None = None
    ) -> tuple[Provider, Connection]:
        """The adapter and a connection for it; `split` stands in for the stored configuration.

        Raises ProviderFailure: `malformed` when the configuration cannot be read, `unauthorized` when an OAuth
        grant is gone. Raises Unavailable when the secret store does not answer."""
        provider = self._catalogue.get(integration.provider)
        split = split if split is not None else self._load(integration)
        try:
            configuration = provider.profile.configuration.model_validate(split.whole())
        except ValueError:
            raise ProviderFailure(
                "malformed", "The stored configuration does not fit the provider any more; save it again."
            ) from None
        token = self._token(provider, integration)
        http = self._open_http(
            account=str(integration.integration_id),
            secrets=[*split.secrets.values(), *([token] if token else [])],
            allow_tls_1_2=integration.allow_tls_1_2,
            retries=retries,
        )
        return provider, Connection(configuration, http, self._clock.now(), token)

    def awaits_authorization(self, integration: Integration) -> bool:
        """Whether the provider works by OAuth and was not authorised yet."""
        provider = self._catalogue.get(integration.provider)
        if provider.profile.oauth is None:
            return False
        return self._token(provider, integration) is None and not self._has_own_credentials(integration)

    def _has_own_credentials(self, integration: Integration) -> bool:
        """Some providers take a token of their own instead of OAuth."""
        profile = self._catalogue.get(integration.provider).profile
        stand_in = profile.oauth.stand_in_field if profile.oauth else None
        if stand_in is None:
            return False
        whole = self._load(integration).whole()
        return bool(whole.get(stand_in))

    def _token(self, provider: Provider, integration: Integration) -> str | None:
        return self._tokens.current(integration) if provider.profile.oauth is not None else None

    def _load(self, integration: Integration) -> Split:
        try:
            return self._vault.load(integration)
        except SecretsMissing:
            raise ProviderFailure(
                "malformed", "The credentials are not in the secret store; set them again."
            ) from None
        except ValueError:
            raise ProviderFailure("malformed", "The stored configuration cannot be opened.") from None
