"""What adapters put into requests, and read out of answers and webhooks."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote
from xml.etree.ElementTree import Element, ParseError, fromstring

from domain.core.json_text import read_json
from domain.providers.charset import with_whole_characters
from domain.providers.contract import (
    Capability,
    Connection,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    SignatureRefused,
)
from domain.providers.records import SourceRecord
from domain.providers.untrusted import SMALL_BYTES
from infra.providers._kit.rate_limits import asked_wait
from infra.providers._kit.refusal import failure_kind

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

#: The most rows of a page; the largest that a provider here documents has 2,500.
ROWS_AT_MOST: Final = 5_000
_FORM_FIELDS_MAX = 1000
_SIGNED_SEPARATORS_MAX = 150_000
_TYPE_MAX = 100
_CODE_MAX = 80
_NOT_IN_TYPE = re.compile(r"[^A-Za-z0-9._-]+")
_NOT_IN_CODE = re.compile(r"[^A-Za-z0-9_.-]+")
# XML 1.0 section 2.2
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NO_XML_REFERENCE = re.compile(r"&#([0-9]{1,8}|[xX][0-9A-Fa-f]{1,8});")
_XML_DECLARATION = re.compile(r"^\s*<\?xml\b[^>]*\?>")
_XML_ENCODING = re.compile(rb"""\s*<\?xml\b[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


def basic(username: str, password: str) -> str:
    """Return the value of an `Authorization` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def bearer(connection: Connection) -> dict[str, str]:
    """Return the Authorization header (RFC 6750). Raises ProviderFailure (unauthorized) before consent was given."""
    if not connection.access_token:
        detail = "The integration has no access token: connect the account first."
        raise ProviderFailure("unauthorized", detail, of_grant=True)
    return {"authorization": f"Bearer {connection.access_token}"}


def segment(text: str) -> str:
    """Escape text for one segment of a URL's path."""
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """How to understand a provider that gives one status several meanings and tells them apart by an error code.

    `code_of` reads the code out of an answer, "" when there is none. `statuses` are those it is read for."""

    code_of: Callable[[ProviderResponse], str]
    unauthorized: frozenset[str] = frozenset()
    rate_limited: frozenset[str] = frozenset()
    statuses: tuple[int, ...] = (403,)
    success: tuple[int, ...] = (200,)

    async def expect(
        self, connection: Connection, request: ProviderRequest, *statuses: int
    ) -> ProviderResponse:
        """Do what ProviderHttp.expect does, with the failure that the error code stands for."""
        response = await connection.http.expect(request, *(statuses or self.success), *self.statuses)
        if response.status not in self.statuses:
            return response
        code, kind = self.code_of(response), failure_kind(response)
        if code in self.rate_limited:
            kind = "rate_limited"
        elif code in self.unauthorized:
            kind = "unauthorized"
        shown = _NOT_IN_CODE.sub("", code)[:_CODE_MAX]
        detail = f"The provider answered {response.status}{': ' + shown if shown else ''}."
        wait = asked_wait(response, connection.now) if kind == "rate_limited" else None
        raise ProviderFailure(kind, detail, status=response.status, retry_after_seconds=wait)


def document(response: ProviderResponse) -> dict[str, Any]:
    """Read the answer as a JSON object. Raises ProviderFailure (malformed)."""
    value = response.json()
    if not isinstance(value, dict):
        raise ProviderFailure(
            "malformed", "The provider's answer is not a JSON object.", status=response.status
        )
    return value


def json_or_none(response: ProviderResponse) -> Any:
    """Read an answer that says why something was refused; None when it is no JSON."""
    try:
        return response.json()
    except ProviderFailure:
        return None


def at(value: Any, *path: str | int) -> Any:
    """Return what is at a path of names and positions, None where it ends early."""
    for step in path:
        if isinstance(step, int) and isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        elif isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def text_at(value: Any, *path: str | int) -> str:
    """Return the text, or number as text, at the path. Raises ProviderFailure (malformed)."""
    found = at(value, *path)
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise ProviderFailure("malformed", f"The provider's answer has no {_named(path)}.")
    return str(found)


def number_at(value: Any, *path: str | int) -> int:
    """Return the whole number at the path. Raises ProviderFailure (malformed)."""
    found = at(value, *path)
    if isinstance(found, bool) or not isinstance(found, int):
        raise ProviderFailure("malformed", f"The provider's answer has no number {_named(path)}.")
    return found


def items(value: Any, *path: str | int) -> Sequence[Any]:
    """Return the list at the path. Raises ProviderFailure (malformed), also for one of more than ROWS_AT_MOST."""
    found = at(value, *path)
    if not isinstance(found, list):
        raise ProviderFailure("malformed", f"The provider's answer has no list {_named(path)}.")
    if len(found) > ROWS_AT_MOST:
        detail = f"The provider's answer has a list {_named(path)} of more than {ROWS_AT_MOST:,}."
        raise ProviderFailure("malformed", detail, is_lasting=True)
    return found


def read_each(rows: Iterable[Any], read: Callable[[Any], SourceRecord]) -> list[SourceRecord]:
    """Read the rows of a list, each on its own: one that is no record is refused by the engine and costs no other."""
    return [_read(row, read) for row in rows]


def _read(row: Any, read: Callable[[Any], SourceRecord]) -> SourceRecord:
    if isinstance(row, dict):
        try:
            return read(row)
        except (ProviderFailure, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            pass
    return SourceRecord("", {})


def _named(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path)


def moment(value: Any) -> datetime | None:
    """Read an RFC 3339 text or Unix time in seconds as UTC; None when it is neither."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read.astimezone(UTC) if read.tzinfo is not None else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def xml_document(response: ProviderResponse) -> Element:
    """Return the root element of an answer in XML. Raises ProviderFailure (malformed).

    Characters that XML cannot carry are U+FFFD: one of them would cost the whole answer."""
    text = markup_of(response)
    try:
        return fromstring(text)  # noqa: S314 - no DTD reaches the parser
    except (ValueError, ParseError, RecursionError):
        raise ProviderFailure(
            "malformed", "The provider's answer is not valid XML.", status=response.status
        ) from None


def root_tag(response: ProviderResponse) -> str:
    """Return the name of the root element. Raises ProviderFailure (malformed)."""
    return xml_document(response).tag


def markup_of(response: ProviderResponse) -> str:
    """Return an answer in XML as text, without the declaration. Raises ProviderFailure (malformed).

    A document type declaration is refused, and with it every entity trick (XXE, billion laughs). It is looked for
    in the text that is parsed, so that no encoding hides it."""
    declared = _XML_ENCODING.match(response.body)
    text = response.text(declared[1].decode() if declared else None)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ProviderFailure("malformed", "The provider's answer is not valid XML.", status=response.status)
    text = _NO_XML_REFERENCE.sub(_without_control, _NO_XML.sub("\ufffd", text))
    return _XML_DECLARATION.sub("", text, count=1)


def _without_control(reference: re.Match[str]) -> str:
    number = reference[1]
    code = int(number[1:], 16) if number[0] in "xX" else int(number)
    return reference[0] if code <= 0x10FFFF and not _NO_XML.match(chr(code)) else "\ufffd"


def xml_error_code(response: ProviderResponse) -> str:
    """Return the text of `<Code>`, as S3 and Azure Storage name an error; "" when there is none."""
    if len(response.body) > SMALL_BYTES:
        return ""
    try:
        root = xml_document(response)
    except ProviderFailure:
        return ""
    return (root.findtext("Code") or "").strip()


def event_type(*parts: str) -> str:
    """Return a provider's event name in the letters an event type may have, at most 100."""
    reduced = (_NOT_IN_TYPE.sub(".", part).strip(".") for part in parts)
    return ".".join(part for part in reduced if part)[:_TYPE_MAX] or "event"


def signed_json(body: bytes) -> Any:
    """Read the body of a webhook as JSON, its numbers as written, half characters as U+FFFD.

    Raises SignatureRefused: what is signed is JSON."""
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > _SIGNED_SEPARATORS_MAX:
        raise SignatureRefused("The body holds too many values.")
    try:
        return with_whole_characters(read_json(body))
    except (ValueError, RecursionError):
        raise SignatureRefused("The body is not valid JSON.") from None


def signed_object(value: Any) -> Mapping[str, Any]:
    """Return a JSON object inside a webhook whose signature holds. Raises SignatureRefused."""
    if not isinstance(value, dict):
        raise SignatureRefused("The body is not a JSON object.")
    return value


def is_form(headers: Mapping[str, str]) -> bool:
    """Return whether a webhook's body is form-encoded."""
    named = headers.get("content-type", "").partition(";")[0].strip().lower()
    return named == "application/x-www-form-urlencoded"


def form_pairs(body: bytes) -> list[tuple[str, str]]:
    """Return the pairs of a form-encoded webhook, in order, empty values included.

    Raises SignatureRefused, also for more than 1,000 pairs."""
    try:
        return parse_qsl(
            body.decode("ascii"), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX, errors="strict"
        )
    except ValueError:
        raise SignatureRefused("The body is not a valid form.") from None
