"""Builds the use cases of incoming webhooks."""

from __future__ import annotations

from datetime import timedelta

from domain.incoming.inbox import Inbox
from domain.incoming.receive import IncomingReceiver
from domain.incoming.retry import IncomingRetries
from domain.incoming.service import IncomingCleanup, IncomingService
from domain.integrations.connection import ConnectionCache
from domain.integrations.lifecycle import Lifecycle
from domain.journal.hops import HopCounter
from domain.sync.dispatch import PushedSyncs
from infra.app.hub import Hub, builds


@builds
def inbox(hub: Hub) -> Inbox:
    return Inbox(hub.transactions, hub.cipher, hub.ids, event_max_bytes=hub.settings.event_max_bytes)


@builds
def incoming_receiver(hub: Hub) -> IncomingReceiver:
    return IncomingReceiver(
        hub.transactions,
        hub.use(ConnectionCache),
        hub.use(Inbox),
        hub.catalogue,
        lifecycle=hub.use(Lifecycle),
        clock=hub.clock,
        hops=hub.use(HopCounter),
        on_accepted=hub.use(PushedSyncs).request,
    )


@builds
def incoming_retries(hub: Hub) -> IncomingRetries:
    return IncomingRetries(
        hub.transactions,
        hub.use(ConnectionCache),
        hub.use(Inbox),
        hub.cipher,
        lifecycle=hub.use(Lifecycle),
        clock=hub.clock,
        event_max_bytes=hub.settings.event_max_bytes,
    )


@builds
def incoming_service(hub: Hub) -> IncomingService:
    return IncomingService(hub.transactions, hub.cipher, hub.catalogue, hub.clock)


@builds
def incoming_cleanup(hub: Hub) -> IncomingCleanup:
    return IncomingCleanup(
        hub.transactions,
        hub.clock,
        retention=timedelta(days=hub.settings.webhook_retention_days),
        repeats_known_for=timedelta(days=hub.settings.incoming_repeat_days),
    )
