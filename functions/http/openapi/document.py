"""The OpenAPI 3.1 document, generated from the registered endpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from functions.http.kit.endpoint import ENDPOINTS, Endpoint
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
    "Webhooks": "Subscriptions that post events to your endpoints, and what became of each delivery.",
    "Incoming webhooks": "What providers send: verified by their own schemes, stored, and raised as events.",
    "Data synchronisation": "Jobs that move records between an external system and the platform.",
    "Events": "Where other modules of the platform raise the events that webhooks deliver.",
    "Realtime": "Messages over SignalR about what happens while you watch.",
    "Insights": "What happened, counted by the hour, and which hours and uses of keys are unusual.",
    "Recommendations": "What to change, why, and what it would bring, from what was counted.",
    "Alerts": "What somebody should look at: raised once, told to people, over when its cause is gone.",
    "Audit": "Who did what, in a chain that shows tampering.",
    "Privacy": "What is held about a person, and its erasure.",
    "Operations": "Health and documentation, which need no credentials, and metrics.",
}

_ABOUT = """Integration and external-system backend of an event management platform.

JSON in camelCase; enums by name; ids are GUIDs; moments are RFC 3339 in UTC. Lists are pages:
`{"items": [], "page": 1, "pageSize": 50, "total": n}`. Errors are RFC 9457 problems whose `type` leads to an
explanation in `/api/docs`. Bodies are sent as `application/json`; another type is answered with 415. What takes GET
takes HEAD; another method that a path does not take is answered with 405 and `Allow`."""


@lru_cache(maxsize=8)
def document(public_url: str) -> Json:
    """The description of every endpoint registered so far; `public_url` is the address without `/api`. Made once
    per process: treat it as read-only."""
    schemas = wire_schemas(
        bodies=(model for one in ENDPOINTS for model in _bodies(one)),
        responses=(one.response for one in ENDPOINTS if one.response),
        queries=(one.query for one in ENDPOINTS if one.query),
    )
    versioned = tuple(
        one.response for one in ENDPOINTS if one.method == "PUT" and 412 in one.refusals and one.response
    )
    paths: Json = {}
    for one in ENDPOINTS:
        operation = _operation(one, schemas, has_etag=_is_any_of(one.response, versioned))
        paths.setdefault(_path(one.route), {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Integration Hub", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": public_url.rstrip("/")}],
        "security": SECURITY,
        "tags": _tags(one.tag for one in ENDPOINTS),
        "paths": paths | OPERATIONS_PATHS,
        "webhooks": WEBHOOKS,
        "components": components({**schemas.components, **WEBHOOK_SCHEMAS, **OPERATIONS_SCHEMAS}),
    }


def _is_any_of(model: type[BaseModel] | None, kinds: tuple[type[BaseModel], ...]) -> bool:
    """A resource that PUT guards by If-Match has a version, and every answer that shows it has its ETag."""
    return model is not None and issubclass(model, kinds)


def _bodies(endpoint: Endpoint) -> Sequence[type[BaseModel]]:
    if endpoint.body is None:
        return ()
    return endpoint.body if isinstance(endpoint.body, tuple) else (endpoint.body,)


def _path(route: str) -> str:
    return "/api/" + _PATH_PARAMETER.sub(r"{\1}", route)


def _tags(used: Iterable[str]) -> list[Json]:
    names = [*dict.fromkeys([*used, "Operations"])]
    order = list(TAGS)
    names.sort(key=lambda name: order.index(name) if name in TAGS else len(order) - 2)
    return [{"name": name, **({"description": TAGS[name]} if name in TAGS else {})} for name in names]


def _operation(endpoint: Endpoint, schemas: WireSchemas, *, has_etag: bool) -> Json:
    operation: Json = {
        "operationId": to_camel(endpoint.name),
        "summary": endpoint.summary,
        "description": _description(endpoint),
        "tags": [endpoint.tag],
        "security": [] if endpoint.anonymous else SECURITY,
    }
    if endpoint.permission:
        operation["x-permission"] = endpoint.permission
    if parameters := _parameters(endpoint, schemas, has_etag=has_etag):
        operation["parameters"] = parameters
    if models := _bodies(endpoint):
        operation["requestBody"] = _request_body(endpoint, [schemas.body(model) for model in models])
    operation["responses"] = _success(endpoint, schemas, has_etag=has_etag) | {
        str(status): _refusal(endpoint, status) for status in _refusals(endpoint)
    }
    return operation


def _description(endpoint: Endpoint) -> str:
    permission = f"Needs the permission `{endpoint.permission}`." if endpoint.permission else ""
    return "\n\n".join(part for part in (endpoint.description, permission) if part)


def _parameters(endpoint: Endpoint, schemas: WireSchemas, *, has_etag: bool) -> list[Json]:
    parameters = _path_parameters(endpoint.route)
    if endpoint.query:
        parameters += schemas.parameters(endpoint.query)
    if endpoint.method == "POST" and not endpoint.anonymous:
        parameters.append(parameter_ref("IdempotencyKey"))
    if endpoint.method in ("PUT", "DELETE") and 412 in endpoint.refusals:
        parameters.append(parameter_ref("IfMatch"))
    if endpoint.method == "GET" and has_etag:
        parameters.append(parameter_ref("IfNoneMatch"))
    return parameters


def _path_parameters(route: str) -> list[Json]:
    parameters = []
    before = ""
    for segment in route.split("/"):
        if found := _PATH_PARAMETER.fullmatch(segment):
            name = found[1]
            is_guid = name == "id" or name.endswith("Id")
            schema = {"type": "string", **({"format": "uuid"} if is_guid else {})}
            about = f"{'Id' if is_guid else 'Name'} of the {_singular(before)}"
            parameters.append(
                {"name": name, "in": "path", "required": True, "description": about, "schema": schema}
            )
        else:
            before = segment
    return parameters


def _singular(word: str) -> str:
    return word.removesuffix("ies") + "y" if word.endswith("ies") else word.removesuffix("s")


def _request_body(endpoint: Endpoint, alternatives: list[Json]) -> Json:
    schema = alternatives[0] if len(alternatives) == 1 else {"oneOf": alternatives}
    content: Json = {"schema": schema}
    if examples := EXAMPLES.get((endpoint.method, endpoint.route)):
        content["examples"] = {
            to_camel(summary.lower().replace(" ", "_")): {"summary": summary, "value": value}
            for summary, value in examples.items()
        }
    return {"required": not endpoint.body_is_optional, "content": {_JSON: content}}


def _success(endpoint: Endpoint, schemas: WireSchemas, *, has_etag: bool) -> Json:
    names = [
        *(["Location"] if endpoint.status == 201 else []),
        *(["ETag"] if has_etag else []),
        *(["Idempotency-Replayed"] if endpoint.method == "POST" and not endpoint.anonymous else []),
    ]
    response: Json = {
        "description": _SUCCESS.get(endpoint.status, "Done."),
        "headers": answer_headers(*names, limited=not endpoint.anonymous),
    }
    if endpoint.media_type in (_HTML, _TEXT):
        response["content"] = {endpoint.media_type: {"schema": {"type": "string"}}}
    elif endpoint.response:
        response["content"] = {endpoint.media_type: {"schema": schemas.response(endpoint.response)}}
    responses = {str(endpoint.status): response}
    if endpoint.method == "GET" and has_etag:
        responses["304"] = {
            "description": "Not changed since `If-None-Match`.",
            "headers": header_refs("ETag"),
        }
    return responses


_SUCCESS = {
    200: "Done.",
    201: "Created.",
    202: "Accepted; the work goes on after this answer.",
    204: "Done; there is nothing to show.",
    302: "Go on at `Location`.",
}


def _refusal(endpoint: Endpoint, status: int) -> Json:
    """A problem, or a page where people and not programs are answered."""
    if endpoint.media_type != _HTML:
        return problem_ref(status)
    content = {_HTML: {"schema": {"type": "string"}}}
    return {
        "description": "A page that says what happened.",
        "headers": answer_headers(limited=False),
        "content": content,
    }


def _refusals(endpoint: Endpoint) -> list[int]:
    """Every error status the endpoint may answer: its own, and those of the steps around its use case."""
    statuses = {*endpoint.refusals, 429, 500, 503}
    if not endpoint.anonymous:
        statuses.add(401)
        if endpoint.method == "POST":
            statuses |= {409, 422}  # a running or reused Idempotency-Key
    if endpoint.permission:
        statuses.add(403)
    if _PATH_PARAMETER.search(endpoint.route):
        statuses.add(404)
    if endpoint.body:
        statuses |= {400, 413, 415, 422}
    if endpoint.query:
        statuses.add(422)
    return sorted(statuses)
