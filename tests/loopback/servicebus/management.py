"""Requests to `<queue>/$management`, and what they answer.

Source: "AMQP 1.0 in Azure Service Bus: request-response-based operations" (Microsoft).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proton import UNDESCRIBED, Array, Data, Message, int32

from tests.loopback.servicebus import wire
from tests.loopback.servicebus.entities import Entity, LockLost, NotThere

_MESSAGES_AT_MOST = 250

Answer = tuple[int, Any]
Operation = Callable[[Entity, dict[str, Any]], Answer]


def answer(entity: Entity, request: Message) -> Message:
    """Do what a management request asks for."""
    operation = _OPERATIONS.get(str((request.properties or {}).get("operation")))
    status, condition, body = 501, "amqp:not-implemented", None
    if operation is not None:
        try:
            (status, body), condition = operation(entity, dict(request.body or {})), None
        except LockLost:
            status, condition = 410, "com.microsoft:message-lock-lost"
        except NotThere:
            status, condition = 404, "com.microsoft:message-not-found"
    properties: dict[str, Any] = {"statusCode": int32(status), "statusDescription": condition or "OK"}
    if condition is not None:
        properties["errorCondition"] = condition
    return _reply(request, properties, body)


def _reply(request: Message, properties: dict[str, Any], body: Any) -> Message:
    return Message(
        address=request.reply_to,
        correlation_id=request.id,
        properties=properties,
        body={} if body is None else body,
    )


def _renew(entity: Entity, body: dict[str, Any]) -> Answer:
    moments = [
        wire.milliseconds(entity.renew(wire.lock_of(token))) for token in _elements(body["lock-tokens"])
    ]
    return 200, {"expirations": Array(UNDESCRIBED, Data.TIMESTAMP, *moments)}


def _peek(entity: Entity, body: dict[str, Any]) -> Answer:
    count = min(int(body["message-count"]), _MESSAGES_AT_MOST)
    found = entity.peek(int(body["from-sequence-number"]), count)
    if not found:
        return 204, None
    return 200, {"messages": [{"message": wire.encoded(stored)} for stored in found]}


def _schedule(entity: Entity, body: dict[str, Any]) -> Answer:
    numbers = []
    for each in body["messages"]:
        (message,) = wire.messages_in(bytes(each["message"]))
        numbers.append(entity.add(message, wire.scheduled_at(message)))
    return 200, {"sequence-numbers": Array(UNDESCRIBED, Data.LONG, *numbers)}


def _cancel(entity: Entity, body: dict[str, Any]) -> Answer:
    for sequence in _elements(body["sequence-numbers"]):
        entity.cancel(int(sequence))
    return 200, None


def _receive_deferred(entity: Entity, body: dict[str, Any]) -> Answer:
    taken = [entity.take_deferred(int(sequence)) for sequence in _elements(body["sequence-numbers"])]
    messages = [
        {"message": wire.encoded(stored), "lock-token": wire.token_of(str(stored.lock))} for stored in taken
    ]
    return 200, {"messages": messages}


def _update_disposition(entity: Entity, body: dict[str, Any]) -> Answer:
    for token in _elements(body["lock-tokens"]):
        lock = wire.lock_of(token)
        match str(body["disposition-status"]):
            case "completed":
                entity.complete(lock)
            case "abandoned":
                entity.abandon(lock)
            case "defered":  # the protocol's spelling
                entity.defer(lock)
            case "suspended":
                entity.kill(lock, body.get("deadletter-reason"), body.get("deadletter-description"))
    return 200, None


def _elements(value: Any) -> list[Any]:
    return list(value.elements if isinstance(value, Array) else value)


_OPERATIONS: dict[str, Operation] = {
    "com.microsoft:renew-lock": _renew,
    "com.microsoft:peek-message": _peek,
    "com.microsoft:schedule-message": _schedule,
    "com.microsoft:cancel-scheduled-message": _cancel,
    "com.microsoft:receive-by-sequence-number": _receive_deferred,
    "com.microsoft:update-disposition": _update_disposition,
}
