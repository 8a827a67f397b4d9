"""What adapters read out of providers' answers and webhooks, and how they show who they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from domain.providers.contract import Connection, ProviderFailure, ProviderResponse, SignatureRefused
from infra.providers._kit.connection import retry_after_seconds

_NOT_IN_TYPE = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_IN_CODE = re.compile(r"[^A-Za-z0-9_.-]+")
_TYPE_MAX = 100
_CODE_MAX = 80


def document(response: ProviderResponse) -> dict[str, Any]:
    """The answer as a JSON object. Raises ProviderFailure (malformed)."""
    value = response.json()
    if not isinstance(value, dict):
        raise ProviderFailure(
            "malformed", "The provider's answer is not a JSON object.", status=response.status
        )
    return value


def text_at(value: Any, *path: str | int) -> str:
    """The text, or number as text, at a path of names and positions. Raises ProviderFailure (malformed)."""
    found = value
    for step in path:
        try:
            found = found[step]
        except (KeyError, IndexError, TypeError):
            found = None
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise ProviderFailure(
            "malformed", f"The provider's answer has no {'.'.join(str(step) for step in path)}."
        )
    return str(found)


def bearer(connection: Connection) -> dict[str, str]:
    """The Authorization header (RFC 6750). Raises ProviderFailure (unauthorized) before consent was given."""
    if not connection.access_token:
        raise ProviderFailure(
            "unauthorized", "The integration has no access token: connect the account first."
        )
    return {"authorization": f"Bearer {connection.access_token}"}


def refusal_403(
    connection: Connection,
    response: ProviderResponse,
    code: str,
    *,
    unauthorized: frozenset[str] = frozenset(),
    rate_limited: frozenset[str] = frozenset(),
) -> ProviderFailure:
    """The failure behind a 403 of a provider that puts several meanings under it. `code` is the provider's own
    error code, `unauthorized` and `rate_limited` the codes that mean those."""
    shown = _NOT_IN_CODE.sub("", code)[:_CODE_MAX]
    detail = f"The provider answered 403{': ' + shown if shown else ''}."
    if code in rate_limited:
        wait = retry_after_seconds(response, connection.now)
        return ProviderFailure("rate_limited", detail, status=403, retry_after_seconds=wait)
    return ProviderFailure("unauthorized" if code in unauthorized else "forbidden", detail, status=403)


def event_type(*parts: str) -> str:
    """A provider's event name in the letters an event type may have, at most 100."""
    reduced = (_NOT_IN_TYPE.sub(".", part).strip(".") for part in parts)
    return ".".join(part for part in reduced if part)[:_TYPE_MAX] or "event"


def signed_json(body: bytes) -> Any:
    """The body of a webhook as JSON. Raises SignatureRefused: what a provider signs is always JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise SignatureRefused("The body is not valid JSON.") from None


def signed_objects(body: bytes) -> list[Mapping[str, Any]]:
    """The body of a webhook as JSON objects: a list of them, or one. Raises SignatureRefused."""
    value = signed_json(body)
    entries = value if isinstance(value, list) else [value]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SignatureRefused("The body does not hold events.")
    return entries
