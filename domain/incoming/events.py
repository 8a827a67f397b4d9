"""The events that an incoming webhook raises: the provider's own, and `WebhookReceived` (section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from domain.core.wire import rfc3339
from domain.incoming.model import IncomingWebhook
from domain.journal.echoes import content_digest
from domain.journal.event_types import EventOrigin, HubEvent
from domain.journal.events import DomainEvent, build_event, derived_id, event_data

RECEIVED = HubEvent.WebhookReceived


class NotRaisable(Exception):
    """What the provider sent cannot be an event; the text says why and quotes none of it."""


def payload_of(data: Mapping[str, Any], max_bytes: int) -> str:
    """Return the provider's data as the payload of an event. Raises NotRaisable."""
    try:
        text = event_data(data)
    except (ValueError, TypeError, RecursionError):
        raise NotRaisable("The content holds a value that JSON cannot carry.") from None
    size = len(text.encode())
    if size > max_bytes:
        raise NotRaisable(
            f"The content is {size:,} bytes as an event; at most {max_bytes:,} are accepted (BR-WH-08)."
        )
    return text


def provider_event(
    webhook: IncomingWebhook, provider: str, payload: str, traceparent: str | None, *, hops: int = 0
) -> DomainEvent:
    """Return `<provider>.<type>` with the provider's own data; its subject is the integration's id.

    A retry raises it under an id of its own, so that subscribers receive it again."""
    own = str(webhook.incoming_webhook_id)
    return DomainEvent(
        event_id=own if webhook.attempts == 1 else derived_id(f"{own}.{webhook.attempts}"),
        tenant_id=webhook.tenant_id,
        type=webhook.event_type,
        data=payload,
        occurred_at=webhook.occurred_at or webhook.received_at,
        subject=str(webhook.integration_id),
        traceparent=traceparent,
        origin=EventOrigin.of_provider(provider, webhook.integration_id),
        hops=hops,
        digest=content_digest(payload),
    )


def received(webhook: IncomingWebhook, traceparent: str | None, *, hops: int = 0) -> DomainEvent:
    """Return `WebhookReceived`; its id follows from the inbox row, so that retries do not raise it again."""
    data = {
        "webhookId": str(webhook.incoming_webhook_id),
        "eventType": webhook.event_type,
        "sourceIp": webhook.source_ip,
        "receivedAt": rfc3339(webhook.received_at),
        "integrationId": str(webhook.integration_id),
        "providerEventId": webhook.provider_event_id,
    }
    event = build_event(
        RECEIVED,
        data,
        event_id=derived_id(f"{webhook.incoming_webhook_id}.received"),
        tenant_id=webhook.tenant_id,
        subject=webhook.integration_id,
        at=webhook.received_at,
        traceparent=traceparent,
    )
    return replace(event, hops=hops)
