"""Builds the use cases of the platform's administrators."""

from __future__ import annotations

from datetime import timedelta

from domain.apikeys.rate_limit import RateLimiter
from domain.core.tenants import KnownStandings
from domain.oauth.grants import GrantStore
from domain.privacy.suppression import SuppressionList
from domain.tenants.deletion import TenantDeleter, outside_places
from domain.tenants.quotas import TenantQuotas
from domain.tenants.service import TenantService
from infra.app.hub import Hub, builds


@builds
def tenant_service(hub: Hub) -> TenantService:
    expiry = timedelta(hours=hub.settings.webhook_expiry_hours)
    return TenantService(hub.transactions, hub.use(KnownStandings), hub.clock, expiry=expiry)


@builds
def tenant_quotas(hub: Hub) -> TenantQuotas:
    return TenantQuotas(hub.use(KnownStandings), hub.use(RateLimiter))


@builds
def tenant_deleter(hub: Hub) -> TenantDeleter:
    places = outside_places(hub, hub.use(GrantStore), hub.use(SuppressionList))
    return TenantDeleter(
        hub.transactions,
        hub.use(KnownStandings),
        places,
        hub.clock,
        platform_tenant=hub.settings.platform_tenant,
    )
