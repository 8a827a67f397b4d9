"""The spans of one attempt: what the worker did with the message, and inside it the post itself.

Both are children of the event's span, not of the fan-out's: a retry comes days after it and by another way."""

from __future__ import annotations

from contextlib import AbstractContextManager
from urllib.parse import urlsplit

from domain.ports import OutboundError, OutboundResponse
from domain.tracing import UNTRACED, AttributeValue, Span, SpanKind, Tracer, queue_attributes
from domain.webhooks.messages import WEBHOOK_DELIVERIES_QUEUE
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.ports import AttemptResult, Claimed

_PROCESS = f"process {WEBHOOK_DELIVERIES_QUEUE}"
_PORTS = {"http": 80, "https": 443}


def attempt_span(tracer: Tracer, claimed: Claimed) -> AbstractContextManager[Span]:
    """Of one attempt at a delivery."""
    if tracer is UNTRACED:
        return tracer.span(_PROCESS, SpanKind.Consumer)
    attributes = {
        **queue_attributes(WEBHOOK_DELIVERIES_QUEUE, "process"),
        "hub.webhook.id": str(claimed.endpoint.webhook_id),
        "hub.webhook.delivery.id": str(claimed.webhook_delivery_id),
        "hub.webhook.attempt": claimed.attempt_number,
        "hub.event.type": claimed.event.type,
    }
    return tracer.span(_PROCESS, SpanKind.Consumer, parent=claimed.event.traceparent, attributes=attributes)


def tell_result(span: Span, result: AttemptResult) -> None:
    """What becomes of the delivery; anything but delivered is a failure of the attempt."""
    span.set("hub.webhook.delivery.status", result.delivery_status.name)
    if result.delivery_status != DeliveryStatus.Delivered:
        span.fail(result.delivery_status.name)


def post_span(tracer: Tracer, url: str, parent: str | None) -> AbstractContextManager[Span]:
    """Of the post; its `traceparent` is what the receiver is sent. Of the address only the server: paths and queries
    of webhooks hold tokens (https://opentelemetry.io/docs/specs/semconv/http/http-spans/)."""
    if tracer is UNTRACED:
        return tracer.span("POST", SpanKind.Client)
    parts = urlsplit(url)
    attributes: dict[str, AttributeValue] = {
        "http.request.method": "POST",
        "url.scheme": parts.scheme,
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS.get(parts.scheme, 0),
    }
    return tracer.span("POST", SpanKind.Client, parent=parent, attributes=attributes)


def tell_answer(span: Span, came: OutboundResponse | OutboundError) -> None:
    """Its status, or why there is none."""
    if isinstance(came, OutboundError):
        span.fail(came.kind)
        return
    span.set("http.response.status_code", came.status)
    if came.status >= 400:
        span.fail(str(came.status))
