"""OAuth 2 rules as pure functions: addresses, answers, and when to refresh."""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from domain.core.errors import Conflict, FieldError, ValidationFailed
from domain.core.permissions import INTEGRATION_ADMIN, INTEGRATION_MANAGE
from domain.core.postponing import doubled
from domain.core.principal import Principal
from domain.integrations.access import is_own_calendar, reached
from domain.integrations.model import Integration
from domain.oauth.model import Tokens
from domain.oauth.ports import TokenResponse
from domain.providers.contract import (
    Configuration,
    FailureKind,
    ProviderFailure,
)
from domain.providers.oauth_profile import OAuthProfile

#: How long a state is valid, as is the provider's sign-in page in practice.
STATE_LIFETIME = timedelta(minutes=10)
#: The timer refreshes this long ahead of expiry, or half a lifetime where that is shorter.
REFRESH_AHEAD = timedelta(minutes=15)
#: A caller refreshes when no more than this is left, or a quarter of the lifetime.
REFRESH_AT = timedelta(minutes=5)
#: What clocks may differ by: a token with less left is not handed out.
CLOCK_SKEW = timedelta(seconds=60)
#: Salesforce names no lifetime; its shortest common session timeout is longer than this.
ASSUMED_LIFETIME = timedelta(minutes=30)
_LIFETIME_MAX = timedelta(days=365)
#: Longer than the longest call to a token endpoint (30 s) and the writes after it.
LEASE = timedelta(seconds=60)
_FIRST_RETRY = timedelta(seconds=15)
_LONGEST_RETRY = timedelta(minutes=15)
_PLACE = re.compile(r"\{(\w+)\}")
_TOKEN_MAX = 10_000


def may_authorize(principal: Principal, integration: Integration) -> None:
    """Require an administrator, or the owner of the calendar who may connect calendars or manage integrations.

    Raises Forbidden, and NotFound for what the caller cannot see."""
    if INTEGRATION_ADMIN in principal.permissions:
        return
    reached(principal, INTEGRATION_MANAGE, integration)
    if not is_own_calendar(principal, integration):
        principal.require(INTEGRATION_ADMIN)


def check_redirect_after(path: str | None) -> None:
    """Require a path of this site that no browser reads as another site. Raises ValidationFailed."""
    if path is None:
        return
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path
    if not is_local or not path.isascii() or not path.isprintable() or " " in path:
        detail = "Start with one '/'; no scheme, host, space or backslash."
        errors = [FieldError("/redirectAfter", detail)]
        raise ValidationFailed("redirectAfter must be a path of this site.", errors)


