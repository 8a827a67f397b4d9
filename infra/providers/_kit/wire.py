"""Small pieces of requests, answers and webhooks that providers share, beside `answers`."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from domain.providers.contract import Capability, ProviderFailure, SignatureRefused, TestOptions

_FORM_FIELDS_MAX = 1000

#: What every payment, e-mail and SMS provider here can do.
CAPABILITIES = frozenset(
    (
        Capability.ValidateCredentials,
        Capability.Test,
        Capability.Health,
        Capability.IncomingWebhooks,
        Capability.Import,
    )
)


def basic(username: str, password: str) -> str:
    """The value of an `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def items(value: Any, *path: str | int) -> Sequence[Any]:
    """The list at the path. Raises ProviderFailure (malformed)."""
    found = at(value, *path)
    if not isinstance(found, list):
        named = ".".join(str(step) for step in path)
        raise ProviderFailure("malformed", f"The provider's answer has no list {named}.")
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


def signed_object(value: Any) -> Mapping[str, Any]:
    """A JSON object inside a webhook whose signature holds. Raises SignatureRefused."""
    if not isinstance(value, dict):
        raise SignatureRefused("The body is not a JSON object.")
    return value


def form_pairs(body: bytes) -> list[tuple[str, str]]:
    """The pairs of a form-encoded webhook, in order, empty values included; at most 1,000. Raises
    SignatureRefused."""
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise SignatureRefused("The body is not a valid form.") from None


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
