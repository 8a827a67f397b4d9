"""The composition of everything about integrations, each part built on first use."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from domain.core.ports import Cipher, Clock, IdGenerator, QueueSender, SecretStore, TableStore
from domain.core.realtime import NOBODY, Realtime
from domain.core.tracing import UNTRACED, Tracer
from domain.integrations.changes import ChangeRecorder
from domain.integrations.connection import Catalogue, Connector
from domain.integrations.credential_store import CredentialStore
from domain.integrations.credentials import CredentialService
from domain.integrations.health import HealthMonitor
from domain.integrations.health_history import HealthSamples, IntegrationHistory
from domain.integrations.health_record import HealthRecorder
from domain.integrations.lifecycle import Lifecycle
from domain.integrations.model import Integration
from domain.integrations.ports import AccessTokens
from domain.integrations.service import IntegrationService, IntegrationTester
from domain.integrations.validation import CredentialValidator
from domain.journal.occurrences import OccurrenceSender
from domain.providers.contract import ProviderHttp
from infra.app.once import once
from infra.app.settings import Settings
from infra.providers._kit.circuit import Circuits
from infra.providers.registry import all_providers
from infra.sql.transaction import SqlTransactions

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What the parts stand on."""

    settings: Settings
    transactions: SqlTransactions
    secrets: SecretStore
    cipher: Cipher
    tables: TableStore
    queue: QueueSender
    transport: Callable[[], httpx.AsyncBaseTransport]
    clock: Clock
    ids: IdGenerator
    tokens: AccessTokens
    on_disconnect: Callable[[Integration], object] | None = None
    realtime: Realtime = NOBODY
    tracer: Tracer = UNTRACED


class IntegrationParts:
    def __init__(self, adapters: Adapters, catalogue: Catalogue | None = None) -> None:
        self._with = adapters
        self._circuits = Circuits()
        self.catalogue = catalogue or Catalogue(all_providers(), adapters.settings.disabled_types)

    @once
    def credential_store(self) -> CredentialStore:
        return CredentialStore(self._with.secrets, self._with.cipher, self._with.clock)

    @once
    def connector(self) -> Connector:
        parts = self._with
        return Connector(
            self.catalogue, self.credential_store, parts.tokens, self.open_http, clock=parts.clock
        )

    @once
    def occurrences(self) -> OccurrenceSender:
        return OccurrenceSender(self._with.transactions, self._with.queue)

    @once
    def changes(self) -> ChangeRecorder:
        return ChangeRecorder(self._with.clock, self._with.ids)

    @once
    def validator(self) -> CredentialValidator:
        return CredentialValidator(self.connector)

    @once
    def lifecycle(self) -> Lifecycle:
        return Lifecycle(
            self._with.transactions,
            self.validator,
            self.credential_store,
            self.changes,
            occurrences=self.occurrences,
            clock=self._with.clock,
            disabled_types=self.catalogue.disabled_types,
            on_disconnect=self._with.on_disconnect,
        )

    @once
    def service(self) -> IntegrationService:
        return IntegrationService(
            self._with.transactions,
            self.catalogue,
            self.credential_store,
            lifecycle=self.lifecycle,
            changes=self.changes,
            clock=self._with.clock,
            ids=self._with.ids,
            allow_loopback=self._with.settings.is_development,
        )

    @once
    def credentials(self) -> CredentialService:
        return CredentialService(
            self._with.transactions,
            self.catalogue,
            self.credential_store,
            self.validator,
            lifecycle=self.lifecycle,
            changes=self.changes,
            allow_loopback=self._with.settings.is_development,
        )

    @once
    def tester(self) -> IntegrationTester:
        return IntegrationTester(
            self._with.transactions,
            self.catalogue,
            self.validator,
            lifecycle=self.lifecycle,
            changes=self.changes,
            clock=self._with.clock,
        )

    @once
    def health(self) -> HealthMonitor:
        recorder = HealthRecorder(
            self._with.transactions,
            self.catalogue,
            self.lifecycle,
            self.changes,
            ids=self._with.ids,
            realtime=self._with.realtime,
        )
        return HealthMonitor(
            self._with.transactions,
            self.connector,
            recorder,
            self._samples,
            occurrences=self.occurrences,
            clock=self._with.clock,
            concurrency=self._with.settings.health_check_concurrency,
            disabled_types=self.catalogue.disabled_types,
            tracer=self._with.tracer,
        )

    @once
    def history(self) -> IntegrationHistory:
        retention = timedelta(days=self._with.settings.integration_log_days)
        return IntegrationHistory(
            self._with.transactions, self._samples, self._with.clock, log_retention=retention
        )

    @once
    def _samples(self) -> HealthSamples:
        retention = timedelta(days=self._with.settings.health_sample_days)
        return HealthSamples(self._with.tables, retention=retention)

    def open_http(
        self, *, account: str, secrets: Collection[str], allow_tls_1_2: bool, retries: int
    ) -> ProviderHttp:
        """The way out for one integration's calls."""
        from infra.providers._kit.connection import HttpProviderConnection

        return HttpProviderConnection(
            self._with.transport(),
            # A health probe is what tells whether a host is back: nothing may hold it back.
            circuits=self._circuits if retries else Circuits(),
            clock=self._with.clock,
            account=account,
            secrets=secrets,
            allow_tls_1_2=allow_tls_1_2,
            retries=retries,
        )
