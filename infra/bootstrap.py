"""The composition root: settings in, one set of adapters and services a process out, each built on first use."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from domain.anomalies.uses import KeyUses
from domain.apikeys.connections import KeyConnections
from domain.apikeys.expiry import KeyExpiry
from domain.apikeys.gate import Gate
from domain.apikeys.limiter import RateLimiter
from domain.apikeys.service import ApiKeyService, KeyPolicy
from domain.apikeys.usage import UsageService
from domain.apikeys.verification import KeyVerification
from domain.audit.service import AuditService
from domain.errors import Unavailable
from domain.idempotency import Idempotency
from domain.identity.service import Authenticator
from domain.identity.strangers import Strangers
from domain.metrics.service import MetricsService
from infra import logs
from infra.adapters import Pingable
from infra.once import once
from infra.webhooks import WebhookUseCases

if TYPE_CHECKING:
    from infra.alerts import AlertParts
    from infra.incoming import IncomingParts
    from infra.insights import InsightParts
    from infra.integrations import IntegrationParts
    from infra.oauth import OAuthParts
    from infra.privacy import PrivacyParts
    from infra.recommendations import RecommendationParts
    from infra.sync import SyncParts


class Hub(WebhookUseCases):
    """Everything one process needs. Attributes are built when first asked for, so a cold start pays only for
    what the triggered function uses."""

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
    def key_connections(self) -> KeyConnections:
        return KeyConnections(self.units, self.clock, self.realtime)

    @once
    def audit(self) -> AuditService:
        retention = timedelta(days=self.settings.audit_retention_days)
        return AuditService(self.units, self.clock, retention=retention)

    @once
    def idempotency(self) -> Idempotency:
        kept = timedelta(hours=self.settings.idempotency_hours)
        return Idempotency(self.tables, self.cipher, self.clock, kept=kept)

    @once
    def oauth(self) -> OAuthParts:
        from infra.oauth import OAuthParts

        return OAuthParts(
            self.settings,
            self.units,
            self.secrets,
            self.tables,
            self.cipher,
            self.provider_http,
            self.clock,
            lambda: self.integrations,
            tracer=self.tracer,
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
                http=self.provider_http,
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
            tracer=self.tracer,
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
            tracer=self.tracer,
        )

    @once
    def recommendations(self) -> RecommendationParts:
        from infra.recommendations import RecommendationParts

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
