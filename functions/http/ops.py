"""Health, documentation, and the answer for paths that do not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import azure.functions as func

from functions.http.endpoint import READ
from functions.http.exchange import Exchange
from functions.http.problems import problem
from infra.bootstrap import hub

bp = func.Blueprint()
_ANONYMOUS = func.AuthLevel.ANONYMOUS
_JSON = "application/json"
_METHODS = frozenset(("get", "put", "post", "delete", "patch", "options", "head", "trace"))


@bp.function_name("health_live")
@bp.route(route="health/live", methods=READ, auth_level=_ANONYMOUS)
async def health_live(req: func.HttpRequest) -> func.HttpResponse:
    """The process is up."""
    return func.HttpResponse('{"status":"live"}', mimetype=_JSON)


@bp.function_name("health_ready")
@bp.route(route="health/ready", methods=READ, auth_level=_ANONYMOUS)
def health_ready(req: func.HttpRequest) -> func.HttpResponse:
    """Every dependency answers; 503 with the one that does not."""
    states = hub().readiness()
    ready = all(state == "ok" for state in states.values())
    body = {"status": "ready" if ready else "unavailable", "dependencies": states}
    headers = {"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "5"})
    return func.HttpResponse(
        json.dumps(body), status_code=200 if ready else 503, headers=headers, mimetype=_JSON
    )


@bp.function_name("openapi")
@bp.route(route="openapi.json", methods=READ, auth_level=_ANONYMOUS)
def openapi(req: func.HttpRequest) -> func.HttpResponse:
    """The OpenAPI 3.1 description of this API."""
    from functions.http.openapi import document

    headers = {"Cache-Control": "public, max-age=300"}
    return func.HttpResponse(json.dumps(document(hub().settings.public_url)), headers=headers, mimetype=_JSON)


@bp.function_name("docs")
@bp.route(route="docs", methods=READ, auth_level=_ANONYMOUS)
def docs(req: func.HttpRequest) -> func.HttpResponse:
    """The same as a page for people; self-contained."""
    from functions.http.docs_page import HEADERS, PAGE

    return func.HttpResponse(PAGE, headers=HEADERS, mimetype="text/html")


@bp.function_name("no_such_path")
@bp.route(route="{*path}", auth_level=_ANONYMOUS)
def no_such_path(req: func.HttpRequest) -> func.HttpResponse:
    """404, or 405 with `Allow` where the path exists for other methods."""
    exchange = Exchange(req)
    path = (req.route_params.get("path") or "").strip("/")
    allowed = _methods(path)
    if allowed:
        detail = f"This path takes {', '.join(allowed)}."
        return exchange.dressed(
            problem(
                405,
                "method-not-allowed",
                detail,
                instance=f"/api/{path}",
                trace_id=exchange.trace_id,
                headers={"Allow": ", ".join(allowed)},
            )
        )
    return exchange.dressed(
        problem(
            404,
            "no-such-path",
            "There is nothing at this path; see /api/docs.",
            instance=f"/api/{path}",
            trace_id=exchange.trace_id,
        )
    )


def _methods(path: str) -> list[str]:
    """What the description says the path takes. A literal path is more than one of a resource's ids."""
    from functions.http.openapi import document

    routes = {
        route.removeprefix("/api/"): _taken(route, item)
        for route, item in document(hub().settings.public_url)["paths"].items()
    }
    matching = [route for route in routes if _matches(route, path)]
    fewest = min((route.count("{") for route in matching), default=0)
    return sorted({method for route in matching if route.count("{") == fewest for method in routes[route]})


def _taken(route: str, item: Mapping[str, Any]) -> list[str]:
    """What others call by GET without credentials, such as the OAuth callback, does something: it takes no HEAD."""
    from functions.http.docs_operations import OPERATIONS_PATHS

    methods = [method.upper() for method in item if method in _METHODS]
    reads = "get" in item and (item["get"]["security"] or route in OPERATIONS_PATHS)
    return [*methods, *READ] if reads else methods


def _matches(route: str, path: str) -> bool:
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(route))
    return re.fullmatch(pattern, path, re.IGNORECASE) is not None
