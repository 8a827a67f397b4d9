"""The composition root: settings in, one set of adapters and services a process out, each built on first use."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from domain.apikeys.expiry import KeyConnections, KeyExpiry
from domain.apikeys.rate_limit import RateLimiter
from domain.apikeys.service import ApiKeyService, KeyPolicy
from domain.apikeys.usage import UsageService
from domain.apikeys.verifier import KeyVerificationService, KeyVerifier
from domain.authentication.intruders import IntruderWatch
from domain.authentication.key_usage_watch import KeyUsageWatch
from domain.authentication.service import Authenticator
from domain.core.errors import Unavailable
from domain.core.idempotency import Idempotency
from domain.journal.audit_log import AuditService
from domain.monitoring.metrics import MetricsService
from infra.app.adapters import Pingable
from infra.app.once import once
from infra.app.webhooks import WebhookUseCases
from infra.observability import logs

if TYPE_CHECKING:
    from infra.app.incoming import IncomingParts
    from infra.app.integrations import IntegrationParts
    from infra.app.monitoring import AlertParts, InsightParts
    from infra.app.oauth import OAuthParts
    from infra.app.privacy import PrivacyParts
    from infra.app.recommendations import RecommendationParts
    from infra.app.sync import SyncParts


class Hub(WebhookUseCases):
    """Everything one process needs. Attributes are built when first asked for, so a cold start pays only for
    what the triggered function uses."""

    @once
    def authenticator(self) -> Authenticator:
        from infra.authentication.app_service import principal_from_app_service
        from infra.authentication.factory import build_verifier

        return Authenticator(
            build_verifier(self.settings),
            self.key_verifier,
            self.transactions,
            self.clock,
            from_client_principal=lambda header: principal_from_app_service(header, self.settings),
            listeners=[self.intruder_watch.listen],
        )

    @once
    def intruder_watch(self) -> IntruderWatch:
        return IntruderWatch(self.transactions, self.clock)

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
    def key_verifier(self) -> KeyVerifier:
        return KeyVerifier(
            self.transactions,
            self.limiter,
            self.queue,
            self.clock,
            on_failure=self.settings.rate_limit_fail,
            parallel=self._table_parallelism,
            listener=self.key_usage_watch.listen,
        )

    @once
    def key_usage_watch(self) -> KeyUsageWatch:
        return KeyUsageWatch(self.transactions, self.clock, self.ids)

    @once
    def api_keys(self) -> ApiKeyService:
        settings = self.settings
        catalogue = settings.api_key_scopes.split() if settings.api_key_scopes_closed else None
        policy = KeyPolicy(settings.api_key_limit_per_tenant, catalogue)
        return ApiKeyService(self.transactions, self.clock, self.ids, policy, realtime=self.realtime)

    @once
    def key_verification(self) -> KeyVerificationService:
        return KeyVerificationService(self.key_verifier)

    @once
    def key_usage(self) -> UsageService:
        retention = timedelta(days=self.settings.api_key_usage_days)
        return UsageService(
            self.transactions,
            self.tables,
            self.limiter,
            self.clock,
            retention=retention,
            parallel=self._table_parallelism,
        )

    @once
    def key_expiry(self) -> KeyExpiry:
        return KeyExpiry(self.transactions, self.clock, self.ids, self.realtime)

    @once
    def key_connections(self) -> KeyConnections:
        return KeyConnections(self.transactions, self.clock, self.realtime)

    @once
    def audit(self) -> AuditService:
        retention = timedelta(days=self.settings.audit_retention_days)
        return AuditService(self.transactions, self.clock, retention=retention)

    @once
    def idempotency(self) -> Idempotency:
        kept = timedelta(hours=self.settings.idempotency_hours)
        return Idempotency(self.tables, self.cipher, self.clock, kept=kept)

    @once
    def oauth(self) -> OAuthParts:
        from infra.app.oauth import OAuthParts

        return OAuthParts(
            self.settings,
            self.transactions,
            self.secrets,
            self.tables,
            self.cipher,
            lambda: self.provider_transport,
            self.clock,
            lambda: self.integrations,
            tracer=self.tracer,
        )

    @once
    def integrations(self) -> IntegrationParts:
        from infra.app.integrations import Adapters, IntegrationParts

        return IntegrationParts(
            Adapters(
                settings=self.settings,
                transactions=self.transactions,
                secrets=self.secrets,
                cipher=self.cipher,
                tables=self.tables,
                queue=self.queue,
                transport=lambda: self.provider_transport,
                clock=self.clock,
                ids=self.ids,
                tokens=self.oauth,
                on_disconnect=self.oauth.forget,
                realtime=self.realtime,
                tracer=self.tracer,
            )
        )

    @once
    def incoming(self) -> IncomingParts:
        from infra.app.incoming import IncomingParts

        return IncomingParts(
            self.settings, self.transactions, self.cipher, self.clock, self.ids, self.integrations
        )

    @once
    def alerts(self) -> AlertParts:
        from infra.app.monitoring import AlertParts

        return AlertParts(
            self.settings,
            self.transactions,
            self.queue,
            self.clock,
            self.ids,
            integrations=self.integrations,
            realtime=self.realtime,
        )

    @once
    def insights(self) -> InsightParts:
        from infra.app.monitoring import InsightParts

        return InsightParts(
            self.settings,
            self.transactions,
            self.tables,
            self.limiter,
            self.clock,
            self.ids,
            key_hours=self.key_usage,
            tracer=self.tracer,
        )

    @once
    def metrics(self) -> MetricsService:
        from infra.app.queue_depths import depths_of

        return MetricsService(self.transactions, depths_of(self.queue), self.clock)

    @once
    def privacy(self) -> PrivacyParts:
        from infra.app.privacy import PrivacyParts

        return PrivacyParts(self.transactions, self.secrets, self.cipher, self.clock, self.ids)

    @once
    def sync(self) -> SyncParts:
        from infra.app.sync import SyncParts

        return SyncParts(
            self.settings,
            self.transactions,
            self.queue,
            self.cipher,
            self.clock,
            self.ids,
            self.integrations,
            self.realtime,
            suppression=self.privacy.suppression,
            tracer=self.tracer,
        )

    @once
    def recommendations(self) -> RecommendationParts:
        from infra.app.recommendations import RecommendationParts

        return RecommendationParts(self)

    def readiness(self) -> dict[str, str]:
        """Each dependency's state: `ok`, or what is wrong with it."""
        states: dict[str, str] = {}
        for name in ("database", "queue", "tables", "secrets"):
            try:
                dependency: Pingable = getattr(self, name)
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
