"""Events about integrations (section 3.1), changes of status and health among them; live updates and traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.core.ports import IdGenerator
from domain.core.realtime import INTEGRATION_HEALTH, Realtime
from domain.core.tracing import Span, SpanKind, Tracer
from domain.core.wire import rfc3339
from domain.integrations.model import HealthStatus, Integration, IntegrationStatus
from domain.journal.event_types import HubEvent
from domain.journal.events import DomainEvent, build_event
from domain.providers.contract import IntegrationType

STATUS_CHANGED = HubEvent.IntegrationStatusChanged
HEALTH_CHANGED = HubEvent.IntegrationHealthChanged

_CONNECTED: Mapping[IntegrationType, HubEvent] = {
    IntegrationType.PaymentGateway: HubEvent.PaymentGatewayConnected,
    IntegrationType.EmailService: HubEvent.EmailServiceConnected,
    IntegrationType.SMSService: HubEvent.SMSServiceConnected,
}


def status_events(
    ids: IdGenerator, before: Integration, after: Integration, by: UUID | None, *, now: datetime
) -> list[DomainEvent]:
    """Return the events that a change raises; `by` is None when the hub made it."""
    who = str(by) if by else None
    raised = list(_specified(before, after, who))
    if before.status != after.status:
        data = {
            **_about(after),
            "integrationType": after.integration_type.name,
            "previousStatus": before.status.name,
            "status": after.status.name,
            "reason": after.reason,
            "changedBy": who,
        }
        raised.append((STATUS_CHANGED, data))
    return [_event(ids, type_, after, data, now=now) for type_, data in raised]


def health_event(
    ids: IdGenerator, integration: Integration, status: HealthStatus, detail: str | None, *, now: datetime
) -> DomainEvent:
    """Return the event of a change of health; `integration` is as it was before."""
    data = {
        **_about(integration),
        "previousHealthStatus": integration.health_status.name,
        "healthStatus": status.name,
        "reason": detail,
    }
    return _event(ids, HEALTH_CHANGED, integration, data, now=now)


def _event(
    ids: IdGenerator, type_: HubEvent, integration: Integration, data: Mapping[str, Any], *, now: datetime
) -> DomainEvent:
    tenant_id, subject = integration.tenant_id, integration.integration_id
    return build_event(type_, data, event_id=ids.new(), tenant_id=tenant_id, subject=subject, at=now)


def _specified(
    before: Integration, after: Integration, who: str | None
) -> Iterator[tuple[HubEvent, dict[str, Any]]]:
    """Yield type and data of the events of section 3.1.

    A payment gateway that is only suspended is still configured. A calendar that stops being active is disabled."""
    kind = after.integration_type
    becomes_active = after.status == IntegrationStatus.Active != before.status
    if kind == IntegrationType.CalendarSync:
        about = {"integrationId": str(after.integration_id), "calendarType": after.provider}
        if _runs(after) and not _runs(before):
            yield HubEvent.CalendarSyncEnabled, {**about, "enabledBy": who}
        elif _runs(before) and not _runs(after):
            yield HubEvent.CalendarSyncDisabled, {**about, "disabledBy": who}
    elif becomes_active and kind in _CONNECTED and before.status != IntegrationStatus.Suspended:
        yield _CONNECTED[kind], {**_about(after), "configuredBy": who}
    elif (
        kind == IntegrationType.PaymentGateway
        and after.status == IntegrationStatus.Disconnected != before.status
    ):
        yield (
            HubEvent.PaymentGatewayDisconnected,
            {**_about(after), "disconnectedBy": who, "reason": after.reason},
        )


def _runs(integration: Integration) -> bool:
    return integration.status == IntegrationStatus.Active and integration.is_enabled


def _about(integration: Integration) -> dict[str, Any]:
    return {"integrationId": str(integration.integration_id), "provider": integration.provider}


def publish_health(realtime: Realtime, integration: Integration, previous: HealthStatus) -> None:
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


def integration_span(tracer: Tracer, name: str, integration_id: UUID) -> AbstractContextManager[Span]:
    return tracer.span(
        name, SpanKind.Internal, attributes=lambda: {"hub.integration.id": str(integration_id)}
    )
