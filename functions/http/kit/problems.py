"""One mapper from the domain's closed set of errors to RFC 9457 problem details."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

import azure.functions as func
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from domain.core.errors import (
    Conflict,
    DomainError,
    FieldError,
    Forbidden,
    InvalidToken,
    NotFound,
    PreconditionFailed,
    RateLimited,
    TooLarge,
    TwoCredentials,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
    json_pointer,
)
from domain.core.wire import reason_of

PROBLEM_TYPE = "application/problem+json"
_FIELDS_SHOWN = 100
_BEARER = 'Bearer realm="integration-hub"'
_BEARER_ERRORS = ((InvalidToken, "invalid_token"), (TwoCredentials, "invalid_request"))


class MalformedBody(DomainError):
    """The body is not JSON at all."""

    code = "malformed-json"


class UnsupportedMediaType(DomainError):
    """The body is not sent as JSON (RFC 9110 section 15.5.16)."""

    code = "unsupported-media-type"


class UnsupportedCoding(DomainError):
    """The body is compressed."""

    code = "unsupported-media-type"

    def __init__(self, coding: str) -> None:
        super().__init__(f"The body has Content-Encoding: {coding}; send it uncompressed.")


class LengthRequired(DomainError):
    """The body came in chunks, of which the Functions host hands none over (RFC 9110 section 15.5.12)."""

    code = "length-required"

    def __init__(self) -> None:
        super().__init__(
            "The body was sent with Transfer-Encoding: chunked and did not arrive; send it whole, with a "
            "Content-Length."
        )


class NoSuchPath(DomainError):
    """Nothing is served at the path."""

    code = "no-such-path"

    def __init__(self) -> None:
        super().__init__("No operation has this path; see /api/docs.")


class MethodNotAllowed(DomainError):
    """The path takes other methods: those in `allowed`."""

    code = "method-not-allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = ", ".join(allowed)
        super().__init__(f"This path allows {self.allowed}.")


_STATUS: tuple[tuple[type[DomainError], int], ...] = (
    (MalformedBody, 400),
    (NotFound, 404),
    (NoSuchPath, 404),
    (MethodNotAllowed, 405),
    (Conflict, 409),
    (LengthRequired, 411),
    (UnsupportedMediaType, 415),
    (UnsupportedCoding, 415),
    (PreconditionFailed, 412),
    (TooLarge, 413),
    (ValidationFailed, 422),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (RateLimited, 429),
    (Unavailable, 503),
)


def status_of(error: DomainError) -> int:
    """Return the HTTP status of a domain error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str,
    trace_id: str,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> func.HttpResponse:
    """Return a problem response; `type` leads to the explanation of `code` in the API reference."""
    body: dict[str, object] = {
        "type": f"/api/docs#problem-{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "traceId": trace_id,
    }
    fields = [{"pointer": error.pointer, "detail": error.detail} for error in errors]
    if fields:
        body["errors"] = fields
    return func.HttpResponse(
        json.dumps(body, ensure_ascii=True),
        status_code=status,
        headers=dict(headers or {}),
        mimetype=PROBLEM_TYPE,
    )


def from_domain(error: DomainError, *, instance: str, trace_id: str) -> func.HttpResponse:
    """Return the problem response of a domain error, with the headers of its status."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, Forbidden) and error.scopes:
        scopes = " ".join(error.scopes)
        headers["WWW-Authenticate"] = f'{_BEARER}, error="insufficient_scope", scope="{scopes}"'
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.allowed
    if isinstance(error, UnsupportedMediaType):
        headers["Accept"] = "application/json"
    if isinstance(error, UnsupportedCoding):
        headers["Accept-Encoding"] = "identity"
    if isinstance(error, Unavailable):
        headers["Retry-After"] = "5"
    return problem(
        status_of(error),
        error.code,
        error.detail,
        instance=instance,
        trace_id=trace_id,
        errors=error.errors if isinstance(error, ValidationFailed) else (),
        headers=headers,
    )


def _challenge(error: Unauthenticated) -> str:
    """Return the `WWW-Authenticate` header.

    It names an error only where the request had a token (RFC 6750 section 3.1)."""
    code = next((code for kind, code in _BEARER_ERRORS if isinstance(error, kind)), None)
    if code is None:
        return _BEARER
    text = error.detail.replace("\\", "\\\\").replace('"', '\\"')
    return f'{_BEARER}, error="{code}", error_description="{text}"'


def validation_error(error: ValidationError, what: str) -> DomainError:
    """Return pydantic's errors as field errors with JSON pointers (RFC 6901)."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        return MalformedBody(
            f"The body is not valid JSON: {details[0]['msg'].removeprefix('Invalid JSON: ')}."
        )
    fields = [FieldError(_pointer(detail), reason_of(detail)) for detail in details[:_FIELDS_SHOWN]]
    return ValidationFailed(f"The {what} is not valid; see errors.", fields)


def _pointer(detail: ErrorDetails) -> str:
    return json_pointer(*detail["loc"])
