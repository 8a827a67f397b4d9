"""Adapters with their configuration opened, kept for some seconds so that a webhook needs no secret store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

from domain.errors import Unavailable
from domain.incoming.ports import Opened
from domain.integrations.connector import Catalogue
from domain.integrations.model import Integration
from domain.integrations.ports import OpenHttp
from domain.integrations.vault import SecretsMissing, Vault

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
