"""What adapters put into requests, and read out of answers and webhooks."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.etree.ElementTree import Element, ParseError, fromstring

from domain.providers.contract import (
    Capability,
    Connection,
    ProviderFailure,
    ProviderResponse,
    SignatureRefused,
)
from infra.providers._kit.connection import retry_after_seconds

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


def xml_document(response: ProviderResponse) -> Element:
    """The root element. A document type declaration is refused, and with it every entity trick (XXE, billion
    laughs); so is anything but UTF-8, in which the declaration could hide. Raises ProviderFailure (malformed)."""
    try:
        text = response.body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError
        return fromstring(text)  # noqa: S314 - no DTD reaches the parser
    except (ValueError, ParseError, RecursionError):
        raise ProviderFailure(
            "malformed", "The provider's answer is not valid XML.", status=response.status
        ) from None


def error_code(response: ProviderResponse) -> str:
    """The text of `<Code>`, as S3 and Azure Storage name an error; "" when there is none."""
    try:
        root = xml_document(response)
    except ProviderFailure:
        return ""
    return (root.findtext("Code") or "").strip()


def segment(text: str) -> str:
    """Text as one segment of a URL's path."""
    return quote(text, safe="")


def rows(answer: Any, *path: str | int) -> list[Mapping[str, Any]]:
    """The objects listed at the path. Raises ProviderFailure (malformed)."""
    found = items(answer, *path)
    if not all(isinstance(row, dict) for row in found):
        raise ProviderFailure("malformed", "The provider's list holds something that is no record.")
    return list(found)


def number_at(answer: Any, *path: str | int) -> int:
    """The whole number at the path. Raises ProviderFailure (malformed)."""
    found = at(answer, *path)
    if isinstance(found, bool) or not isinstance(found, int):
        named = ".".join(str(step) for step in path)
        raise ProviderFailure("malformed", f"The provider's answer has no number {named}.")
    return found
