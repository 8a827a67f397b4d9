"""Sign: Standard Webhooks signatures, HMAC-SHA256 (BR-WH-02); apart, so that the cryptography is audited alone.

https://www.standardwebhooks.com"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import datetime

from domain.core.wire import rfc3339
from domain.journal.event_types import EventOrigin
from domain.journal.events import DomainEvent

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix, not a secret


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body` under the decoded secret."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def signed_headers(
    secrets_: Sequence[str], message_id: str, sent_at: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers of one attempt, with one signature per secret while a secret is rotating."""
    timestamp = int(sent_at.timestamp())
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in secrets_),
    }


def event_body(event: DomainEvent) -> bytes:
    """Return the posted JSON, the same bytes on every attempt. `data` is already JSON text."""
    subject = f',"subject":{_text(event.subject)}' if event.subject is not None else ""
    origin = "" if event.origin is None else f',"origin":{_origin(event.origin)}'
    return (
        f'{{"type":{_text(event.type)},"timestamp":"{rfc3339(event.occurred_at)}",'
        f'"id":{_text(event.event_id)}{subject}{origin},"data":{event.data}}}'
    ).encode()


def _origin(origin: EventOrigin) -> str:
    told = {"kind": origin.kind.name.lower()}
    if origin.provider is not None:
        told |= {"provider": origin.provider, "integrationId": str(origin.integration_id)}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
