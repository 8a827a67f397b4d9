"""The OpenAPI 3.1 document, generated from the registered operations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from functions.http.kit.operations import API, OPERATIONS, ApiOperation
from functions.http.openapi.anonymous import OPERATIONS_PATHS, OPERATIONS_SCHEMAS
from functions.http.openapi.components import (
    SECURITY,
    Json,
    answer_headers,
    components,
    header_refs,
    parameter_ref,
    problem_ref,
)
from functions.http.openapi.examples import EXAMPLES
from functions.http.openapi.schemas import WireSchemas, wire_schemas
from functions.http.openapi.webhooks import SCHEMAS as WEBHOOK_SCHEMAS
from functions.http.openapi.webhooks import WEBHOOKS
from infra.version import VERSION

_JSON = "application/json"
_HTML = "text/html"
_TEXT = "text/plain"
_PATH_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")

TAGS = {
    "Integrations": "Connections to external systems: payment, e-mail, SMS, calendars and others.",
    "API keys": "Keys with which programs call this API.",
    "Webhooks": "Subscriptions that post events to your endpoints, and the deliveries of each.",
    "Incoming webhooks": "Webhooks of providers: verified by their own schemes, stored, and raised as events.",
    "Data synchronisation": "Jobs that copy records between an external system and the platform.",
    "Events": "Other modules of the platform raise the events here that webhooks deliver.",
    "Realtime": "Live messages over SignalR.",
    "Insights": "Counts by the hour, and unusual hours and uses of API keys.",
    "Usage": "What the tenant uses by the hour and the month.",
    "Recommendations": "Suggested changes with evidence and expected effect.",
    "Alerts": "Problems that need attention: raised once, sent to people, and recovered when the cause is gone.",
    "Audit": "A log of sensitive operations, in a hash chain that shows tampering.",
    "Privacy": "Export and erasure of a person's data.",
    "Platform": "Tenants: their limits, suspension and deletion, for the platform's administrators.",
    "Operations": "Health, documentation and metrics.",
}

_ABOUT = """Integration and external-system backend of an event management platform.

