"""Incoming webhooks: decisions as pure functions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

from domain.incoming.model import IncomingEndpoint
from domain.integrations.model import Integration, IntegrationStatus
from domain.journal.event_types import prefix_of
from domain.providers.contract import IncomingRequest, IntegrationType, ProviderProfile, VerifiedEvent

BODY_MAX_BYTES = 1024 * 1024
UNREADABLE = "unreadable:"
#: Headers worth showing beside the body: what it is and who made it, nothing that authenticates it.
SHOWN_HEADERS = ("content-type", "content-encoding", "user-agent")
_HEADER_MAX = 400
_TYPE_MAX = 100
_NOT_IN_TYPE = re.compile(r"[^A-Za-z0-9._-]+")
_PLAIN_ID = re.compile(r"[\x21-\x7e]{1,200}")


def takes_webhooks(integration: Integration | None, disabled_types: Collection[IntegrationType]) -> bool:
    """Return whether it is an active, enabled integration of a type that is switched on."""
    return integration is not None and _out_of_use(integration, disabled_types) is None


def closed_because(
    integration: Integration,
    profile: ProviderProfile,
    disabled_types: Collection[IntegrationType],
    given_fields: Collection[str],
) -> str | None:
    """Return why no webhook is accepted, and what to do about it; None when webhooks are accepted."""
    if profile.webhook_scheme is None:
        return f"{profile.title} sends no webhooks."
    reasons = [_out_of_use(integration, disabled_types)]
    if missing := [f"`{name}`" for name in profile.webhook_fields if name not in given_fields]:
        reasons.append(
            f"Set {' and '.join(missing)} with PUT /api/integrations/{integration.integration_id}/credentials: "
            "without it no webhook can be verified, so none is accepted."
        )
    return " ".join(filter(None, reasons)) or None


def _out_of_use(integration: Integration, disabled_types: Collection[IntegrationType]) -> str | None:
    if integration.integration_type in disabled_types:
        return "Integrations of this type are switched off in this installation."
    if integration.status != IntegrationStatus.Active:
        return f"The integration is {integration.status.name}; webhooks are accepted while it is Active."
    if not integration.is_enabled:
        return "The integration is not enabled; set its `isEnabled` to true."
    return None


def event_type(provider: str, type_: str) -> str:
    """Return `<provider>.<type>`, in characters that an event type may have; the provider is in lower case."""
    reduced = _NOT_IN_TYPE.sub(".", type_).strip(".") or "event"
    return f"{prefix_of(provider)}.{reduced}"[:_TYPE_MAX]


def stored_event_id(event_id: str) -> str:
    """Return the provider's id, or a digest of one that is too long or holds anything but visible ASCII."""
    if _PLAIN_ID.fullmatch(event_id):
        return event_id
    return "sha256:" + hashlib.sha256(event_id.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """Return 256 random bits for the address, in characters that need no escaping."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def is_address(endpoint: IncomingEndpoint, token: str | None, now: datetime) -> bool:
    """Return whether the address with this token (None: the plain one) is current, or the previous one and valid.

    Takes as long for a wrong token as for a right one."""
    given = "" if token is None else token_hash(token)
    in_use = hmac.compare_digest(given, endpoint.token_hash or "")
    if endpoint.previous_token_hash is None or endpoint.previous_expires_at is None:
        return in_use
    before = hmac.compare_digest(given, endpoint.previous_token_hash)
    return in_use or (before and now < endpoint.previous_expires_at)


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name][:_HEADER_MAX] for name in SHOWN_HEADERS if headers.get(name)}


def id_in_inbox(event: VerifiedEvent) -> str:
    """Return the id under which an event is stored; an unreadable one is told from those that were read."""
    return f"{UNREADABLE}{event.event_id}" if event.unreadable else stored_event_id(event.event_id)


def unreadable_id(body: bytes) -> str:
    """Return the id of a verified body that could not be read; its repeats have the same."""
    return f"{UNREADABLE}{hashlib.sha256(body).hexdigest()}"


def request_text(request: IncomingRequest) -> str:
    """Return the whole request as text, not yet encrypted."""
    try:
        body = {"text": request.body.decode()}
    except UnicodeDecodeError:
        body = {"base64": base64.b64encode(request.body).decode()}
    stored = {"method": request.method, "url": request.url, "headers": dict(request.headers), "body": body}
    return json.dumps(stored, ensure_ascii=False, separators=(",", ":")).encode(errors="replace").decode()


def read_request(text: str, received_at: datetime) -> IncomingRequest:
    """Read what `request_text` wrote; the body has the same bytes."""
    stored = json.loads(text)
    body = stored["body"]
    return IncomingRequest(
        method=stored["method"],
        url=stored["url"],
        headers=stored["headers"],
        query=query_of(stored["url"]),
        body=body["text"].encode() if "text" in body else base64.b64decode(body["base64"]),
        received_at=received_at,
    )


def query_of(url: str) -> dict[str, str]:
    """Return the last value of each query parameter."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
