"""The composition of events and outgoing webhooks: over a process's adapters, each use case built on first use."""

from __future__ import annotations

from datetime import timedelta

from domain.core.postponing import Postponement
from domain.journal.outbox import EventService
from domain.webhooks.deliver import DeliveryEngine, DeliveryLimits
from domain.webhooks.deliveries import DeliveryService
from domain.webhooks.fan_out import FanOut
from domain.webhooks.record import DisableLimits, ResultRecorder
from domain.webhooks.service import EndpointVerifier, WebhookLimits, WebhookService
from domain.webhooks.sweep import DeliveryCleanup, RetryProcessor
from domain.webhooks.throttle import Pacer
from infra.app.adapters import ProcessAdapters
from infra.app.once import once


class WebhookUseCases(ProcessAdapters):
    @once
    def events(self) -> EventService:
        return EventService(
            self.transactions, self.queue, self.clock, self.ids, max_bytes=self.settings.event_max_bytes
        )

    @once
    def postponement(self) -> Postponement:
        return Postponement(self.queue, self.clock)

    @property
    def _expiry(self) -> timedelta:
        return timedelta(hours=self.settings.webhook_expiry_hours)

    @once
    def fan_out(self) -> FanOut:
        from domain.monitoring.alerts.intake import DisabledWebhooks
        from domain.sync.dispatch import InitialSyncs

        return FanOut(
            self.transactions,
            self.queue,
            self.clock,
            self.ids,
            events=self.events,
            expiry=self._expiry,
            consumers=[InitialSyncs(self.queue).consume, DisabledWebhooks(self.queue).consume],
            tracer=self.tracer,
        )

    @once
    def deliveries(self) -> DeliveryEngine:
        settings = self.settings
        recorder = ResultRecorder(
            self.transactions,
            self.queue,
            self.clock,
            self.ids,
            limits=DisableLimits(
                settings.webhook_disable_after_days, settings.webhook_disable_after_failures
            ),
            realtime=self.realtime,
        )
        limits = DeliveryLimits(
            concurrency=settings.delivery_concurrency,
            concurrency_per_endpoint=settings.delivery_concurrency_per_endpoint,
            handoff_seconds=settings.delivery_handoff_seconds,
            lease_margin_seconds=settings.delivery_lease_margin_seconds,
            max_retries=settings.webhook_max_retries,
            expiry=self._expiry,
        )
        pacer = Pacer(self.tables, self.clock)
        return DeliveryEngine(
            self.transactions,
            self.http,
            self.queue,
            self.cipher,
            clock=self.clock,
            ids=self.ids,
            pacer=pacer,
            recorder=recorder,
            limits=limits,
            tracer=self.tracer,
        )

    @once
    def delivery_history(self) -> DeliveryService:
        return DeliveryService(
            self.transactions,
            self.queue,
            self.deliveries,
            self.clock,
            ids=self.ids,
            expiry=self._expiry,
            lease_margin_seconds=self.settings.delivery_lease_margin_seconds,
            event_max_bytes=self.settings.event_max_bytes,
        )

    @once
    def retries(self) -> RetryProcessor:
        return RetryProcessor(self.transactions, self.queue, self.clock, self.ids)

    @once
    def cleanup(self) -> DeliveryCleanup:
        retention = timedelta(days=self.settings.webhook_retention_days)
        return DeliveryCleanup(self.transactions, self.clock, retention=retention)

    @once
    def webhooks(self) -> WebhookService:
        settings = self.settings
        verifier = EndpointVerifier(
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
        return WebhookService(
            self.transactions,
            verifier,
            self.retries,
            self.cipher,
            clock=self.clock,
            ids=self.ids,
            limits=limits,
        )
