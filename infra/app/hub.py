"""The adapters of one process, and its use cases.

- Adapters are attributes. Settings alone choose them: Azure's where they name it, the embedded ones otherwise.
  `infra.app.build.build` puts others in their place.
- Use cases come from `use`. `infra/app/<room>.py` builds those of `domain/<room>`.

Both are built when first asked for, so that a cold start pays only for what the triggered function uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, get_type_hints
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.memory_budget import MemoryBudget
from domain.core.ports import Cipher, Clock, IdGenerator, QueueSender, SecretStore, TableStore
from domain.core.realtime import Realtime
from domain.core.tracing import UNTRACED, Tracer
from domain.core.transaction import Transactions
from infra.app.once import building, once
from infra.app.settings import Settings
from infra.clock import AdjustableClock, SystemClock, Uuid7Generator

if TYPE_CHECKING:
    import httpx

    from domain.apikeys.rate_limit import SerialTables
    from domain.core.ports import OutboundHttp
    from domain.integrations.connection import Catalogue
    from domain.integrations.ports import AccessTokens, OpenHttp
    from domain.journal.audit_heads import Checkpoints, HeadSigner
    from domain.journal.hops import HopKey
    from domain.journal.ports import EventRef
    from domain.journal.usage import UsageCounts
    from domain.monitoring.alerts.ports import DeadLetterCounts, Notifier
    from domain.monitoring.dead_letters import DeadLetterBox
    from domain.monitoring.metrics import QueueDepths
    from domain.providers.untrusted import UntrustedWork
    from domain.recommendations.ai import LanguageModel
    from domain.recommendations.ports import Providers
    from infra.outbound.transport import OutboundSender
    from infra.sql.engine import Database
    from infra.sql.transaction import SqlTransaction

    class HubHttp(OutboundHttp, OutboundSender, Protocol): ...

    class HubQueue(QueueSender, DeadLetterBox, DeadLetterCounts, QueueDepths, Protocol):
        def ping(self) -> None: ...

    class HubTables(TableStore, Protocol):
        """`parallelism` is how many calls at the same time are faster than one after another."""

        parallelism: int

        @property
        def serial(self) -> SerialTables | None:
            """The store as one that can lock, or None."""

        def ping(self) -> None: ...

    class HubSecrets(SecretStore, Protocol):
        def ping(self) -> None: ...


T = TypeVar("T")

_builders: dict[type, Callable[[Hub], Any]] = {}


def builds(builder: Callable[[Hub], T]) -> Callable[[Hub], T]:
    """Register the function that builds what its return annotation names."""
    _builders[get_type_hints(builder)["return"]] = builder
    return builder


class Hub:
    """`given` are adapters by attribute name; None leaves the choice to the settings."""

    def __init__(self, settings: Settings, given: dict[str, object] | None = None) -> None:
        self.settings = settings
        self._use_cases: dict[type, Any] = {}
        # As if the attribute had been asked for already.
        self.__dict__.update(
            {name: adapter for name, adapter in (given or {}).items() if adapter is not None}
        )

    def use(self, use_case: type[T]) -> T:
        """Return this hub's one instance of a use case, or of what a use case consists of."""
        if use_case not in self._use_cases:
            with building:
                if use_case not in self._use_cases:
                    self._use_cases[use_case] = _builder_of(use_case)(self)
        return cast(T, self._use_cases[use_case])

    @once
    def clock(self) -> Clock:
        return (
            AdjustableClock(self.settings.home / "clock") if self.settings.is_development else SystemClock()
        )

    @once
    def bodies(self) -> MemoryBudget:
        """Return what request bodies may take up in this process."""
        return MemoryBudget(self.settings.bodies_max_bytes)

    @once
    def ids(self) -> IdGenerator:
        return Uuid7Generator()

    @once
    def database(self) -> Database:
        from infra.sql.engine import DATABASE_FILE, sql_server_database, sqlite_database

        if self.settings.sql_connection is not None:
            return sql_server_database(
                self.settings.sql_connection.get_secret_value(),
                pool_size=self.settings.sql_pool_size,
                client_id=self.settings.managed_identity_client_id,
            )
        from infra.sql.migrate import upgrade_embedded

        upgrade_embedded(self.settings.home)
        return sqlite_database(self.settings.home / DATABASE_FILE, pool_size=self.settings.sql_pool_size)

    @once
    def transactions(self) -> Transactions[SqlTransaction]:
        from infra.sql.transaction import SqlTransactions

        return SqlTransactions(self.database, self.clock, self._announce, count_usage=self._count_usage)

    def _count_usage(self, tenant_id: UUID, counts: UsageCounts) -> None:
        from domain.journal.usage import UsageMeter

        self.use(UsageMeter).count(tenant_id, counts)

    def finish(self) -> None:
        """Store what only this process knows, before it ends in order."""
        from domain.journal.usage import UsageMeter

        if UsageMeter in self._use_cases:
            self.use(UsageMeter).flush()

    def _announce(self, refs: Sequence[EventRef]) -> None:
        from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, announcements

        self.queue.send(DOMAIN_EVENTS_QUEUE, announcements(refs))

    @once
    def queue(self) -> HubQueue:
        settings = self.settings
        if settings.service_bus_connection or settings.service_bus_namespace:
            from infra.azure.servicebus.queue import ServiceBusQueue

            return ServiceBusQueue(
                connection_string=settings.service_bus_connection,
                namespace=settings.service_bus_namespace,
                client_id=settings.managed_identity_client_id,
            )
        from infra.embedded.queue import EmbeddedQueue

        return EmbeddedQueue(settings.home / "queue.db", self.clock)

    @once
    def tables(self) -> HubTables:
        settings = self.settings
        if settings.tables_endpoint or settings.tables_connection:
            from infra.azure.tables.store import AzureTableStore

            return AzureTableStore(
                endpoint=settings.tables_endpoint,
                connection_string=settings.tables_connection.get_secret_value()
                if settings.tables_connection
                else None,
                client_id=settings.managed_identity_client_id,
            )
        from infra.embedded.tables import EmbeddedTableStore

        return EmbeddedTableStore(settings.home / "tables.db", self.clock)

    @once
    def secrets(self) -> HubSecrets:
        if self.settings.key_vault_url:
            from infra.azure.keyvault.store import KeyVaultSecretStore

            return KeyVaultSecretStore(
                self.settings.key_vault_url, client_id=self.settings.managed_identity_client_id
            )
        from infra.embedded.secrets import EmbeddedSecretStore

        return EmbeddedSecretStore(self.settings.home)

    @once
    def cipher(self) -> Cipher:
        from infra.sealing import SecretStoreCipher

        return SecretStoreCipher(self.secrets)

    @once
    def head_signer(self) -> HeadSigner:
        from infra.audit_signing import SecretStoreSigner

        return SecretStoreSigner(self.secrets)

    @once
    def hop_key(self) -> HopKey:
        from infra.hop_key import SecretStoreHopKey

        return SecretStoreHopKey(self.secrets)

    @once
    def checkpoints(self) -> Checkpoints:
        if self.settings.audit_checkpoints_url:
            from infra.azure.blobs.checkpoints import BlobCheckpoints

            return BlobCheckpoints(
                self.settings.audit_checkpoints_url, client_id=self.settings.managed_identity_client_id
            )
        from infra.embedded.checkpoints import EmbeddedCheckpoints

        return EmbeddedCheckpoints(self.settings.home)

    @once
    def http(self) -> HubHttp:
        from infra.outbound.client import OutboundClient

        return OutboundClient(self.settings)

    @once
    def provider_transport(self) -> httpx.AsyncBaseTransport:
        """Return the same way out, as provider adapters call it."""
        from infra.outbound.transport import OutboundTransport

        return OutboundTransport(self.http, self.tracer)

    @once
    def open_http(self) -> OpenHttp:
        from infra.providers._kit.connection import HttpProviderConnections

        return HttpProviderConnections(lambda: self.provider_transport, self.clock)

    @once
    def untrusted_work(self) -> UntrustedWork:
        from infra.untrusted.pool import WorkPool

        return WorkPool(
            processes=self.settings.parse_processes,
            seconds=self.settings.parse_seconds,
            memory_bytes=self.settings.parse_memory_mb * 1024 * 1024,
        )

    @once
    def tracer(self) -> Tracer:
        if self.settings.application_insights is None and self.settings.otlp_endpoint is None:
            return UNTRACED
        from infra.observability.exporters import tracer

        return tracer(self.settings)

    @once
    def realtime(self) -> Realtime:
        settings = self.settings
        if settings.signalr_connection or settings.signalr_endpoint:
            from infra.azure.signalr.factory import azure_signalr

            return azure_signalr(settings, self.clock)
        from infra.embedded.realtime import EmbeddedRealtime

        return EmbeddedRealtime(settings.home, settings.public_url, self.clock)

    @once
    def catalogue(self) -> Catalogue:
        from domain.integrations.connection import Catalogue
        from infra.providers.registry import all_providers

        return Catalogue(all_providers(), self.settings.disabled_types)

    @once
    def access_tokens(self) -> AccessTokens:
        from domain.oauth.tokens import OAuthTokens

        return self.use(OAuthTokens)

    @once
    def notifier(self) -> Notifier:
        from domain.integrations.service import IntegrationNotifier

        return self.use(IntegrationNotifier)

    @once
    def providers(self) -> Providers:
        from domain.sync.service import SyncService
        from infra.providers.registry import KnownProviders

        return KnownProviders(self.catalogue, lambda integration: self.use(SyncService).streams(integration))

    @once
    def language_model(self) -> LanguageModel | None:
        from infra.azure.openai.factory import language_model

        return language_model(self.settings, self.tracer)

    def readiness(self) -> dict[str, str]:
        """Return the state of each dependency: `ok`, or what is wrong with it."""
        states: dict[str, str] = {}
        for name in ("database", "queue", "tables", "secrets"):
            try:
                getattr(self, name).ping()
            except Unavailable as error:
                states[name] = error.detail
            else:
                states[name] = "ok"
        return states


def _builder_of(use_case: type[T]) -> Callable[[Hub], T]:
    """Import the room's composition when one of its use cases is first asked for."""
    room = use_case.__module__.split(".")[1]
    import_module(f"infra.app.{room}")
    return _builders[use_case]
