"""Measures of a hub with one of everything."""

from __future__ import annotations

from datetime import timedelta

from domain.integrations.model import HealthStatus, IntegrationStatus
from domain.journal.signals import Sketch, SubjectKind, Tally
from domain.monitoring.alerts.model import Severity
from domain.monitoring.metrics import (
    Backlog,
    IntegrationGroup,
    KeyTotals,
    Measures,
    StoredMeasures,
)
from domain.sync.model import SyncStatus
from domain.webhooks.model import DeliveryStatus, WebhookState
from tests.worlds.builders import FakeClock

SINCE = FakeClock().now().replace(hour=0, minute=0)


SYNC = Tally(4, 3, 1, 1, 900, {"timeout": 1}, Sketch.of([2_000, 4_000, 60_000, 7_000_000]))


MEASURES = Measures(
    taken_at=SINCE + timedelta(hours=9),
    stored=StoredMeasures(
        since=SINCE,
        signals={
            SubjectKind.Tenant: Tally(
                10, 8, 2, 1, 0, {"5xx": 1, "timeout": 1}, Sketch.of([5] * 8 + [200, 30_000])
            ),
            SubjectKind.Integration: Tally(3, 2, 1, 0, 0, {"unauthorized": 1}, Sketch.of([80, 90, 700])),
            SubjectKind.SyncFull: SYNC,
        },
        integrations={
            IntegrationGroup("Stripe", IntegrationStatus.Active, HealthStatus.Healthy): 3,
            IntegrationGroup("Stripe", IntegrationStatus.Active, HealthStatus.Unhealthy): 1,
        },
        webhooks={WebhookState.Active: 5},
        deliveries={DeliveryStatus.Retrying: 2},
        syncs={SyncStatus.Running: 1},
        alerts={Severity.Critical: 1},
        keys=KeyTotals(active=4, accepted=100, limited=7, refused=2),
        backlog=Backlog(6, SINCE + timedelta(hours=8, minutes=59)),
    ),
    queues={"domain-events": {"active": 3, "dead": 1}},
)
