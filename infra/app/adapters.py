"""The adapters of one process, chosen by settings alone: Azure's where they name it, the embedded ones otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from domain.core.ports import Cipher, Clock, QueueSender, SecretStore, TableStore
from domain.core.realtime import Realtime
from domain.core.tracing import UNTRACED, Tracer
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, announcements
from domain.journal.ports import EventRef
from domain.monitoring.alerts.ports import DeadLetterCounts
from infra.app.once import once
from infra.app.settings import Settings
from infra.clock import AdjustableClock, SystemClock, Uuid7Generator
from infra.sql.engine import DATABASE_FILE, Database, sql_server_database, sqlite_database
from infra.sql.transaction import SqlTransactions

if TYPE_CHECKING:
    import httpx

    from infra.outbound.client import OutboundClient


class Pingable(Protocol):
    def ping(self) -> None: ...


class PingableQueue(QueueSender, DeadLetterCounts, Pingable, Protocol): ...


class PingableTables(TableStore, Pingable, Protocol): ...


class PingableSecrets(SecretStore, Pingable, Protocol): ...


class ProcessAdapters:
    """Each is built when first asked for."""

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or Settings()
        self._clock = clock

    @once
    def clock(self) -> Clock:
        if self._clock is not None:
            return self._clock
        return (
            AdjustableClock(self.settings.home / "clock") if self.settings.is_development else SystemClock()
        )

    @once
    def ids(self) -> Uuid7Generator:
        return Uuid7Generator()

    @once
    def database(self) -> Database:
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
    def queue(self) -> PingableQueue:
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
    def tables(self) -> PingableTables:
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
    def secrets(self) -> PingableSecrets:
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
    def http(self) -> OutboundClient:
        from infra.outbound.client import OutboundClient

        return OutboundClient(self.settings)

    @once
    def provider_transport(self) -> httpx.AsyncBaseTransport:
        """The same way out, for provider adapters."""
        from infra.outbound.transport import OutboundTransport

        return OutboundTransport(self.http, self.tracer)

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
    def transactions(self) -> SqlTransactions:
        return SqlTransactions(self.database, self.clock, self._announce)

    def _announce(self, refs: Sequence[EventRef]) -> None:
        self.queue.send(DOMAIN_EVENTS_QUEUE, announcements(refs))
