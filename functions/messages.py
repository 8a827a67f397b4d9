"""What the Service Bus triggers are handed: bodies, the ids that can be trusted, and putting messages off."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Final, List  # noqa: UP035

import azure.functions as func

from domain.core.errors import Unavailable
from domain.core.postponing import Postponement, Received
from infra.app.build import use

#: The worker refuses `list[...]` here: azure-functions-runtime 1.3 takes only typing's own generic.
Messages = List[func.ServiceBusMessage]  # noqa: UP006
#: The property by which a copy of a message keeps the id that the message was handled under.
MESSAGE_ID: Final = "hub-message-id"
_LONGEST = 128


def text_of(message: func.ServiceBusMessage) -> str:
    """Return the body as text; bytes that are not text must not stop the other messages."""
    return message.get_body().decode("utf-8-sig", errors="replace")


def ids_of(messages: Messages) -> list[str]:
    """Return an id for each message: never another message's, and the same when the message is delivered again.

    The host leaves the ids that are missing out of its list, and the worker reads that list by position. Where the
    last message has an id, all have their own; else each may have its neighbour's, and none is used. Such a message
    gets an id made of its sequence number, of when it was queued, and of its body."""
    given = [message.message_id or "" for message in messages]
    made = given if all(given) else _made_ids(messages)
    return [_kept_id(message) or own for message, own in zip(messages, made, strict=True)]


def bodies_of(messages: Messages) -> list[tuple[str, str]]:
    """Return the body as text and the id of each message."""
    return [(text_of(message), own) for message, own in zip(messages, ids_of(messages), strict=True)]


def put_off(queue: str, messages: Messages, reason: Unavailable) -> None:
    """Send the messages again for later. Raises Unavailable."""
    received = [
        Received(
            body,
            own,
            {**{str(name): str(value) for name, value in _properties(message).items()}, MESSAGE_ID: own},
        )
        for message, (body, own) in zip(messages, bodies_of(messages), strict=True)
    ]
    use(Postponement).put_off(queue, received, reason)


def _properties(message: func.ServiceBusMessage) -> dict[str, object]:
    return message.application_properties or message.user_properties or {}


def _kept_id(message: func.ServiceBusMessage) -> str | None:
    kept = _properties(message).get(MESSAGE_ID)
    return kept if isinstance(kept, str) and 0 < len(kept) <= _LONGEST else None


def _made_ids(messages: Messages) -> list[str]:
    made = [f"unnamed-{_digest(message)}" for message in messages]
    repeats: Counter[str] = Counter()
    for index, own in enumerate(made):
        repeats[own] += 1
        if repeats[own] > 1:
            made[index] = f"{own}-{repeats[own]}"
    return made


def _digest(message: func.ServiceBusMessage) -> str:
    about = f"{message.sequence_number} {message.enqueued_time_utc}\n"
    return hashlib.sha256(about.encode() + message.get_body()).hexdigest()
