"""Builds the use cases of outgoing webhooks."""

from __future__ import annotations

from datetime import timedelta

from domain.journal.event_types import ReservedTypes
from domain.journal.hops import HopCounter
from domain.journal.outbox import EventService
from domain.monitoring.alerts.intake import DisabledWebhooks
from domain.sync.dispatch import InitialSyncs
from domain.webhooks.deliver import DeliveryEngine, DeliveryLimits
from domain.webhooks.deliveries import DeliveryService
from domain.webhooks.fan_out import FanOut
from domain.webhooks.loop_brake import LoopService, LoopWatch
from domain.webhooks.record import DisableLimits, ResultRecorder
from domain.webhooks.service import EndpointVerifier, WebhookLimits, WebhookService
from domain.webhooks.sweep import DeliveryCleanup, RetryProcessor
from domain.webhooks.throttle import Pacer
from infra.app.hub import Hub, builds
from infra.app.settings import Settings


def _expiry(settings: Settings) -> timedelta:
    return timedelta(hours=settings.webhook_expiry_hours)


@builds
def fan_out(hub: Hub) -> FanOut:
    return FanOut(
        hub.transactions,
        hub.queue,
        hub.clock,
        hub.ids,
        events=hub.use(EventService),
        loops=LoopWatch(hub.queue, hub.ids, most_a_minute=hub.settings.loop_echoes_per_minute),
        brakes=hub.use(LoopService),
        expiry=_expiry(hub.settings),
        consumers=[InitialSyncs(hub.queue).consume, DisabledWebhooks(hub.queue).consume],
        tracer=hub.tracer,
    )


@builds
def result_recorder(hub: Hub) -> ResultRecorder:
    settings = hub.settings
    limits = DisableLimits(settings.webhook_disable_after_days, settings.webhook_disable_after_failures)
    return ResultRecorder(
        hub.transactions, hub.queue, hub.clock, hub.ids, limits=limits, realtime=hub.realtime
    )


@builds
def delivery_engine(hub: Hub) -> DeliveryEngine:
    settings = hub.settings
    limits = DeliveryLimits(
        concurrency=settings.delivery_concurrency,
        concurrency_per_endpoint=settings.delivery_concurrency_per_endpoint,
        handoff_seconds=settings.delivery_handoff_seconds,
        lease_margin_seconds=settings.delivery_lease_margin_seconds,
        max_retries=settings.webhook_max_retries,
        expiry=_expiry(settings),
    )
    return DeliveryEngine(
        hub.transactions,
        hub.http,
        hub.queue,
        hub.cipher,
        clock=hub.clock,
        ids=hub.ids,
        pacer=Pacer(hub.tables, hub.clock),
        recorder=hub.use(ResultRecorder),
        limits=limits,
        hops=hub.use(HopCounter),
        tracer=hub.tracer,
    )


@builds
def delivery_service(hub: Hub) -> DeliveryService:
    return DeliveryService(
        hub.transactions,
        hub.queue,
        hub.use(DeliveryEngine),
        hub.clock,
        ids=hub.ids,
        expiry=_expiry(hub.settings),
        lease_margin_seconds=hub.settings.delivery_lease_margin_seconds,
        event_max_bytes=hub.settings.event_max_bytes,
        reserved=hub.use(ReservedTypes),
    )


@builds
def loop_service(hub: Hub) -> LoopService:
    return LoopService(hub.transactions, hub.queue, hub.clock)


@builds
def retry_processor(hub: Hub) -> RetryProcessor:
    return RetryProcessor(hub.transactions, hub.queue, hub.clock, hub.ids)


@builds
def delivery_cleanup(hub: Hub) -> DeliveryCleanup:
    retention = timedelta(days=hub.settings.webhook_retention_days)
    return DeliveryCleanup(hub.transactions, hub.clock, retention=retention)


@builds
def webhook_service(hub: Hub) -> WebhookService:
    settings = hub.settings
    verifier = EndpointVerifier(
        hub.http,
        hub.clock,
        hub.ids,
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
        hub.transactions,
        verifier,
        hub.use(RetryProcessor),
        hub.cipher,
        clock=hub.clock,
        ids=hub.ids,
        limits=limits,
    )
