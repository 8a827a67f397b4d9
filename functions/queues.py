"""The Service Bus triggers.

A message that can never succeed becomes a record of the hub. While a dependency is down, the whole batch is put
off. A trigger raises only when the queue is down too, or after a day of putting off."""

from __future__ import annotations

import asyncio
import logging
from typing import List  # noqa: UP035

import azure.functions as func

from domain.core.errors import Unavailable
from domain.core.postponing import Postponement, Received
from domain.webhooks.deliver import DeliveryEngine
from domain.webhooks.fan_out import DeliveryMessage, FanOut
from infra.app.build import use

bp = func.Blueprint()
logger = logging.getLogger("hub.messages")
#: The worker refuses `list[...]` here: azure-functions-runtime 1.3 takes only typing's own generic.
Messages = List[func.ServiceBusMessage]  # noqa: UP006
_CONNECTION = "ServiceBusConnection"
_MANY = func.Cardinality.MANY


def text_of(message: func.ServiceBusMessage) -> str:
    """Return the body as text; bytes that are not text must not stop the other messages."""
    return message.get_body().decode(errors="replace")


def put_off(queue: str, messages: Messages, reason: Unavailable) -> None:
    """Send the messages again for later. Raises Unavailable."""
    received = [
        Received(
            text_of(message),
            message.message_id,
            {str(name): str(value) for name, value in (message.application_properties or {}).items()},
        )
        for message in messages
    ]
    use(Postponement).put_off(queue, received, reason)


@bp.function_name("fan_out_events")
@bp.service_bus_queue_trigger(
    arg_name="messages", queue_name="domain-events", connection=_CONNECTION, cardinality=_MANY
)
def fan_out_events(messages: Messages) -> None:
    """Store the deliveries of raised events (UC-WH-02 steps 1-3)."""
    try:
        use(FanOut).handle([(text_of(message), message.message_id) for message in messages])
    except Unavailable as reason:
        put_off("domain-events", messages, reason)


@bp.function_name("deliver_webhooks")
@bp.service_bus_queue_trigger(
    arg_name="messages", queue_name="webhook-deliveries", connection=_CONNECTION, cardinality=_MANY
)
async def deliver_webhooks(messages: Messages) -> None:
    """Attempt deliveries (UC-WH-02 steps 4-8)."""
    parsed: list[DeliveryMessage] = []
    for message in messages:
        try:
            parsed.append(DeliveryMessage.of_queue(text_of(message)))
        except ValueError:
            logger.error("message is not a delivery", extra={"messageId": message.message_id})
    try:
        deliveries = await asyncio.to_thread(use, DeliveryEngine)
        await deliveries.handle(parsed)
    except Unavailable as reason:
        await asyncio.to_thread(put_off, "webhook-deliveries", messages, reason)


@bp.function_name("raise_alerts")
@bp.service_bus_queue_trigger(
    arg_name="messages", queue_name="alerts", connection=_CONNECTION, cardinality=_MANY
)
def raise_alerts(messages: Messages) -> None:
    """Log each occurrence, and raise an alert where a rule says so (sections 12.3 and 14.2)."""
    from domain.monitoring.alerts.intake import AlertIntake

    try:
        use(AlertIntake).receive([(text_of(message), message.message_id) for message in messages])
    except Unavailable as reason:
        put_off("alerts", messages, reason)
