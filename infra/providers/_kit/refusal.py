"""What a provider says about a request it did not accept, made safe to show."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from domain.providers.charset import with_whole_characters
from domain.providers.contract import FailureKind, ProviderRequest, ProviderResponse
from infra.providers._kit.rate_limits import is_rate_limit

_SHOWN_MAX = 300
_READ_MAX = 64 * 1024
_DEPTH_MAX = 4
_SECRET_MIN = 4
#: A step of a secret address that is as long as this is no common word.
_PIECE_MIN = 12
_MASK = "********"

# In the order in which they say most. Names as in the error bodies of Stripe, Google and Graph (error.message),
# SendGrid, Square and Salesforce (errors[].message, errors[].detail, [].message), Postmark (Message),
# OAuth (RFC 6749 section 5.2: error_description), problem details (RFC 9457: detail, title), Vonage (error-code-label).
_MESSAGE_NAMES = (
    "error_description",
    "message",
    "Message",
    "detail",
    "error-text",
    "error_text",
    "error-code-label",
    "description",
    "title",
    "error",
    "reason",
    "code",
)
_CONTAINER_NAMES = ("error", "errors", "messages", "Error", "fault", "details")
_XML_MESSAGE = re.compile(r"<(?:\w+:)?(?:Message|message|error|Error)>([^<]{1,1000})</")
_SECRET_HEADER = re.compile(r"auth|token|key|secret|signature|cookie", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")
_CREDENTIAL_SHAPES = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*"
    r"|\b(?:sk|rk|whsec|SG|EAAA|shpat|xox[abp])[_.-][A-Za-z0-9_.*-]{8,}"
)


def failure_kind(response: ProviderResponse) -> FailureKind:
    """Return the kind of failure an unwanted answer is."""
    if is_rate_limit(response):
        return "rate_limited"
    match response.status:
        case 401:
            return "unauthorized"
        case 403:
            return "forbidden"
        case status if status >= 500:
            return "unavailable"
        case status if 200 <= status < 400:
            return "malformed"
        case _:
            return "rejected"


def describe(request: ProviderRequest, response: ProviderResponse, secrets: Iterable[str]) -> str:
    """Return one sentence: the status, and the provider's own words if its body holds some.

    It holds none of `secrets`, nor of the credentials in the request's headers."""
    said = scrub(vendor_message(response), [*secrets, *_header_secrets(request)])
    return f"The provider answered {response.status}" + (f": {said}" if said else ".")


def vendor_message(response: ProviderResponse) -> str:
    """Return the message in a provider's error body, "" when there is none. Not yet scrubbed."""
    text = replace(response, body=response.body[:_READ_MAX], missing=None).text().strip()
    if not text:
        return ""
    try:
        found = next(_messages(with_whole_characters(json.loads(text)), 0), "")
    except (ValueError, RecursionError):
        match = _XML_MESSAGE.search(text)
        found = match[1] if match else ""
    return found


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return the text on one line, at most 300 characters, with secrets masked.

    Masked are the secrets in plain, URL-encoded or Base64 spelling, and whatever else looks like a credential.
    Secrets under 4 characters are left: they would mask ordinary words."""
    text = masked(text, secrets)
    text = _CREDENTIAL_SHAPES.sub(_MASK, _UNPRINTABLE.sub(" ", text)).strip()
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def masked(text: str, secrets: Iterable[str]) -> str:
    """Return the text with the secrets masked, in plain, URL-encoded or Base64 spelling; short ones are left.

    Of a secret address so are its path, its query and what is long in them: servers repeat those, not the address."""
    every = {part for secret in secrets for part in (secret, *_parts_of_address(secret))}
    for secret in sorted((part for part in every if len(part) >= _SECRET_MIN), key=len, reverse=True):
        for spelling in _spellings(secret):
            text = text.replace(spelling, _MASK)
    return text


def _parts_of_address(secret: str) -> Iterator[str]:
    if not secret.startswith(("https://", "http://")):
        return
    try:
        parts = urlsplit(secret)
    except ValueError:  # a secret that only looks like one
        return
    yield from (f"{parts.path}?{parts.query}", parts.path, parts.query)
    pieces = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    for piece in pieces:
        if len(piece) >= _PIECE_MIN:
            yield from (piece, unquote(piece))


def _messages(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, list):
        for item in value[:5]:
            yield from [item] if isinstance(item, str) and item.strip() else _messages(item, depth + 1)
    elif isinstance(value, dict):
        for name in _CONTAINER_NAMES:
            if isinstance(value.get(name), dict | list):
                yield from _messages(value[name], depth + 1)
        for name in _MESSAGE_NAMES:
            if isinstance(value.get(name), str) and value[name].strip():
                yield value[name]


def _header_secrets(request: ProviderRequest) -> Iterator[str]:
    for name, value in request.headers.items():
        if _SECRET_HEADER.search(name):
            yield value
            yield value.rpartition(" ")[2]


def _spellings(secret: str) -> set[str]:
    plain = {secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    encoded = base64.b64encode(secret.encode()).decode()
    return plain | {encoded, encoded.rstrip("=")}
