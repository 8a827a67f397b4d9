"""What a handler gets (`Call`) and returns (`ApiResponse`)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import azure.functions as func
from pydantic import BaseModel, ValidationError

from domain.core.errors import (
    DomainError,
    FieldError,
    NotFound,
    PreconditionFailed,
    ValidationFailed,
)
from domain.core.json_text import MalformedJson
from domain.core.principal import Principal
from domain.core.wire import Command
from functions.http.kit.kept_text import json_of
from functions.http.kit.operations import API, methods_of
from functions.http.kit.problems import (
    MalformedBody,
    MethodNotAllowed,
    UnsupportedCoding,
    UnsupportedMediaType,
    validation_error,
)
from infra.observability.trace import Trace

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
_JSON_TYPE = re.compile(r"(application|text)/json|[^/\s]+/[^/\s]+\+json")
_CURLS_TYPE = "application/x-www-form-urlencoded"
_SHOWN_AT_MOST = 100
# What strip() would find, without a copy of the rest.
_NOT_BLANK = re.compile(rb"\S")


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What a handler returns.

    - `version` becomes the ETag.
    - `text` replaces `value` for an answer that is not JSON.
    - Without `is_kept` the answer is not stored, so a repeat under the same Idempotency-Key calls the handler
      again; only for handlers that change nothing."""

    value: BaseModel | None = None
    status: int = 200
    location: str | None = None
    version: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None
    media_type: str = "text/csv"
    is_kept: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated request."""

    request: func.HttpRequest
    principal: Principal
    trace: Trace

    def id(self, name: str = "id") -> UUID:
        """Return a GUID of the path.

        Any other text raises NotFound, or MethodNotAllowed where it is a path of its own, such as
        `apikeys/verify`, which the route of an id catches for other methods."""
        try:
            return UUID(self.request.route_params[name])
        except ValueError:
            raise self._not_an_id() from None

    def sequence(self, name: str = "sequence") -> int:
        """Return a number of the path. Raises NotFound for any other text."""
        text = self.request.route_params[name]
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise NotFound("The sequence is not a number, so nothing has it.")
        return int(text)

    def _not_an_id(self) -> DomainError:
        allowed = methods_of(urlsplit(self.request.url).path.removeprefix(API))
        if self.request.method not in allowed:
            return MethodNotAllowed(allowed)
        return NotFound("The id is not a GUID, so nothing has it.")

    def body(self, model: type[M], *, is_optional: bool = False) -> M:
        """Return the body as a command; a missing body counts as `{}` where it `is_optional`.

        Raises ValidationFailed, MalformedBody, UnsupportedMediaType or UnsupportedCoding."""
        return self.read(partial(parse, model), empty=b"{}" if is_optional else b"")

    def read(self, reader: Callable[[bytes], T], *, empty: bytes = b"") -> T:
        """Return what `reader` makes of the body; a missing body counts as `empty`.

        Raises ValidationFailed, MalformedBody, UnsupportedMediaType or UnsupportedCoding."""
        body = self.request.get_body()
        if not _is_blank(body):
            _check_is_json(self.request.headers, body)
        elif not empty:
            raise MalformedBody("The body is empty; send JSON.")
        else:
            body = empty
        return _understood(reader, body)

    def query(self, model: type[M]) -> M:
        """Return the query string as a model. Raises ValidationFailed."""
        try:
            return model.model_validate(parameters_of(self.request), by_alias=True, by_name=False)
        except ValidationError as error:
            raise validation_error(error, "query") from error

    def if_match(self) -> int | None:
        """Return the version that `If-Match` names (RFC 9110 section 13.1.1), or None where any version will do."""
        header = self.request.headers.get("if-match", "").strip()
        if header in ("", "*"):
            return None
        tag = header.removeprefix("W/").strip('"').partition(".")[0]
        if not tag.isdecimal():
            raise PreconditionFailed("If-Match is not an ETag of this resource.")
        return int(tag[:9])


def parameters_of(request: func.HttpRequest) -> dict[str, str]:
    """Return the query parameters, with those that have no value: the Functions host leaves them out.

    Without them a filter that is empty by mistake would filter nothing."""
    sent = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    left_out = {name: "" for name, value in sent if not value and name not in request.params}
    return {**request.params, **left_out}


def check_parameters(request: func.HttpRequest, query: type[BaseModel] | None) -> None:
    """Raise ValidationFailed for query parameters that an operation does not have: a misspelt filter filters nothing.

    `query` is the model of those that it has."""
    fields = query.model_fields if query else {}
    known = [field.alias or name for name, field in fields.items()]
    unknown = [name for name in parameters_of(request) if name not in known]
    if unknown:
        has = f"it has {', '.join(known)}" if known else "it has none"
        errors = [
            FieldError(f"/{name[:_SHOWN_AT_MOST]}", f"There is no such parameter; {has}.")
            for name in unknown[:10]
        ]
        raise ValidationFailed("The operation does not have these query parameters.", errors)


def parse(model: type[M], body: bytes) -> M:
    """Return JSON bytes as `model`. Raises ValidationFailed or MalformedBody."""
    if issubclass(model, Command):
        return _understood(model.of_json, body)
    return _understood(partial(model.model_validate_json, by_alias=True, by_name=False), body)


def _understood(reader: Callable[[bytes], T], body: bytes) -> T:
    try:
        return reader(body)
    except MalformedJson as error:
        raise MalformedBody(f"The body is not valid JSON: {error}.") from None
    except ValidationError as error:
        raise validation_error(error, "body") from error


def _is_blank(body: bytes) -> bool:
    return _NOT_BLANK.search(body) is None


def _check_is_json(headers: Mapping[str, str], body: bytes) -> None:
    """Raise unless the body is sent as JSON, or without a media type.

    A browser sends the other types for any page without asking, so they must not be taken."""
    coding = headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedCoding(coding[:_SHOWN_AT_MOST])
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not media_type or _JSON_TYPE.fullmatch(media_type):
        return
    shown = media_type[:_SHOWN_AT_MOST]
    first = _NOT_BLANK.search(body)
    if first is None or first[0] not in (b"{", b"["):
        raise UnsupportedMediaType(f"The body is sent as {shown}; only application/json is accepted.")
    hint = " With curl: -H 'Content-Type: application/json'." if media_type == _CURLS_TYPE else ""
    raise UnsupportedMediaType(
        f"The body looks like JSON but is sent as {shown}; set Content-Type to application/json.{hint}"
    )


def _names(if_none_match: str, etag: str) -> bool:
    """Return whether the ETag is in the list, by weak comparison (RFC 9110 section 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


def response_of(answer: ApiResponse, request: func.HttpRequest) -> func.HttpResponse:
    """Return the answer over HTTP; 304 where `If-None-Match` names its ETag."""
    headers = dict(answer.headers)
    if answer.location:
        headers["Location"] = answer.location
    if answer.text is not None:
        return func.HttpResponse(
            answer.text, status_code=answer.status, headers=headers, mimetype=answer.media_type
        )
    if answer.value is None:
        return func.HttpResponse(status_code=answer.status, headers=headers)
    text = json_of(answer.value)
    if answer.version is not None:
        # The version guards changes (If-Match); the checksum also covers counters, which change without one.
        headers["ETag"] = f'"{answer.version}.{zlib.crc32(text.encode()):08x}"'
        if request.method in ("GET", "HEAD") and _names(
            request.headers.get("if-none-match", ""), headers["ETag"]
        ):
            return func.HttpResponse(status_code=304, headers=headers)
    return func.HttpResponse(text, status_code=answer.status, headers=headers, mimetype="application/json")
