"""OAuth 2: `/api/integrations/{id}/oauth` and the callback that providers redirect to."""

from __future__ import annotations

import logging
from http.cookies import CookieError, SimpleCookie

import azure.functions as func

from domain.core.errors import DomainError
from domain.core.permissions import CALENDAR_CONNECT, INTEGRATION_ADMIN, INTEGRATION_MANAGE
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
from infra.app.build import hub, use

logger = logging.getLogger("hub.oauth")
_TAG = "Integrations"
_CALLBACK = "oauth/callback"
#: Which of them is enough depends on whose calendar it is.
_ANY = (INTEGRATION_ADMIN, CALENDAR_CONNECT, INTEGRATION_MANAGE)
oauth = Resource("integrations/{id}/oauth", tag=_TAG)


@oauth.post(
    "authorize",
    any_permission=_ANY,
    body=Authorize,
    body_is_optional=True,
    response=AuthorizationView,
    refusals=(403, 409),
)
def authorize_integration(call: Call) -> ApiResponse:
    """Start OAuth authorisation.

    The answer contains the provider's page to send the user to; it works once and for ten minutes (PKCE, S256).
    The provider then redirects to `/api/oauth/callback`, which stores the tokens, validates and activates the
    integration, and redirects to `redirectAfter` or shows a page. The cookie in this answer ties the callback
    to this browser. Needs `integration:admin`, or `calendar:connect` or `integration:manage` for the caller's
    own calendar."""
    from domain.oauth.service import OAuthService

    command = call.body(Authorize, is_optional=True)
    begun = use(OAuthService).authorize(call.principal, call.id(), command)
    view = AuthorizationView(authorize_url=begun.authorize_url, expires_at=begun.expires_at)
    return ApiResponse(view, headers={"Set-Cookie": _cookie(begun)})


@oauth.get(
    permission=INTEGRATION_MANAGE, own_permission=CALENDAR_CONNECT, response=GrantView, refusals=(409,)
)
def get_integration_grant(call: Call) -> ApiResponse:
    """Get an integration's OAuth grant.

    The answer includes the granted scopes, who granted them, and when the access token expires and was
    refreshed."""
    from domain.oauth.service import OAuthService

    return ApiResponse(grant_view(use(OAuthService).get(call.principal, call.id())))


@oauth.post("revoke", any_permission=_ANY, response=GrantView, refusals=(403, 409, 412))
def revoke_integration_grant(call: Call) -> ApiResponse:
    """Revoke an integration's OAuth grant.

    Suspends the integration, revokes the tokens at the provider where it has an endpoint for that, and destroys
    the stored tokens in any case. Needs `integration:admin`, or `calendar:connect` or `integration:manage`
    for the caller's own calendar."""
    from domain.oauth.service import OAuthService

    return ApiResponse(grant_view(use(OAuthService).revoke(call.principal, call.id())))


@serve(oauth.bp, _CALLBACK, methods=("GET",))
async def oauth_callback(req: func.HttpRequest) -> func.HttpResponse:
    """Complete an authorisation when the provider redirects the user back.

    Nothing of the query is logged or shown."""
    from domain.oauth.completion import CallbackHandler

    exchange = Exchange(req)
    with exchange.bound(_CALLBACK):
        try:
            completion = await use(CallbackHandler).complete(_callback(req), _origin(req, exchange))
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
    """Return the cookie that ties the callback to this browser.

    SameSite=Lax: the browser sends it when the provider redirects there, and on no other request across sites."""
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
        summary="Complete OAuth authorisation",
        tag=_TAG,
        description="Providers redirect the user's browser here; the answer is a page for people, or 302 to "
        "`redirectAfter` when that was given and the integration is active. 403: access was not granted. 409: "
        "authorised, but the integration could not be activated. 502: the provider returned no token for the code.",
        anonymous=True,
        query=CallbackQuery,
        media_type="text/html",
        refusals=(400, 403, 409, 502),
    )
)