def challenge(verifier: str) -> str:
    """Return the S256 challenge of RFC 7636 section 4.2."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def filled(template: str, configuration: Configuration) -> str:
    """Return the template with each `{name}` replaced by that field of the configuration."""
    return _PLACE.sub(lambda match: str(getattr(configuration, match[1])), template)


def authorize_url(
    profile: OAuthProfile, configuration: Configuration, *, redirect_uri: str, state: str, verifier: str
) -> str:
    """Return the authorize address (RFC 6749 section 4.1.1, RFC 7636 section 4.3); our parameters win."""
    parameters = {
        **profile.extra_authorize_parameters,
        "response_type": "code",
        "client_id": client_of(configuration)[0],
        "redirect_uri": redirect_uri,
        "scope": " ".join(profile.scopes),
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    url = filled(profile.authorize_url, configuration)
    return f"{url}{'&' if '?' in url else '?'}{urlencode(parameters, quote_via=quote)}"


def client_of(configuration: Configuration) -> tuple[str, str]:
    """Return client id and secret. Raises Conflict where the configuration has none."""
    client_id = getattr(configuration, "client_id", None)
    client_secret = getattr(configuration, "client_secret", None)
    if not client_id or not client_secret:
        detail = "The configuration has no OAuth client: set clientId and clientSecret first."
        raise Conflict(detail, code="oauth-not-configured")
    return client_id, client_secret


def tokens_of(
    answer: TokenResponse, profile: OAuthProfile, *, asked_at: datetime, fence: int, before: Tokens | None
) -> Tokens:
    """Return the tokens of a successful answer (RFC 6749 section 5.1). Raises ProviderFailure (`malformed`).

    - `asked_at`: the moment before the request, so that a slow answer shortens the lifetime.
    - `before`: the tokens refreshed; their refresh token and scopes stay where the answer has none."""
    body = answer.body
    access_token, refresh_token = body.get("access_token"), body.get("refresh_token")
    if not _is_token(access_token) or str(body.get("token_type", "bearer")).lower() != "bearer":
        raise ProviderFailure("malformed", "The token endpoint's answer holds no bearer token.")
    if refresh_token is not None and not _is_token(refresh_token):
        raise ProviderFailure("malformed", "The token endpoint's refresh token cannot be read.")
    scope = body.get("scope")
    if isinstance(scope, str) and scope.strip():
        scopes = granted_scopes(scope, profile)
    else:
        scopes = before.scopes if before else tuple(profile.scopes)
    return Tokens(
        access_token=str(access_token),
        refresh_token=refresh_token or (before.refresh_token if before else None),
        scopes=scopes,
        obtained_at=asked_at,
        expires_at=asked_at + _lifetime(body.get("expires_in")),
        fence=fence,
    )


def granted_scopes(text: str, profile: OAuthProfile) -> tuple[str, ...]:
    """Return the scopes of an answer, spelled as the profile asks for them where they mean the same.

    Microsoft may answer `https://graph.microsoft.com/User.Read` to `User.Read`, and does not tell cases apart."""
    asked = {scope.lower(): scope for scope in profile.scopes}
    names = []
    for given in text.replace(",", " ").split():
        bare = given.lower()
        for prefix in profile.scope_prefixes:
            bare = bare.removeprefix(prefix.lower())
        spelled = asked.get(bare) if profile.scope_prefixes else None
        names.append(spelled or given)
    return tuple(dict.fromkeys(names))


def failure_of(answer: TokenResponse) -> ProviderFailure:
    """Return the failure that an answer without tokens means; `is_revoked` was asked before."""
    kind: FailureKind = "rejected"
    if answer.status >= 500:
        kind = "unavailable"
    elif answer.status == 429:
        kind = "rate_limited"
    elif answer.status == 401 or answer.body.get("error") in ("invalid_client", "unauthorized_client"):
        kind = "unauthorized"
    elif answer.status < 400:
        kind = "malformed"
    detail = f"The authorization server did not give a token. {answer.detail}"
    return ProviderFailure(kind, detail, status=answer.status, retry_after_seconds=answer.retry_after_seconds)


def refresh_failure(answer: TokenResponse) -> ProviderFailure:
    """Return the failure that a refresh without tokens means: an outage (5xx, 408, 429), or a refusal (other 4xx)."""
    failure = failure_of(answer)
    is_limited = answer.status == 403 and answer.retry_after_seconds is not None
    if answer.status >= 500 or answer.status in (408, 429) or is_limited:
        failure.kind = "unavailable"
    elif 400 <= answer.status < 500:
        failure.kind, failure.of_grant = "unauthorized", True
    return failure


def is_revoked(answer: TokenResponse, profile: OAuthProfile) -> bool:
    """Return whether the answer to a refresh says that the grant was revoked, which no outage does.

    Vendors put the code under `error` (RFC 6749 section 5.2); HubSpot also has `status`."""
    if not 400 <= answer.status < 500 or answer.status == 429:
        return False
    return any(str(answer.body.get(name)) in profile.revoked_errors for name in ("error", "status"))


def due_at(obtained_at: datetime, expires_at: datetime) -> datetime:
    return expires_at - min(REFRESH_AHEAD, (expires_at - obtained_at) / 2)


def wants_refresh(tokens: Tokens, now: datetime) -> bool:
    """Return whether a caller should refresh the tokens first."""
    lifetime = tokens.expires_at - tokens.obtained_at
    return tokens.expires_at - now <= min(REFRESH_AT, lifetime / 4)


def is_usable(tokens: Tokens, now: datetime) -> bool:
    """Return whether the access token may still be used while no newer one can be had."""
    lifetime = tokens.expires_at - tokens.obtained_at
    return tokens.expires_at - now > min(CLOCK_SKEW, lifetime / 10)


def retry_at(now: datetime, failures: int, asked_seconds: float | None) -> datetime:
    """Return when to retry after so many failures in a row: 15 s doubling to 15 minutes, or longer if asked to."""
    backoff = doubled(_FIRST_RETRY, failures - 1, _LONGEST_RETRY)
    return now + max(backoff, timedelta(seconds=min(asked_seconds or 0, 3600)))


def denial(error: str) -> str:
    """Say what an error code of RFC 6749 section 4.1.2.1 or OpenID Connect Core section 3.1.2.6 means.

    The server's own text is never repeated, because anyone can write it."""
    return _DENIALS.get(error, "The provider did not grant access.")


_DENIALS: Mapping[str, str] = {
    "access_denied": "Access was not granted.",
    "invalid_scope": "The provider does not know, or does not allow, the permissions asked for.",
    "unauthorized_client": "The provider does not allow this application to ask for access.",
    "invalid_request": "The provider did not understand the request; check the client id and redirect address.",
    "unsupported_response_type": "The provider does not offer the authorization code flow to this application.",
    "server_error": "The provider had a problem of its own.",
    "temporarily_unavailable": "The provider is overloaded or down for maintenance.",
    "interaction_required": "The provider needs you to sign in again.",
    "login_required": "The provider needs you to sign in first.",
    "consent_required": "The provider needs consent, perhaps an administrator's.",
}


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _TOKEN_MAX and value.isascii() and value.isprintable()


def _lifetime(expires_in: Any) -> timedelta:
    try:
        seconds = 0.0 if isinstance(expires_in, bool) else float(expires_in)
    except (TypeError, ValueError):
        return ASSUMED_LIFETIME
    if not 0 < seconds < float("inf"):
        return ASSUMED_LIFETIME
    return min(timedelta(seconds=min(seconds, 1e9)), _LIFETIME_MAX)
