"""Builds the use cases of API keys."""

from __future__ import annotations

from datetime import timedelta

from domain.apikeys.expiry import KeyConnections, KeyExpiry
from domain.apikeys.rate_limit import RateLimiter
from domain.apikeys.service import ApiKeyService, KeyPolicy
from domain.apikeys.usage import UsageService
from domain.apikeys.verifier import KeyVerificationService, KeyVerifier
from domain.authentication.key_usage_watch import KeyUsageWatch
from domain.core.tenants import KnownStandings
from infra.app.hub import Hub, builds


@builds
def rate_limiter(hub: Hub) -> RateLimiter:
    return RateLimiter(hub.tables, hub.clock, serial=hub.tables.serial)


@builds
def key_verifier(hub: Hub) -> KeyVerifier:
    return KeyVerifier(
        hub.transactions,
        hub.use(RateLimiter),
        hub.queue,
        hub.clock,
        on_failure=hub.settings.rate_limit_fail,
        standings=hub.use(KnownStandings),
        parallel=hub.tables.parallelism,
        listener=hub.use(KeyUsageWatch).listen,
    )


@builds
def key_verification_service(hub: Hub) -> KeyVerificationService:
    return KeyVerificationService(hub.use(KeyVerifier))


@builds
def api_key_service(hub: Hub) -> ApiKeyService:
    settings = hub.settings
    policy = KeyPolicy(
        settings.api_key_limit_per_tenant, settings.api_key_scopes.split(), settings.api_key_scopes_closed
    )
    return ApiKeyService(hub.transactions, hub.clock, hub.ids, policy, realtime=hub.realtime)


@builds
def usage_service(hub: Hub) -> UsageService:
    return UsageService(
        hub.transactions,
        hub.tables,
        hub.use(RateLimiter),
        hub.clock,
        retention=timedelta(days=hub.settings.api_key_usage_days),
        parallel=hub.tables.parallelism,
    )


@builds
def key_expiry(hub: Hub) -> KeyExpiry:
    return KeyExpiry(hub.transactions, hub.clock, hub.ids, hub.realtime)


@builds
def key_connections(hub: Hub) -> KeyConnections:
    return KeyConnections(hub.transactions, hub.clock, hub.realtime)
