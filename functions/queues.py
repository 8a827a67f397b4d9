"""The Service Bus triggers.

A message that can never succeed becomes a record of the hub. While a dependency is down, the whole batch is put
off. A trigger raises only when the queue is down too, or after a day of putting off."""

from __future__ import annotations

import asyncio
import logging

import azure.functions as func

from domain.core.errors import Unavailable
from domain.webhooks.deliver import DeliveryEngine
from domain.webhooks.fan_out import DeliveryMessage, FanOut
from functions.messages import Messages, bodies_of, put_off
from infra.app.build import use

bp = func.Blueprint()
logger = logging.getLogger("hub.messages")
_CONNECTION = "ServiceBusConnection"
_MANY = func.Cardinality.MANY
#: Without it the host rewrites bodies, drops empty ones, and fails a whole batch for one that is not JSON.
_BYTES = func.DataType.BINARY


@bp.function_name("fan_out_events")
@bp.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="domain-events",
    connection=_CONNECTION,
    cardinality=_MANY,
    data_type=_BYTES,
)
def fan_out_events(messages: Messages) -> None:
    """Store the deliveries of raised events (UC-WH-02 steps 1-3)."""
    try:
        use(FanOut).handle(bodies_of(messages))
    except Unavailable as reason:
        put_off("domain-events", messages, reason)


@bp.function_name("deliver_webhooks")
@bp.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="webhook-deliveries",
    connection=_CONNECTION,
    cardinality=_MANY,
    data_type=_BYTES,
)
async def deliver_webhooks(messages: Messages) -> None:
    """Attempt deliveries (UC-WH-02 steps 4-8)."""
    parsed: list[DeliveryMessage] = []
    for body, message_id in bodies_of(messages):
        try:
            parsed.append(DeliveryMessage.of_queue(body))
        except ValueError:
            logger.error("message is not a delivery", extra={"messageId": message_id})
    try:
        deliveries = await asyncio.to_thread(use, DeliveryEngine)
        await deliveries.handle(parsed)
    except Unavailable as reason:
        await asyncio.to_thread(put_off, "webhook-deliveries", messages, reason)


@bp.function_name("raise_alerts")
@bp.service_bus_queue_trigger(
    arg_name="messages",
    queue_name="alerts",
    connection=_CONNECTION,
    cardinality=_MANY,
    data_type=_BYTES,
)
def raise_alerts(messages: Messages) -> None:
    """Log each occurrence, and raise an alert where a rule says so (sections 12.3 and 14.2)."""
    from domain.monitoring.alerts.intake import AlertIntake

    try:
        use(AlertIntake).receive(bodies_of(messages))
    except Unavailable as reason:
        put_off("alerts", messages, reason)
