"""`/api/webhooks/incoming/{integrationId}`: where providers send their webhooks.

The caller has no credentials of the hub; each request is verified by the provider's own scheme."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

import azure.functions as func

from domain.core.errors import Unauthenticated
from domain.incoming.receive import Caller, IncomingReceiver, Receipt, unknown_address
from domain.incoming.rules import query_of
from domain.providers.contract import IncomingRequest
from functions.http.incoming.views import ReceiptView
from functions.http.kit.bodies import INCOMING, check_arrived, hold_body
from functions.http.kit.exchange import Exchange
from functions.http.kit.operations import OPERATIONS, ApiOperation
from functions.http.kit.origin import client_ip
from functions.http.kit.problems import MethodNotAllowed, problem
from functions.http.kit.resource import serve
from functions.http.kit.tracing import NO_CONTEXT
from infra.app.build import hub, use

bp = func.Blueprint()
_PLAIN = "webhooks/incoming/{integrationId}"
_ROTATED = "webhooks/incoming/{integrationId}/{token}"
_ANSWERED_TYPES = ("text/plain", "application/json", "application/xml", "text/xml")
_REPEATED = (
    "Without an id an equal body is a repeat: within the tolerance where a "
    "timestamp is signed, else for 365 days or the integration's `repeatWindow`."
)
_METHODS = ("POST", "GET", "OPTIONS")


@serve(bp, _PLAIN, methods=_METHODS)
async def receive_webhook(req: func.HttpRequest, context: func.Context = NO_CONTEXT) -> func.HttpResponse:
    """Receive a webhook at the integration's plain URL."""
    return await _exchanged(req, Exchange(req, context), _PLAIN)


@serve(bp, _ROTATED, methods=_METHODS)
async def receive_webhook_at_rotated_url(
    req: func.HttpRequest, context: func.Context = NO_CONTEXT
) -> func.HttpResponse:
    """Receive a webhook at a URL that a rotation gave."""
    return await _exchanged(req, Exchange(req, context), _ROTATED)


async def _exchanged(req: func.HttpRequest, exchange: Exchange, route: str) -> func.HttpResponse:
    with exchange.bound(route):
        try:
            INCOMING.check(req)
            check_arrived(req)
            with hold_body(req.route_params.get("integrationId"), req):
                return exchange.dressed(_answer(await _receive(req, exchange.traceparent)))
        except Unauthenticated as error:
            return exchange.dressed(_unauthenticated(error, exchange))
        except Exception as error:
            return exchange.failed(error)


async def _receive(req: func.HttpRequest, traceparent: str) -> Receipt:
    headers = {name.lower(): value for name, value in req.headers.items()}
    if req.method == "OPTIONS" and "webhook-request-origin" not in headers:
        raise MethodNotAllowed(("GET", "POST"))  # a browser's question, which no provider asks
    ours = hub()
    source_ip = client_ip(headers.get("x-forwarded-for"), ours.settings.trusted_proxy_hops)
    caller = Caller(req.route_params.get("token"), source_ip, traceparent)
    return await use(IncomingReceiver).receive(_integration_id(req), _incoming(req, headers), caller)


def _integration_id(req: func.HttpRequest) -> UUID:
    try:
        return UUID(req.route_params["integrationId"])
    except ValueError:
        raise unknown_address() from None


def _incoming(req: func.HttpRequest, headers: dict[str, str]) -> IncomingRequest:
    """Return the request under its public URL, which providers sign, whatever host name a proxy calls."""
    ours, parts = hub(), urlsplit(req.url)
    query = f"?{parts.query}" if parts.query else ""
    return IncomingRequest(
        method=(req.method or "POST").upper(),
        url=f"{ours.settings.public_url.rstrip('/')}{parts.path}{query}",
        headers=headers,
        query=query_of(req.url),
        body=req.get_body(),
        received_at=ours.clock.now(),
    )


def _answer(receipt: Receipt) -> func.HttpResponse:
    status = 202 if receipt.accepted else 200
    if receipt.body is not None:
        kind = receipt.content_type if receipt.content_type in _ANSWERED_TYPES else "text/plain"
        return func.HttpResponse(receipt.body, status_code=200, mimetype=kind, headers=dict(receipt.headers))
    note = _REPEATED if receipt.repeated_by_content else None
    view = ReceiptView(accepted=receipt.accepted, duplicates=receipt.duplicates, note=note)
    return func.HttpResponse(
        view.model_dump_json(by_alias=True, exclude_none=True),
        status_code=status,
        mimetype="application/json",
    )


def _unauthenticated(error: Unauthenticated, exchange: Exchange) -> func.HttpResponse:
    """Return 401 with a challenge that does not ask for a bearer token, which would not help.

    RFC 9110 section 11.6.1."""
    headers = {"WWW-Authenticate": 'Signature realm="incoming-webhooks"'}
    return problem(
        401,
        error.code,
        error.detail,
        instance=exchange.shown_path,
        trace_id=exchange.trace_id,
        headers=headers,
    )


def _documented(route: str, name: str, method: str) -> ApiOperation:
    descriptions = {
        "POST": "Verified by the provider's own signature scheme over the raw body: at most 1 MiB, within 5 minutes "
        "of its timestamp. 202 when its events are stored, 200 for a repeat or a handshake. Each event is raised as "
        "`<provider>.<type>` for subscribers, and as `WebhookReceived`. 404 where no webhooks are accepted.",
        "GET": "Some providers check the URL, or send their webhooks, with GET.",
        "OPTIONS": "CloudEvents' handshake, as Azure Event Grid sends it: a request with `WebHook-Request-Origin` is "
        "answered with `WebHook-Allowed-Origin`.",
    }
    return ApiOperation(
        method=method,
        route=route,
        name=name,
        summary="Receive a provider's webhook" if method == "POST" else "Answer a provider's handshake",
        tag="Incoming webhooks",
        description=descriptions[method],
        anonymous=True,
        body_limit=INCOMING,
        response=ReceiptView,
        status=202 if method == "POST" else 200,
        refusals=(401, 403, 409, 411, 413) if method == "POST" else (401, 403),
    )


OPERATIONS += [
    _documented(_PLAIN, "receive_webhook", "POST"),
    _documented(_PLAIN, "receive_handshake", "GET"),
    _documented(_PLAIN, "receive_preflight", "OPTIONS"),
    _documented(_ROTATED, "receive_webhook_at_rotated_url", "POST"),
    _documented(_ROTATED, "receive_handshake_at_rotated_url", "GET"),
    _documented(_ROTATED, "receive_preflight_at_rotated_url", "OPTIONS"),
]
