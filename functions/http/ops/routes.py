"""Health, documentation, and the answer for paths that do not exist."""

from __future__ import annotations

import json
import sys

import azure.functions as func

from functions.http.kit.exchange import Exchange
from functions.http.kit.operations import API, methods_of
from functions.http.kit.problems import MethodNotAllowed, NoSuchPath, from_domain
from functions.http.kit.resource import serve
from infra.app.build import hub

bp = func.Blueprint()
_JSON = "application/json"


@serve(bp, "health/live")
async def health_live(req: func.HttpRequest) -> func.HttpResponse:
    """Return 200 while the process runs, with the Python that it runs on, by which a deployment is checked."""
    body = {"status": "live", "python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    return func.HttpResponse(json.dumps(body), mimetype=_JSON)


@serve(bp, "health/ready")
def health_ready(req: func.HttpRequest) -> func.HttpResponse:
    """Return 200 when every dependency answers, or 503 with those that do not."""
    states = hub().readiness()
    ready = all(state == "ok" for state in states.values())
    body = {"status": "ready" if ready else "unavailable", "dependencies": states}
    headers = {"Cache-Control": "no-store"} | ({} if ready else {"Retry-After": "5"})
    return func.HttpResponse(
        json.dumps(body), status_code=200 if ready else 503, headers=headers, mimetype=_JSON
    )


@serve(bp, "openapi.json")
def openapi(req: func.HttpRequest) -> func.HttpResponse:
    """Return the OpenAPI 3.1 description of this API."""
    from functions.http.openapi.document import document

    headers = {"Cache-Control": "public, max-age=300"}
    return func.HttpResponse(json.dumps(document(hub().settings.public_url)), headers=headers, mimetype=_JSON)


@serve(bp, "docs")
def docs(req: func.HttpRequest) -> func.HttpResponse:
    """Return the API reference as a self-contained page."""
    from functions.http.openapi.page import HEADERS, PAGE

    return func.HttpResponse(PAGE, headers=HEADERS, mimetype="text/html")


@serve(bp, "{*path}", methods=None)
def no_such_path(req: func.HttpRequest) -> func.HttpResponse:
    """Return 404, or 405 with `Allow` where the path exists for other methods."""
    exchange = Exchange(req)
    path = (req.route_params.get("path") or "").strip("/")
    allowed = methods_of(path)
    error = MethodNotAllowed(allowed) if allowed else NoSuchPath()
    return exchange.dressed(from_domain(error, instance=f"{API}{path}", trace_id=exchange.trace_id))
