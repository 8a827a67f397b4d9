"""Reading the body of a webhook whose signature held.

Everything here raises ProviderFailure (`malformed`) and never SignatureRefused: what a provider signed is kept as
failed when it cannot be read. One element of a list that cannot be read takes no other along."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from domain.core import json_text
from domain.providers.charset import with_whole_characters
from domain.providers.content import decoded
from domain.providers.contract import IncomingRequest, ProviderFailure, VerifiedEvent
from infra.providers._kit.signatures import digest_id, signed_bytes
from infra.providers._kit.wire import at

#: The most events of one request; a vendor's batch has some hundred, SendGrid's up to 3,000.
EVENTS_AT_MOST: Final = 5_000
#: The most of what separates values (`,`, `[`, `{`), wherever it stands: what a mebibyte of numbers alone has more of.
SEPARATORS_AT_MOST: Final = 150_000
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*("?)|[\[\]{},]', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{},]")


T = TypeVar("T")


class _Text(str):
    """An element of a list that is no JSON, as it was written."""

    __slots__ = ()


def json_of(request: IncomingRequest) -> Any:
    """Read the content as JSON."""
    return read_json(text_of_body(request))


def read_json(text: str) -> Any:
    """Read a text that must be JSON."""
    check_separators(text)
    value = _read(text)
    if isinstance(value, _Text):
        raise ProviderFailure("malformed", "The body is not valid JSON.")
    return value


def object_of(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ProviderFailure("malformed", "The body is not a JSON object.")
    return value


def elements_of(request: IncomingRequest) -> Sequence[Any]:
    """Return the elements of a list, or a single one."""
    value = read_in_parts(text_of_body(request))
    entries = checked(value) if isinstance(value, list) else [value]
    if not entries:
        raise ProviderFailure("malformed", "The body holds no events.")
    return entries


def read_in_parts(text: str) -> Any:
    """Read a text that must be JSON; in a list that is none as a whole, the elements are read one by one."""
    check_separators(text)
    value = _read(text)
    return [_read(part) for part in checked(_divided(text))] if isinstance(value, _Text) else value


def check_separators(text: str) -> None:
    """Raise ProviderFailure (malformed) for JSON that may hold more values than are read."""
    if sum(text.count(mark) for mark in (",", "[", "{")) > SEPARATORS_AT_MOST:
        raise ProviderFailure("malformed", f"The body holds more than {SEPARATORS_AT_MOST:,} values.")


def checked(entries: list[T]) -> list[T]:
    """Return the elements of a request. Raises ProviderFailure (malformed) for more than EVENTS_AT_MOST."""
    if len(entries) > EVENTS_AT_MOST:
        raise ProviderFailure("malformed", f"The body holds more than {EVENTS_AT_MOST:,} events.")
    return entries


def text_of(entry: Any, *path: str | int) -> str:
    """Return the text, or number as text, at the path of an event."""
    found = at(entry, *path)
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise ProviderFailure("malformed", f"The event has no {'.'.join(map(str, path))}.")
    return str(found)


def id_of(entry: Mapping[str, Any], name: str) -> str:
    """Return the id of an event, the digest of one that has none."""
    try:
        return text_of(entry, name)
    except ProviderFailure:
        return _digest(entry)


def events_of(
    entries: Sequence[Any], read: Callable[[Any], VerifiedEvent], *, objects_only: bool = True
) -> tuple[VerifiedEvent, ...]:
    """Return the event of each element; `unreadable` says of one why it cannot be read."""
    return tuple(_event(entry, read, objects_only) for entry in entries)


def _event(entry: Any, read: Callable[[Any], VerifiedEvent], objects_only: bool) -> VerifiedEvent:
    try:
        if isinstance(entry, _Text):
            raise ProviderFailure("malformed", "The element is not valid JSON.")
        if objects_only and not isinstance(entry, dict):
            raise ProviderFailure("malformed", "The element is not a JSON object.")
        return read(entry)
    except ProviderFailure as failure:
        reason = failure.detail
    except (ArithmeticError, ValueError, TypeError, RecursionError):
        reason = "The element holds a value that makes no sense."
    return VerifiedEvent(_digest(entry), "unreadable", {}, unreadable=reason)


def _digest(entry: Any) -> str:
    written = entry if isinstance(entry, _Text) else json.dumps(entry, sort_keys=True)
    return digest_id(signed_bytes(written))


def text_of_body(request: IncomingRequest) -> str:
    try:
        return decoded(request.headers, request.body).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProviderFailure("malformed", "The body is not UTF-8.") from None


def _read(text: str) -> Any:
    try:
        return with_whole_characters(json_text.read_json(text))
    except (ValueError, RecursionError):
        return _Text(text)


def _divided(text: str) -> list[str]:
    """Return the elements of a JSON list as they are written, without looking into them."""
    body = text.strip()
    if not (body.startswith("[") and body.endswith("]")):
        raise ProviderFailure("malformed", "The body is not valid JSON.")
    parts, depth, start = [], 0, 1
    for token in _tokens(body, 1, len(body) - 1):
        match token.group():
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case "," if depth == 0:
                parts.append(body[start : token.start()])
                start = token.end()
        if depth < 0:
            break
    if depth != 0:
        raise ProviderFailure("malformed", "The body is not valid JSON.")
    return [part.strip() for part in (*parts, body[start:-1])]


def _tokens(text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    """Find the strings, brackets and commas. Behind a quote that is never closed none is, so none is looked for."""
    for token in _TOKEN.finditer(text, start, end):
        if token[1] == "":
            yield from _BRACKET.finditer(text, token.start(), end)
            return
        yield token
