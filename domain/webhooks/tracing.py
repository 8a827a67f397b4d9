"""The spans of one attempt: what the worker did with the message, and inside it the post itself.

Both are children of the event's span, not of the fan-out's: a retry comes days after it and by another way."""

from __future__ import annotations

from contextlib import AbstractContextManager

from domain.tracing import Attributes, Span, SpanKind, Tracer, client_span, queue_attributes
from domain.webhooks.messages import WEBHOOK_DELIVERIES_QUEUE
from domain.webhooks.model import DeliveryStatus
from domain.webhooks.ports import AttemptResult, Claimed, Endpoint

_PROCESS = f"process {WEBHOOK_DELIVERIES_QUEUE}"


def attempt_span(tracer: Tracer, claimed: Claimed) -> AbstractContextManager[Span]:
    """Of one attempt at a delivery."""

    def attributes() -> Attributes:
        return {
            **queue_attributes(WEBHOOK_DELIVERIES_QUEUE, "process"),
            "hub.webhook.id": str(claimed.endpoint.webhook_id),
            "hub.webhook.delivery.id": str(claimed.webhook_delivery_id),
            "hub.webhook.attempt": claimed.attempt_number,
            "hub.event.type": claimed.event.type,
        }

    return tracer.span(_PROCESS, SpanKind.Consumer, parent=claimed.event.traceparent, attributes=attributes)


def post_span(tracer: Tracer, endpoint: Endpoint, parent: str | None) -> AbstractContextManager[Span]:
    """Of the post; its `traceparent` is what the receiver is sent. The webhook tells it from calls to providers."""

    def about() -> Attributes:
        return {"hub.webhook.id": str(endpoint.webhook_id)}

    return client_span(tracer, "POST", endpoint.url, parent, about)


def tell_result(span: Span, result: AttemptResult) -> None:
    """What becomes of the delivery; anything but delivered is a failure of the attempt."""
    span.set("hub.webhook.delivery.status", result.delivery_status.name)
    if result.delivery_status != DeliveryStatus.Delivered:
        span.fail(result.delivery_status.name)
