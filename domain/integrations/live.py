"""Telling connected clients that an integration's health changed."""

from __future__ import annotations

from domain.integrations.model import HealthStatus, Integration
from domain.realtime.model import INTEGRATION_HEALTH
from domain.realtime.ports import Realtime
from domain.wire import rfc3339


def publish_health(realtime: Realtime, integration: Integration, previous: HealthStatus) -> None:
    """One `integrationHealth` for the integration as it is now."""
    checked = integration.last_health_check
    payload = {
        "integrationId": str(integration.integration_id),
        "name": integration.name,
        "status": integration.status.name,
        "healthStatus": integration.health_status.name,
        "previousHealthStatus": previous.name,
        "lastHealthCheck": rfc3339(checked) if checked else None,
    }
    realtime.publish(integration.tenant_id, INTEGRATION_HEALTH, [payload])
