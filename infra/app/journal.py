"""Builds the use cases of events and the audit log."""

from __future__ import annotations

from datetime import timedelta

from domain.core.tenants import KnownStandings
from domain.journal.audit_log import AuditService
from domain.journal.audit_signing import AuditHeads
from domain.journal.event_types import ReservedTypes, reserved_types
from domain.journal.hops import HopCounter
from domain.journal.occurrences import OccurrenceSender
from domain.journal.outbox import EventService
from domain.journal.usage import TenantUsageService, UsageMeter
from domain.tenants.quotas import TenantQuotas
from infra.app.hub import Hub, builds
from infra.audit_signing import holds


@builds
def event_service(hub: Hub) -> EventService:
    return EventService(
        hub.transactions,
        hub.queue,
        hub.clock,
        hub.ids,
        max_bytes=hub.settings.event_max_bytes,
        reserved=hub.use(ReservedTypes),
        hops=hub.use(HopCounter),
        standings=hub.use(KnownStandings),
        admit=hub.use(TenantQuotas).admit_events,
    )


@builds
def reserved(hub: Hub) -> ReservedTypes:
    return reserved_types(hub.catalogue.providers)


@builds
def hop_counter(hub: Hub) -> HopCounter:
    return HopCounter(hub.hop_key)


@builds
def audit_service(hub: Hub) -> AuditService:
    retention = timedelta(days=hub.settings.audit_retention_days)
    return AuditService(
        hub.transactions,
        hub.clock,
        cipher=hub.cipher,
        signer=hub.head_signer,
        checkpoints=hub.checkpoints,
        verify_signature=holds,
        retention=retention,
    )


@builds
def audit_heads(hub: Hub) -> AuditHeads:
    return AuditHeads(hub.transactions, hub.clock, signer=hub.head_signer, checkpoints=hub.checkpoints)


@builds
def occurrence_sender(hub: Hub) -> OccurrenceSender:
    return OccurrenceSender(hub.transactions, hub.queue)


@builds
def usage_meter(hub: Hub) -> UsageMeter:
    every = timedelta(seconds=hub.settings.usage_store_seconds)
    return UsageMeter(hub.transactions, hub.clock, every=every)


@builds
def tenant_usage_service(hub: Hub) -> TenantUsageService:
    settings = hub.settings
    return TenantUsageService(
        hub.transactions,
        hub.use(UsageMeter),
        hub.clock,
        hours=timedelta(days=settings.usage_days),
        months=timedelta(days=31 * settings.usage_months),
    )
