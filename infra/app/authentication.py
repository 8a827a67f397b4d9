"""Builds the authentication of callers, and the watch over intruders."""

from __future__ import annotations

from domain.apikeys.verifier import KeyVerifier
from domain.authentication.intruders import IntruderWatch
from domain.authentication.key_usage_watch import KeyUsageWatch
from domain.authentication.service import Authenticator, count_calls
from domain.authentication.user_limits import UserLimits
from domain.core.tenants import KnownStandings
from domain.journal.usage import UsageMeter
from domain.tenants.quotas import TenantQuotas
from infra.app.hub import Hub, builds
from infra.authentication.app_service import principal_from_app_service
from infra.authentication.factory import build_verifier


@builds
def authenticator(hub: Hub) -> Authenticator:
    return Authenticator(
        build_verifier(hub.settings),
        hub.use(KeyVerifier),
        hub.transactions,
        hub.clock,
        from_client_principal=lambda header: principal_from_app_service(header, hub.settings),
        limits=hub.use(UserLimits) if hub.settings.user_rate_limit_per_hour else None,
        listeners=[hub.use(IntruderWatch).listen, count_calls(hub.use(UsageMeter).count)],
        standings=hub.use(KnownStandings),
        gate=hub.use(TenantQuotas),
    )


@builds
def user_limits(hub: Hub) -> UserLimits:
    return UserLimits(hub.tables, hub.clock, per_hour=hub.settings.user_rate_limit_per_hour)


@builds
def intruder_watch(hub: Hub) -> IntruderWatch:
    return IntruderWatch(hub.transactions, hub.clock)


@builds
def key_usage_watch(hub: Hub) -> KeyUsageWatch:
    return KeyUsageWatch(hub.transactions, hub.clock, hub.ids)
