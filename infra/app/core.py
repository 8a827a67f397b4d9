"""Builds what every capability uses."""

from __future__ import annotations

from datetime import timedelta

from domain.core.idempotency import Idempotency
from domain.core.postponing import Postponement
from domain.core.tenants import KnownStandings
from infra.app.hub import Hub, builds


@builds
def idempotency(hub: Hub) -> Idempotency:
    kept = timedelta(hours=hub.settings.idempotency_hours)
    return Idempotency(hub.tables, hub.cipher, hub.clock, kept=kept)


@builds
def known_standings(hub: Hub) -> KnownStandings:
    return KnownStandings(hub.transactions, hub.clock)


@builds
def postponement(hub: Hub) -> Postponement:
    return Postponement(hub.queue, hub.clock)
