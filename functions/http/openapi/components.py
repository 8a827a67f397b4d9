"""What operations share in the OpenAPI document: security, headers, parameters and problem responses."""

from __future__ import annotations

from typing import Any

from domain.core.permissions import PERMISSIONS
from functions.http.kit.problems import PROBLEM_TYPE

Json = dict[str, Any]

SECURITY: list[Json] = [{"bearer": []}, {"apiKey": []}]

_TRACE_HEADERS = ("X-Request-Id", "traceparent")
_LIMIT_HEADERS = (
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)

#: Component name and meaning of each error status.
PROBLEM_RESPONSES: dict[int, tuple[str, str]] = {
    400: ("BadRequest", "The body is not valid JSON."),
    401: ("Unauthorized", "The credential is missing or not valid."),
    403: ("Forbidden", "The caller lacks the permission."),
    404: ("NotFound", "The resource does not exist in the caller's tenant."),
    409: ("Conflict", "The current state, a limit or a business rule does not allow the request."),
    411: (
        "LengthRequired",
        "The body was sent with `Transfer-Encoding: chunked`, which does not arrive; send it with `Content-Length`.",
    ),
    412: ("PreconditionFailed", "`If-Match` names a version that is not current."),
    413: ("ContentTooLarge", "The body is too large."),
    415: (
        "UnsupportedMediaType",
        "The body is not sent as JSON, or is compressed; `Accept` or `Accept-Encoding` names what is accepted.",
    ),
    422: ("UnprocessableContent", "The body, the query or a header is not valid; see `errors`."),
    429: ("TooManyRequests", "The quota is used up; repeat the request after `Retry-After` seconds."),
    500: ("InternalServerError", "Internal error; quote the `traceId` when you report it."),
    503: (
        "ServiceUnavailable",
        "A dependency is unavailable; repeat the request after `Retry-After` seconds.",
    ),
}


def header_refs(*names: str) -> Json:
    """Return references to the headers of a response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def answer_headers(*names: str, limited: bool = True) -> Json:
    """Return `names`, the headers of every answer, and those of the rate limit where the caller is known."""
    return header_refs(*names, *_TRACE_HEADERS, *(_LIMIT_HEADERS if limited else ()))


def problem_ref(status: int) -> Json:
    """Return the shared problem response of a status, or a general one where none is shared."""
    if status in PROBLEM_RESPONSES:
        return {"$ref": f"#/components/responses/{PROBLEM_RESPONSES[status][0]}"}
    return _problem_response(status, "The request is refused; see `code` and `detail`.")


def parameter_ref(name: str) -> Json:
    return {"$ref": f"#/components/parameters/{name}"}


def components(schemas: Json) -> Json:
    """Return the `components` of the document, with the `schemas` of the wire models."""
    return {
        "schemas": {**schemas, "Problem": _PROBLEM, "FieldProblem": _FIELD_PROBLEM},
        "responses": {
            name: _problem_response(status, meaning) for status, (name, meaning) in PROBLEM_RESPONSES.items()
        },
        "parameters": _PARAMETERS,
        "headers": _HEADERS,
        "securitySchemes": _SECURITY_SCHEMES,
    }


def _problem_response(status: int, meaning: str) -> Json:
    names = {
        401: ("WWW-Authenticate",),
        403: ("WWW-Authenticate",),
        415: ("Accept", "Accept-Encoding"),
        429: ("Retry-After",),
        503: ("Retry-After",),
    }.get(status, ())
    return {
        "description": meaning,
        "headers": answer_headers(*names, limited=status != 401),
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "code", "traceId"],
    "properties": {
        "type": {
            "type": "string",
            "format": "uri-reference",
            "description": "Explanation of the code in the documentation",
            "examples": ["/api/docs#problem-not-found"],
        },
        "title": {"type": "string", "description": "Name of the status", "examples": ["Not Found"]},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "examples": [404]},
        "detail": {"type": "string", "description": "What is wrong with this request, for people"},
        "instance": {
            "type": "string",
            "format": "uri-reference",
            "description": "Path of the request",
            "examples": ["/api/webhooks/3fa85f64-5717-4562-b3fc-2c963f66afa6"],
        },
        "code": {
            "type": "string",
            "description": "Stable code for programs; the id of a business rule where one refuses the request",
            "examples": ["not-found", "BR-WH-07"],
        },
        "traceId": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "Id of this request in the logs",
            "examples": ["4bf92f3577b34da6a3ce929d0e0e4736"],
        },
        "errors": {
            "type": "array",
            "description": "Present when single fields are not valid",
            "items": {"$ref": "#/components/schemas/FieldProblem"},
        },
    },
}

_FIELD_PROBLEM: Json = {
    "type": "object",
    "required": ["pointer", "detail"],
    "properties": {
        "pointer": {
            "type": "string",
            "format": "json-pointer",
            "description": "JSON pointer (RFC 6901) to the field",
            "examples": ["/name"],
        },
        "detail": {"type": "string", "description": "What is wrong with the field"},
    },
}

_PARAMETERS: Json = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Makes it safe to repeat the request. For 24 hours the same key and body get the first answer "
        "(with `Idempotency-Replayed: true`), and another body gets 422. A refused request frees its key. If the first "
        "request ended without an answer (503 `outcome-unknown`, 500, a crash), it may have been carried out: a repeat "
        "gets 409 and is never carried out under this key.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[\\x21-\\x7e]+$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The `ETag` that you read; 412 if the resource was modified since. Without it the last write "
        "wins.",
        "schema": {"type": "string"},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "An `ETag` that you have; 304 while it is current.",
        "schema": {"type": "string"},
    },
}


def _header(description: str, kind: str = "string", **schema: Any) -> Json:
    return {"description": description, "schema": {"type": kind, **schema}}


_HEADERS: Json = {
    "ETag": _header("The version of the resource, for `If-Match`.", examples=['"1"']),
    "Location": _header("The path of the created resource.", format="uri-reference"),
    "Idempotency-Replayed": _header(
        "Present, and `true`, when this is the first answer to a repeated `Idempotency-Key`.", enum=["true"]
    ),
    "X-Request-Id": _header("The `X-Request-Id` of the request, or a new one."),
    "traceparent": _header("W3C trace context; continues the one of the request."),
    "Retry-After": _header("Seconds to wait before the next request.", "integer", minimum=0),
    "Accept": _header("With 415: the accepted media type.", enum=["application/json"]),
    "Accept-Encoding": _header("With 415: compressed bodies are not accepted.", enum=["identity"]),
    "WWW-Authenticate": _header("How to authenticate, or which scope an API key lacks (RFC 6750)."),
    "RateLimit-Policy": _header("The quota of the API key or the person, and its window (IETF draft)."),
    "RateLimit": _header("What remains of the quota, and when it resets (IETF draft)."),
    "X-RateLimit-Limit": _header("Requests per hour.", "integer"),
    "X-RateLimit-Remaining": _header("Remaining requests.", "integer"),
    "X-RateLimit-Reset": _header("When the quota resets, in Unix seconds.", "integer"),
}

_SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of the tenant's identity provider, or an API key (`ihk_...`). Permissions:\n\n"
        + "\n".join(f"- `{name}`: {meaning}" for name, meaning in PERMISSIONS.items()),
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key, `ihk_...`; its scopes are its permissions. "
        "`Authorization: Bearer ihk_...` is the same.",
    },
}
