"""Reading what providers send: documented fields, or a ProviderFailure(kind="malformed")."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from domain.integrations.providers import Capability, ProviderFailure, ProviderResponse, TestOptions

_TYPE_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_TYPE_MAX = 100
_FORM_FIELDS_MAX = 1000

#: What every payment, e-mail and SMS provider here can do.
CAPABILITIES = frozenset(
    (Capability.ValidateCredentials, Capability.Test, Capability.Health, Capability.IncomingWebhooks)
)


def basic(username: str, password: str) -> str:
    """The value of an `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def json_object(response: ProviderResponse) -> Mapping[str, Any]:
    """The answer's body, which must be a JSON object."""
    value = response.json()
    if not isinstance(value, dict):
        raise ProviderFailure(
            "malformed", "The provider's answer is not a JSON object.", status=response.status
        )
    return value


def text(value: Any, *path: str | int) -> str:
    """The non-empty text, or number as text, at the path of names and positions."""
    found = at(value, *path)
    if isinstance(found, bool) or not isinstance(found, str | int | float) or found == "":
        raise ProviderFailure("malformed", f"What the provider sent lacks {_named(path)}.")
    return str(found)


def items(value: Any, *path: str | int) -> Sequence[Any]:
    """The list at the path."""
    found = at(value, *path)
    if not isinstance(found, list):
        raise ProviderFailure("malformed", f"What the provider sent lacks the list {_named(path)}.")
    return found


def at(value: Any, *path: str | int) -> Any:
    """What is at the path, None where it ends early."""
    for step in path:
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        elif isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def event_json(body: bytes) -> Any:
    """The JSON of a webhook whose signature was verified."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ProviderFailure("malformed", "The webhook's body is not valid JSON.") from None


def event_object(value: Any) -> Mapping[str, Any]:
    """A JSON object inside a verified webhook."""
    if not isinstance(value, dict):
        raise ProviderFailure("malformed", "The webhook's body is not a JSON object.")
    return value


def event_form(body: bytes) -> list[tuple[str, str]]:
    """The pairs of a form-encoded webhook, in order, empty values included; at most 1,000."""
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise ProviderFailure("malformed", "The webhook's body is not a valid form.") from None


def event_type(name: Any) -> str:
    """A provider's event name reduced to what events are named with; `unknown` when it has none."""
    reduced = _TYPE_OTHER.sub("_", name).strip("._-")[:_TYPE_MAX] if isinstance(name, str) else ""
    return reduced or "unknown"


def moment(value: Any) -> datetime | None:
    """An RFC 3339 text or Unix time in seconds as UTC; None when it is neither."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read.astimezone(UTC) if read.tzinfo is not None else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def recipient_of(options: TestOptions) -> str:
    """Who gets the test message. Raises ProviderFailure (rejected) when no one is named."""
    if not options.recipient:
        raise ProviderFailure("rejected", "A test of this provider needs a recipient.")
    return options.recipient


def _named(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path) or "the expected value"
