"""The composition root: settings in, one set of adapters and services a process out, each built on first use."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from domain.alerts.ports import DeadLetterCounts
from domain.anomalies.uses import KeyUses
from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.gate import Gate
from domain.apikeys.limiter import RateLimiter
from domain.apikeys.service import ApiKeyService, KeyPolicy
from domain.apikeys.usage import UsageService
from domain.apikeys.verification import KeyVerification
from domain.audit.service import AuditService
from domain.errors import Unavailable
from domain.events.ports import EventRef
from domain.events.service import DOMAIN_EVENTS_QUEUE, EventService, announcements
from domain.idempotency import Idempotency
from domain.identity.service import Authenticator
from domain.identity.strangers import Strangers
from domain.metrics.service import MetricsService
from domain.ports import Cipher, Clock, OutboundHttp, QueueSender, SecretStore, TableStore
from domain.postponing import Postponement
from domain.realtime.ports import Realtime
from domain.tracing import UNTRACED, Tracer
from domain.webhooks.delivery import DeliveryEngine, DeliveryLimits
from domain.webhooks.fanout import FanOut
from domain.webhooks.history import DeliveryService
from domain.webhooks.pacing import Pacer
from domain.webhooks.recording import DisableLimits, ResultRecorder
from domain.webhooks.retry import DeliveryCleanup, RetryProcessor
from domain.webhooks.service import WebhookLimits, WebhookService
from domain.webhooks.verification import Verifier
from infra import logs
from infra.clock import AdjustableClock, SystemClock, Uuid7Generator
from infra.once import once
from infra.settings import Settings
from infra.sql.engine import DATABASE_FILE, Database, sql_server_database, sqlite_database
from infra.sql.unit_of_work import SqlUnitsOfWork

if TYPE_CHECKING:
    from infra.alerts import AlertParts
    from infra.incoming import IncomingParts
    from infra.insights import InsightParts
    from infra.integrations import IntegrationParts
    from infra.oauth import OAuthParts
    from infra.privacy import PrivacyParts
    from infra.recommendations import RecommendationParts
    from infra.sync import SyncParts


class _Pingable(Protocol):
    def ping(self) -> None: ...


class PingableQueue(QueueSender, DeadLetterCounts, _Pingable, Protocol): ...


class PingableTables(TableStore, _Pingable, Protocol): ...


class PingableSecrets(SecretStore, _Pingable, Protocol): ...


class Hub:
    """Everything one process needs. Attributes are built when first asked for, so a cold start pays only for
    what the triggered function uses."""

    def __init__(self, settings: Settings | None = None, *, clock: Clock | None = None) -> None:
        self.settings = settings or Settings()
        self._clock = clock

    # -- adapters -----------------------------------------------------------------------------------------

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
            from infra.servicebus.queue import ServiceBusQueue

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
            from infra.tables.store import AzureTableStore

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
            from infra.keyvault.store import KeyVaultSecretStore

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
    def http(self) -> OutboundHttp:
        from infra.http.client import OutboundClient

        return OutboundClient(self.settings)

    @once
    def tracer(self) -> Tracer:
        if self.settings.application_insights is None and self.settings.otlp_endpoint is None:
            return UNTRACED
        from infra.telemetry.exporters import tracer

        return tracer(self.settings)

    @once
    def realtime(self) -> Realtime:
        settings = self.settings
        if settings.signalr_connection or settings.signalr_endpoint:
            from infra.signalr.factory import azure_signalr

            return azure_signalr(settings, self.clock)
        from infra.embedded.realtime import EmbeddedRealtime

        return EmbeddedRealtime(settings.home, settings.public_url, self.clock)

    @once
    def units(self) -> SqlUnitsOfWork:
        return SqlUnitsOfWork(self.database, self.clock, self._announce)

    def _announce(self, refs: Sequence[EventRef]) -> None:
        self.queue.send(DOMAIN_EVENTS_QUEUE, announcements(refs))

    # -- use cases ----------------------------------------------------------------------------------------

    @once
    def authenticator(self) -> Authenticator:
        from infra.identity.app_service import principal_from_app_service
        from infra.identity.factory import build_verifier

        return Authenticator(
            build_verifier(self.settings),
            self.units,
            self.clock,
            from_client_principal=lambda header: principal_from_app_service(header, self.settings),
            gate=self.gate,
            strangers=self.strangers,
        )

    @once
    def strangers(self) -> Strangers:
        return Strangers(self.units)

    @once
    def limiter(self) -> RateLimiter:
        from infra.embedded.tables import EmbeddedTableStore

        tables = self.tables
        serial = tables if isinstance(tables, EmbeddedTableStore) else None
        return RateLimiter(tables, self.clock, serial=serial)

    @property
    def _table_parallelism(self) -> int:
        """The embedded store has one writer; Azure Tables is a network away."""
        remote = self.settings.tables_endpoint or self.settings.tables_connection
        return 16 if remote else 1

    @once
    def gate(self) -> Gate:
        return Gate(
            self.units,
            self.limiter,
            self.queue,
            self.clock,
            on_failure=self.settings.rate_limit_fail,
            parallel=self._table_parallelism,
            notice=self.key_uses.notice,
        )

    @once
    def key_uses(self) -> KeyUses:
        return KeyUses(self.units, self.clock, self.ids)

    @once
    def api_keys(self) -> ApiKeyService:
        settings = self.settings
        catalogue = settings.api_key_scopes.split() if settings.api_key_scopes_closed else None
        policy = KeyPolicy(settings.api_key_limit_per_tenant, catalogue)
        return ApiKeyService(self.units, self.clock, self.ids, policy, self.realtime)

    @once
    def key_verification(self) -> KeyVerification:
        return KeyVerification(self.gate)

    @once
    def key_usage(self) -> UsageService:
        retention = timedelta(days=self.settings.api_key_usage_days)
        return UsageService(
            self.units,
            self.tables,
            self.limiter,
            self.clock,
            retention=retention,
            parallel=self._table_parallelism,
        )

    @once
    def key_expiry(self) -> KeyExpiry:
        return KeyExpiry(self.units, self.clock, self.ids, self.realtime)

    @once
    def audit(self) -> AuditService:
        retention = timedelta(days=self.settings.audit_retention_days)
        return AuditService(self.units, self.clock, retention=retention)

    @once
    def idempotency(self) -> Idempotency:
        kept = timedelta(hours=self.settings.idempotency_hours)
        return Idempotency(self.tables, self.cipher, self.clock, kept=kept)

    @once
    def events(self) -> EventService:
        return EventService(
            self.units, self.queue, self.clock, self.ids, max_bytes=self.settings.event_max_bytes
        )

    @once
    def postponement(self) -> Postponement:
        return Postponement(self.queue, self.clock)

    @property
    def _expiry(self) -> timedelta:
        return timedelta(hours=self.settings.webhook_expiry_hours)

    @once
    def fan_out(self) -> FanOut:
        from domain.alerts.occurring import DisabledWebhooks
        from domain.sync.dispatch import InitialSyncs

        return FanOut(
            self.units,
            self.queue,
            self.clock,
            self.ids,
            self.events,
            expiry=self._expiry,
            consumers=[InitialSyncs(self.queue).consume, DisabledWebhooks(self.queue).consume],
            tracer=self.tracer,
        )

    @once
    def deliveries(self) -> DeliveryEngine:
        settings = self.settings
        recorder = ResultRecorder(
            self.units,
            self.queue,
            self.clock,
            self.ids,
            DisableLimits(settings.webhook_disable_after_days, settings.webhook_disable_after_failures),
            self.realtime,
        )
        limits = DeliveryLimits(
            concurrency=settings.delivery_concurrency,
            concurrency_per_endpoint=settings.delivery_concurrency_per_endpoint,
            handoff_seconds=settings.delivery_handoff_seconds,
            lease_margin_seconds=settings.delivery_lease_margin_seconds,
            max_retries=settings.webhook_max_retries,
        )
        pacer = Pacer(self.tables, self.clock)
        return DeliveryEngine(
            self.units,
            self.http,
            self.queue,
            self.cipher,
            self.clock,
            self.ids,
            pacer,
            recorder,
            limits,
            self.tracer,
        )

    @once
    def delivery_history(self) -> DeliveryService:
        return DeliveryService(
            self.units,
            self.queue,
            self.deliveries,
            self.clock,
            self.ids,
            expiry=self._expiry,
            lease_margin_seconds=self.settings.delivery_lease_margin_seconds,
        )

    @once
    def retries(self) -> RetryProcessor:
        return RetryProcessor(self.units, self.queue, self.clock, self.ids)

    @once
    def cleanup(self) -> DeliveryCleanup:
        retention = timedelta(days=self.settings.webhook_retention_days)
        return DeliveryCleanup(self.units, self.clock, retention=retention)

    @once
    def webhooks(self) -> WebhookService:
        settings = self.settings
        verifier = Verifier(
            self.http,
            self.clock,
            self.ids,
            demand=settings.webhook_verification,
            timeout_seconds=settings.webhook_verification_timeout_seconds,
        )
        limits = WebhookLimits(
            per_tenant=settings.webhook_limit_per_tenant,
            max_retries=settings.webhook_max_retries,
            secret_overlap=timedelta(hours=settings.webhook_secret_overlap_hours),
            allow_localhost=settings.is_development,
        )
        return WebhookService(self.units, verifier, self.retries, self.cipher, self.clock, self.ids, limits)

    @once
    def oauth(self) -> OAuthParts:
        from infra.oauth import OAuthParts

        return OAuthParts(
            self.settings,
            self.units,
            self.secrets,
            self.tables,
            self.cipher,
            self.http,
            self.clock,
            lambda: self.integrations,
        )

    @once
    def integrations(self) -> IntegrationParts:
        from infra.integrations import Adapters, IntegrationParts

        return IntegrationParts(
            Adapters(
                settings=self.settings,
                units=self.units,
                secrets=self.secrets,
                cipher=self.cipher,
                tables=self.tables,
                queue=self.queue,
                http=self.http,
                clock=self.clock,
                ids=self.ids,
                tokens=self.oauth,
                on_disconnect=self.oauth.forget,
                realtime=self.realtime,
            )
        )

    @once
    def incoming(self) -> IncomingParts:
        from infra.incoming import IncomingParts

        return IncomingParts(self.settings, self.units, self.cipher, self.clock, self.ids, self.integrations)

    @once
    def alerts(self) -> AlertParts:
        from infra.alerts import AlertParts

        return AlertParts(
            self.settings,
            self.units,
            self.queue,
            self.clock,
            self.ids,
            integrations=self.integrations,
            realtime=self.realtime,
        )

    @once
    def insights(self) -> InsightParts:
        from infra.insights import InsightParts

        return InsightParts(
            self.settings,
            self.units,
            self.tables,
            self.limiter,
            self.clock,
            self.ids,
            key_hours=self.key_usage,
        )

    @once
    def metrics(self) -> MetricsService:
        from infra.metrics import depths_of

        return MetricsService(self.units, depths_of(self.queue), self.clock)

    @once
    def privacy(self) -> PrivacyParts:
        from infra.privacy import PrivacyParts

        return PrivacyParts(self.units, self.secrets, self.cipher, self.clock, self.ids)

    @once
    def sync(self) -> SyncParts:
        from infra.sync import SyncParts

        return SyncParts(
            self.settings,
            self.units,
            self.queue,
            self.cipher,
            self.clock,
            self.ids,
            self.integrations,
            self.realtime,
            suppression=self.privacy.suppression,
        )

    @once
    def recommendations(self) -> RecommendationParts:
        from infra.recommendations import RecommendationParts

        return RecommendationParts(self)

    # -- operations ---------------------------------------------------------------------------------------

    def readiness(self) -> dict[str, str]:
        """Each dependency's state: `ok`, or what is wrong with it."""
        states: dict[str, str] = {}
        for name in ("database", "queue", "tables", "secrets"):
            try:
                dependency: _Pingable = getattr(self, name)
                dependency.ping()
            except Unavailable as error:
                states[name] = error.detail
            else:
                states[name] = "ok"
        return states


_lock = threading.Lock()
_hub: Hub | None = None


def hub() -> Hub:
    """The process's hub, built on first use."""
    global _hub  # noqa: PLW0603 - the one place where the process keeps its adapters
    with _lock:
        if _hub is None:
            _hub = Hub()
            logs.shape(_hub.settings.log_level)
        return _hub
