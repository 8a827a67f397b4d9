"""Health, documentation, and the answer for paths that do not exist."""

from __future__ import annotations

import json

import azure.functions as func

from functions.http.kit.endpoint import READ
from functions.http.kit.exchange import Exchange
from functions.http.kit.problems import MethodNotAllowed, NoSuchPath, from_domain
from infra.app.build import hub

bp = func.Blueprint()
_ANONYMOUS = func.AuthLevel.ANONYMOUS
_JSON = "application/json"


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
    from functions.http.openapi.document import document

    headers = {"Cache-Control": "public, max-age=300"}
    return func.HttpResponse(json.dumps(document(hub().settings.public_url)), headers=headers, mimetype=_JSON)


@bp.function_name("docs")
@bp.route(route="docs", methods=READ, auth_level=_ANONYMOUS)
def docs(req: func.HttpRequest) -> func.HttpResponse:
    """The same as a page for people; self-contained."""
    from functions.http.openapi.page import HEADERS, PAGE

    return func.HttpResponse(PAGE, headers=HEADERS, mimetype="text/html")


@bp.function_name("no_such_path")
@bp.route(route="{*path}", auth_level=_ANONYMOUS)
def no_such_path(req: func.HttpRequest) -> func.HttpResponse:
    """404, or 405 with `Allow` where the path exists for other methods."""
    from functions.http.kit.described import methods_of

    exchange = Exchange(req)
    path = (req.route_params.get("path") or "").strip("/")
    allowed = methods_of(path)
    error = MethodNotAllowed(allowed) if allowed else NoSuchPath()
    return exchange.dressed(from_domain(error, instance=f"/api/{path}", trace_id=exchange.trace_id))
