"""From a stored integration to a connection that its adapter can use."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from domain.core.errors import NotFound, Unavailable
from domain.core.ports import Clock
from domain.core.slots import TenantTurns
from domain.integrations.configuration import Split
from domain.integrations.credential_store import CredentialStore, SecretsMissing
from domain.integrations.model import Integration
from domain.integrations.oauth_apps import OAuthApps
from domain.integrations.ports import AccessTokens, OpenHttp, RenewableToken
from domain.integrations.rules import check_type_enabled
from domain.providers.contract import (
    STORED,
    Configuration,
    Connection,
    IntegrationType,
    Provider,
    ProviderFailure,
    ProviderProfile,
)
from domain.providers.untrusted import TenantWork, UntrustedWork

#: Connections that are opened at a time: a tenant alone gets half, so that a process's threads are never all taken.
_CONNECTING = 6


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every adapter by provider name, and the types that are switched off (section 16.2)."""

    providers: Mapping[str, Provider]
    disabled_types: Collection[IntegrationType] = ()

    def get(self, name: str) -> Provider:
        """Return the adapter. Raises NotFound."""
        if name not in self.providers:
            raise NotFound("There is no such provider; see GET /api/providers.")
        return self.providers[name]


def stored_configuration(store: CredentialStore, integration: Integration) -> Split:
    """Load a configuration, secrets included.

    Raises ProviderFailure (`malformed`) when it cannot be read; Unavailable when the secret store does not answer."""
    try:
        return store.load(integration)
    except SecretsMissing:
        detail = "The credentials are not in the secret store; set them again."
        raise ProviderFailure("malformed", detail) from None
    except ValueError:
        raise ProviderFailure("malformed", "The stored configuration cannot be decrypted.") from None


def typed_configuration(profile: ProviderProfile, split: Split) -> Configuration:
    """Return a stored configuration as its provider's model. Raises ProviderFailure (`malformed`)."""
    try:
        return profile.configuration.model_validate(split.whole(), context=STORED)
    except ValueError:
        detail = "The stored configuration does not fit the provider any more; save it again."
        raise ProviderFailure("malformed", detail) from None


class Connector:
    """Opens connections. Its methods read the secret store and may fetch an OAuth token: not for an event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        credential_store: CredentialStore,
        tokens: AccessTokens,
        open_http: OpenHttp,
        *,
        apps: OAuthApps,
        work: UntrustedWork,
        clock: Clock,
    ) -> None:
        self._turns = TenantTurns(_CONNECTING)
        self._work = work
        self._catalogue = catalogue
        self._credential_store = credential_store
        self._tokens = tokens
        self._open_http = open_http
        self._apps = apps
        self._clock = clock

    def connect(
        self,
        integration: Integration,
        *,
        retries: int = 2,
        split: Split | None = None,
        needs_token: bool = True,
    ) -> tuple[Provider, Connection]:
        """Return the adapter with a connection for it, of `split` instead of the stored configuration where given.

        Raises ProviderFailure: `malformed` when the configuration cannot be read, `unauthorized` when an OAuth grant
        was revoked. Raises Unavailable when the secret store does not answer."""
        provider = self._catalogue.get(integration.provider)
        split = split if split is not None else stored_configuration(self._credential_store, integration)
        plain, split = split.plain, self._apps.completed(provider.profile, split)
        configuration = typed_configuration(provider.profile, split)
        token = self._token(provider, integration, plain) if needs_token else None
        work = TenantWork(self._work, str(integration.tenant_id))
        http = self._open_http(
            account=str(integration.integration_id),
            secrets=[*split.secrets.values(), *([token] if token else [])],
            allow_tls_1_2=integration.allow_tls_1_2,
            retries=retries,
            token=RenewableToken(token, partial(self._tokens.renewed, integration)) if token else None,
            work=work,
        )
        return provider, Connection(configuration, http, self._clock.now(), token, work)

    async def connect_soon(
        self, integration: Integration, *, retries: int = 2, split: Split | None = None
    ) -> tuple[Provider, Connection]:
        """Do what `connect` does, on a thread; tenants take turns, because a token may be long in coming."""
        async with self._turns.turn(integration.tenant_id):
            return await asyncio.to_thread(self.connect, integration, retries=retries, split=split)

    def check_enabled(self, integration: Integration) -> None:
        """Raise Conflict for an integration of a type that is switched off: nobody asks its provider."""
        check_type_enabled(integration.integration_type, self._catalogue.disabled_types)

    def awaits_authorization(self, integration: Integration) -> bool:
        """Return whether the provider's OAuth has no grant, nor a token of its own that stands in, yet."""
        provider = self._catalogue.get(integration.provider)
        oauth = provider.profile.oauth
        if oauth is None or self._token(provider, integration) is not None:
            return False
        if oauth.stand_in_field is None:
            return True
        return not stored_configuration(self._credential_store, integration).whole().get(oauth.stand_in_field)

    def _token(
        self, provider: Provider, integration: Integration, plain: Mapping[str, Any] | None = None
    ) -> str | None:
        return self._tokens.current(integration, plain) if provider.profile.oauth is not None else None


KEEP_SECONDS = 30.0
_KEPT_AT_MOST = 256


class ConnectionCache:
    """Keeps connections for incoming webhooks, whose verification needs no OAuth token.

    A connection serves only the version it was opened for, so that changed credentials count at once, for 30 s at most.
    Each opening drops the older ones, and all beyond 256."""

    def __init__(self, connector: Connector, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._connector = connector
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: dict[UUID, tuple[int, float, tuple[Provider, Connection]]] = {}

    def connect(self, integration: Integration, *, now: datetime) -> tuple[Provider, Connection]:
        """Return the adapter with a connection as of `now`: not for an event loop. Raises NotFound, Unavailable."""
        moment = self._monotonic()
        version, since, opened = self._kept.get(integration.integration_id, (None, 0.0, None))
        if opened is None or version != integration.version or moment - since >= KEEP_SECONDS:
            try:
                opened = self._connector.connect(integration, retries=1, needs_token=False)
            except ProviderFailure:
                raise Unavailable("The integration's configuration cannot be read at the moment.") from None
            with self._lock:
                self._drop_old(moment)
                self._kept[integration.integration_id] = (integration.version, moment, opened)
        provider, connection = opened
        return provider, replace(connection, now=now)

    def _drop_old(self, moment: float) -> None:
        old = [key for key, (_, opened_at, _) in self._kept.items() if moment - opened_at >= KEEP_SECONDS]
        for key in old:
            del self._kept[key]
        while len(self._kept) >= _KEPT_AT_MOST:
            del self._kept[next(iter(self._kept))]
