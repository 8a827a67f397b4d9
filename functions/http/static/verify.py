# pip install standardwebhooks
from collections.abc import Callable
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


def receive(
    body: bytes, headers: dict[str, str], secret: str, handle: Callable[[Any], None]
) -> tuple[int, dict[str, Any]]:
    """Status and JSON to answer with. `body` is the raw request body, byte for byte."""
    try:
        event = Webhook(secret).verify(body, headers)  # also refuses timestamps over 5 minutes off
    except WebhookVerificationError:
        return 401, {"error": "bad signature"}
    if event["type"] == "webhook.verification":
        return 200, {"challenge": event["data"]["challenge"]}
    handle(event)  # quickly, or on a queue of your own; skip a webhook-id seen before
    return 200, {}
