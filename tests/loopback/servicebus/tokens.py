"""The tokens of `$cbs` (claims-based security): who may open a link to a queue.

Source: "Claims-based authorization" in "AMQP 1.0 in Azure Service Bus: protocol guide", and "Service Bus access
control with Shared Access Signatures" (Microsoft).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from urllib.parse import unquote

from proton import Message, int32

from tests.loopback.servicebus import wire

KEY_NAME, KEY = "loopback", "c2VjcmV0"
ENTRA_TOKEN = "a-token-of-entra"
"""Of an identity that has the right to send and to receive."""


def put_token(request: Message) -> tuple[str | None, Message]:
    """The queue, with whatever is below it, that the token is for (None: it is refused), and the answer."""
    asked = dict(request.properties or {})
    token = request.body if isinstance(request.body, str) else bytes(request.body or b"").decode()
    name = str(asked.get("name"))
    if asked.get("operation") != "put-token":
        status, why = 501, "amqp:not-implemented"
    elif not _good(token, name):
        status, why = 401, "amqp:unauthorized-access"
    else:
        status, why = 200, "OK"
    queue = wire.entity_of(name).partition("/")[0] if status == 200 else None
    answered = Message(
        address=request.reply_to,
        correlation_id=request.id,
        properties={"status-code": int32(status), "status-description": why},
        body={},
    )
    return queue, answered


def _good(token: str, name: str) -> bool:
    # The request's `type` tells nothing: the SDK calls a signature a `jwt` as well.
    scheme, _, rest = token.partition(" ")
    if scheme != "SharedAccessSignature":
        return token == ENTRA_TOKEN
    parts = dict(part.partition("=")[::2] for part in rest.split("&"))
    resource, until = parts["sr"], parts["se"]
    signed = hmac.new(KEY.encode(), f"{resource}\n{until}".encode(), hashlib.sha256).digest()
    return (
        unquote(parts["sig"]) == base64.b64encode(signed).decode()
        and parts["skn"] == KEY_NAME
        and int(until) > time.time()
        and unquote(resource).lower() == name.lower()
    )
