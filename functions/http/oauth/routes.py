"""OAuth 2: `/api/integrations/{id}/oauth` and the callback that providers redirect to."""

from __future__ import annotations

import logging
from http.cookies import CookieError, SimpleCookie

import azure.functions as func

from domain.core.errors import DomainError
from domain.core.permissions import INTEGRATION_MANAGE
from domain.core.principal import RequestOrigin
from domain.oauth.model import Authorization, Authorize, Callback
from domain.oauth.rules import STATE_LIFETIME
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.exchange import Exchange
from functions.http.kit.operations import API, OPERATIONS, ApiOperation
from functions.http.kit.origin import client_ip
from functions.http.kit.problems import status_of
from functions.http.kit.resource import Resource, serve
from functions.http.oauth.page import completed, failed
from functions.http.oauth.views import AuthorizationView, CallbackQuery, GrantView, grant_view
from infra.app.build import hub

logger = logging.getLogger("hub.oauth")
_TAG = "Integrations"
_CALLBACK = "oauth/callback"
oauth = Resource("integrations/{id}/oauth", tag=_TAG)


@oauth.post(
    "authorize", body=Authorize, body_is_optional=True, response=AuthorizationView, refusals=(403, 409)
)
def authorize_integration(call: Call) -> ApiResponse:
    """Begin OAuth authorisation.

    Answers with the provider's page to send the user to, good for ten minutes and one use (PKCE, S256). The
    provider then redirects to `/api/oauth/callback`, which stores the tokens, validates and activates the
    integration, and goes on to `redirectAfter` or shows a page. The cookie in this answer ties the callback to this
    browser. Needs `integration:admin`, or `integration:manage` and a calendar of one's own."""
    command = call.body(Authorize, is_optional=True)
    begun = hub().oauth.service.authorize(call.principal, call.id(), command)
    view = AuthorizationView(authorize_url=begun.authorize_url, expires_at=begun.expires_at)
    return ApiResponse(view, headers={"Set-Cookie": _cookie(begun)})


@oauth.get(permission=INTEGRATION_MANAGE, response=GrantView, refusals=(409,))
def get_integration_grant(call: Call) -> ApiResponse:
    """Get the OAuth grant.

    Which scopes were granted, by whom, and how the access token is kept fresh."""
    return ApiResponse(grant_view(hub().oauth.service.get(call.principal, call.id())))


@oauth.post("revoke", response=GrantView, refusals=(403, 409, 412))
def revoke_integration_grant(call: Call) -> ApiResponse:
    """Withdraw the OAuth grant.

    Suspends the integration, revokes the tokens at the provider where it has an endpoint for that, and destroys
    them here whatever it says. Needs `integration:admin`, or `integration:manage` and a calendar of one's own."""
    return ApiResponse(grant_view(hub().oauth.service.revoke(call.principal, call.id())))


@serve(oauth.bp, _CALLBACK, methods=("GET",))
async def oauth_callback(req: func.HttpRequest) -> func.HttpResponse:
    """Where providers send the user back to. Nothing of the query is logged or shown."""
    exchange = Exchange(req)
    with exchange.bound(_CALLBACK):
        try:
            completion = await hub().oauth.callback_handler.complete(_callback(req), _origin(req, exchange))
            return exchange.dressed(completed(completion))
        except DomainError as error:
            logger.warning("OAuth callback failed", extra={"code": error.code})
            return exchange.dressed(failed(status_of(error), error.detail))
        except Exception as error:
            # The text may quote the code: only the kind is logged.
            logger.error("OAuth callback failed unexpectedly", extra={"error": type(error).__name__})
            return exchange.dressed(
                failed(500, f"An error on our side; quote {exchange.trace_id} when you report it.")
            )


def _callback(req: func.HttpRequest) -> Callback:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(req.headers.get("cookie", ""))
    except CookieError:
        cookies.clear()
    return Callback(
        req.params.get("state", ""),
        req.params.get("code", ""),
        req.params.get("error", ""),
        [(name, morsel.value) for name, morsel in cookies.items()],
    )


def _origin(req: func.HttpRequest, exchange: Exchange) -> RequestOrigin:
    ip = client_ip(req.headers.get("x-forwarded-for"), hub().settings.trusted_proxy_hops)
    return RequestOrigin(ip, exchange.request_id, exchange.trace_id)


def _cookie(begun: Authorization) -> str:
    """SameSite=Lax: it comes along when the provider redirects the browser, and with nothing else across sites."""
    secure = "; Secure" if hub().settings.public_url.startswith("https:") else ""
    lifetime = int(STATE_LIFETIME.total_seconds())
    return (
        f"{begun.browser_name}={begun.browser_secret}; Max-Age={lifetime}; Path={API}{_CALLBACK}; HttpOnly; "
        f"SameSite=Lax{secure}"
    )


OPERATIONS.append(
    ApiOperation(
        method="GET",
        route=_CALLBACK,
        name="oauth_callback",
        summary="Finish OAuth authorisation",
        tag=_TAG,
        description="Where providers redirect the user's browser to; answers with a page for people. 302 to "
        "`redirectAfter` instead when it was given and all went well. 403: access was not granted. "
        "409: authorised, but the integration could not be activated. 502: the provider gave no token "
        "for the code.",
        anonymous=True,
        query=CallbackQuery,
        media_type="text/html",
        refusals=(400, 403, 409, 502),
    )
)