Properties are in camelCase, enums are names, ids are GUIDs, and moments are RFC 3339 in UTC. Lists are pages:
`{"items": [], "page": 1, "pageSize": 50, "total": n}`. Errors are RFC 9457 problems; `type` leads to an explanation
in `/api/docs`. Send bodies as `application/json`; other types get 415. A path that allows GET allows HEAD; a method
that it does not allow gets 405 with `Allow`."""


@lru_cache(maxsize=8)
def document(public_url: str) -> Json:
    """Return the description of every operation registered so far, made once per process: do not change it.

    `public_url` is the address without `/api`."""
    schemas = wire_schemas(
        bodies=(model for operation in OPERATIONS for model in _bodies(operation)),
        responses=(operation.response for operation in OPERATIONS if operation.response),
        queries=(operation.query for operation in OPERATIONS if operation.query),
    )
    versioned = tuple(
        operation.response
        for operation in OPERATIONS
        if operation.method == "PUT" and 412 in operation.refusals and operation.response
    )
    paths: Json = {}
    for operation in OPERATIONS:
        has_etag = _is_any_of(operation.response, versioned)
        described = _described(operation, schemas, has_etag=has_etag)
        paths.setdefault(_path(operation.route), {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Integration Hub", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": public_url.rstrip("/")}],
        "security": SECURITY,
        "tags": _tags(operation.tag for operation in OPERATIONS),
        "paths": paths | OPERATIONS_PATHS,
        "webhooks": WEBHOOKS,
        "components": components({**schemas.components, **WEBHOOK_SCHEMAS, **OPERATIONS_SCHEMAS}),
    }


def _is_any_of(model: type[BaseModel] | None, kinds: tuple[type[BaseModel], ...]) -> bool:
    """Return whether an answer shows a resource that PUT guards by If-Match, and so has its ETag."""
    return model is not None and issubclass(model, kinds)


def _bodies(operation: ApiOperation) -> Sequence[type[BaseModel]]:
    if operation.body is None:
        return ()
    return operation.body if isinstance(operation.body, tuple) else (operation.body,)


def _path(route: str) -> str:
    return API + _PATH_PARAMETER.sub(r"{\1}", route)


def _tags(used: Iterable[str]) -> list[Json]:
    names = [*dict.fromkeys([*used, "Operations"])]
    order = list(TAGS)
    names.sort(key=lambda name: order.index(name) if name in TAGS else len(order) - 2)
    return [{"name": name, **({"description": TAGS[name]} if name in TAGS else {})} for name in names]


def _described(operation: ApiOperation, schemas: WireSchemas, *, has_etag: bool) -> Json:
    described: Json = {
        "operationId": to_camel(operation.name),
        "summary": operation.summary,
        "description": _description(operation),
        "tags": [operation.tag],
        "security": [] if operation.anonymous else SECURITY,
    }
    if operation.permission:
        described["x-permission"] = operation.permission
    if operation.own_permission:
        described["x-own-permission"] = operation.own_permission
    if operation.any_permission:
        described["x-any-permission"] = list(operation.any_permission)
    if operation.open_in_development:
        described["x-open-in-development"] = True
    if parameters := _parameters(operation, schemas, has_etag=has_etag):
        described["parameters"] = parameters
    if models := _bodies(operation):
        described["requestBody"] = _request_body(operation, [schemas.body(model) for model in models])
    described["responses"] = _success(operation, schemas, has_etag=has_etag) | {
        str(status): _refusal(operation, status) for status in _refusals(operation)
    }
    return described


def _description(operation: ApiOperation) -> str:
    permission = f"Needs the permission `{operation.permission}`." if operation.permission else ""
    if operation.own_permission:
        own = f"or `{operation.own_permission}` for the caller's own calendars."
        permission = f"{permission[:-1]}, {own}"
    return "\n\n".join(part for part in (operation.description, permission) if part)


def _parameters(operation: ApiOperation, schemas: WireSchemas, *, has_etag: bool) -> list[Json]:
    parameters = _path_parameters(operation.route)
    if operation.query:
        parameters += schemas.parameters(operation.query)
    if operation.method == "POST" and not operation.anonymous:
        parameters.append(parameter_ref("IdempotencyKey"))
    if operation.method in ("PUT", "DELETE") and 412 in operation.refusals:
        parameters.append(parameter_ref("IfMatch"))
    if operation.method == "GET" and has_etag:
        parameters.append(parameter_ref("IfNoneMatch"))
    return parameters


def _path_parameters(route: str) -> list[Json]:
    parameters = []
    before = ""
    for segment in route.split("/"):
        if found := _PATH_PARAMETER.fullmatch(segment):
            name = found[1]
            is_guid = name == "id" or name.endswith("Id")
            schema: Json = {"type": "string", **({"format": "uuid"} if is_guid else {})}
            about = f"{'Id' if is_guid else 'Name'} of the {_singular(before)}"
            if name == "sequence":
                schema, about = {"type": "integer", "minimum": 1}, "Sequence of the entry"
            parameters.append(
                {"name": name, "in": "path", "required": True, "description": about, "schema": schema}
            )
        else:
            before = segment
    return parameters


def _singular(word: str) -> str:
    return word.removesuffix("ies") + "y" if word.endswith("ies") else word.removesuffix("s")


def _request_body(operation: ApiOperation, alternatives: list[Json]) -> Json:
    schema = alternatives[0] if len(alternatives) == 1 else {"oneOf": alternatives}
    content: Json = {"schema": schema}
    if examples := EXAMPLES.get((operation.method, operation.route)):
        content["examples"] = {
            to_camel(summary.lower().replace(" ", "_")): {"summary": summary, "value": value}
            for summary, value in examples.items()
        }
    return {
        "description": operation.takes.told,
        "required": not operation.body_is_optional,
        "content": {_JSON: content},
    }


def _success(operation: ApiOperation, schemas: WireSchemas, *, has_etag: bool) -> Json:
    names = [
        *(["Location"] if operation.status == 201 else []),
        *(["ETag"] if has_etag else []),
        *(["Idempotency-Replayed"] if operation.method == "POST" and not operation.anonymous else []),
    ]
    response: Json = {
        "description": _SUCCESS.get(operation.status, "Done."),
        "headers": answer_headers(*names, limited=not operation.anonymous),
    }
    if operation.media_type != _JSON:
        response["content"] = {operation.media_type: {"schema": {"type": "string"}}}
    elif operation.response:
        response["content"] = {operation.media_type: {"schema": schemas.response(operation.response)}}
    responses = {str(operation.status): response}
    if operation.method == "GET" and has_etag:
        responses["304"] = {
            "description": "Not modified since `If-None-Match`.",
            "headers": header_refs("ETag"),
        }
    return responses


_SUCCESS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; the work continues after this answer.",
    204: "Done; no content.",
    302: "Redirect to `Location`.",
}


def _refusal(operation: ApiOperation, status: int) -> Json:
    """Return a problem response, or a page where the answer is for people."""
    if operation.media_type != _HTML:
        return problem_ref(status)
    content = {_HTML: {"schema": {"type": "string"}}}
    return {
        "description": "A page with the result.",
        "headers": answer_headers(limited=False),
        "content": content,
    }


def _refusals(operation: ApiOperation) -> list[int]:
    """Return every error status of an operation: its own, and those of the steps around its use case."""
    statuses = {*operation.refusals, 429, 500, 503}
    if not operation.anonymous:
        statuses |= {401, 413, 422}  # 422: unknown query parameters
        if operation.method == "POST":
            statuses.add(409)  # an Idempotency-Key in use
    if operation.permission:
        statuses.add(403)
    if _PATH_PARAMETER.search(operation.route):
        statuses.add(404)
    if operation.body:
        statuses |= {400, 411, 413, 415, 422}
    return sorted(statuses)
