"""Builds the use cases of events and the audit log."""

from __future__ import annotations

from datetime import timedelta

from domain.journal.audit_log import AuditService
from domain.journal.occurrences import OccurrenceSender
from domain.journal.outbox import EventService
from infra.app.hub import Hub, builds


@builds
def event_service(hub: Hub) -> EventService:
    return EventService(
        hub.transactions, hub.queue, hub.clock, hub.ids, max_bytes=hub.settings.event_max_bytes
    )


@builds
def audit_service(hub: Hub) -> AuditService:
    retention = timedelta(days=hub.settings.audit_retention_days)
    return AuditService(hub.transactions, hub.clock, retention=retention)


@builds
def occurrence_sender(hub: Hub) -> OccurrenceSender:
    return OccurrenceSender(hub.transactions, hub.queue)
