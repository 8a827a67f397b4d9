"""From a stored integration to a connection that its adapter can use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from domain.core.errors import NotFound, Unavailable
from domain.core.ports import Clock
from domain.integrations.configuration import Split
from domain.integrations.model import Integration
from domain.integrations.ports import AccessTokens, OpenHttp
from domain.integrations.vault import SecretsMissing, Vault
from domain.providers.contract import Connection, IntegrationType, Provider, ProviderFailure, ProviderHttp


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


@dataclass(frozen=True, slots=True)
class Opened:
    """An integration's adapter with its validated configuration, secrets included."""

    provider: Provider
    configuration: Any = field(repr=False)
    http: ProviderHttp


class Opener(Protocol):
    def open(self, integration: Integration) -> Opened:
        """May read the secret store; not for an event loop. Raises NotFound, Unavailable."""


KEEP_SECONDS = 30.0
_KEPT_AT_MOST = 256


class CachedOpener:
    """Implements Opener. Only the version that is asked for is ever used, so changed credentials count at once;
    nothing is used after 30 s, and each opening drops what is older, or more than 256. Verification needs no
    OAuth token, so none is fetched."""

    def __init__(
        self,
        catalogue: Catalogue,
        vault: Vault,
        open_http: OpenHttp,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._vault = vault
        self._open_http = open_http
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: dict[UUID, tuple[int, float, Opened]] = {}

    def open(self, integration: Integration) -> Opened:
        now = self._monotonic()
        kept = self._kept.get(integration.integration_id)
        if kept is not None and kept[0] == integration.version and now - kept[1] < KEEP_SECONDS:
            return kept[2]
        opened = self._read(integration)
        with self._lock:
            self._drop_old(now)
            self._kept[integration.integration_id] = (integration.version, now, opened)
        return opened

    def _read(self, integration: Integration) -> Opened:
        provider = self._catalogue.get(integration.provider)
        try:
            split = self._vault.load(integration)
            configuration = provider.profile.configuration.model_validate(split.whole())
        except (SecretsMissing, ValueError):
            raise Unavailable("The integration's configuration cannot be read at the moment.") from None
        http = self._open_http(
            account=str(integration.integration_id),
            secrets=list(split.secrets.values()),
            allow_tls_1_2=integration.allow_tls_1_2,
            retries=1,
        )
        return Opened(provider, configuration, http)

    def _drop_old(self, now: float) -> None:
        old = [key for key, (_, read_at, _) in self._kept.items() if now - read_at >= KEEP_SECONDS]
        for key in old:
            del self._kept[key]
        while len(self._kept) >= _KEPT_AT_MOST:
            del self._kept[next(iter(self._kept))]
