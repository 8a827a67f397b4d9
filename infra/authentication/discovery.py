"""Fetching an issuer's key set over HTTP."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from domain.core.errors import Unavailable
from domain.core.web_address import BadAddress, require_https
from infra.authentication.keys import SigningKey, parse_key_set

if TYPE_CHECKING:
    import httpx

#: Stands for the token's own tenant in the issuer of a multi-tenant Entra ID application.
TENANT_PLACEHOLDER: Final = "{tenantid}"

_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 512 * 1024


class IssuerKeys:
    """The key set of one issuer: at `jwks_url`, or where its OpenID discovery document says.

    Only https is spoken, except to loopback where `allow_loopback_http`; redirects are not followed.
    The constructor raises ValueError for an address it would refuse, so a bad setting fails at start.
    """

    def __init__(
        self, issuer: str, jwks_url: str | None = None, *, allow_loopback_http: bool = False
    ) -> None:
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._allow_loopback_http = allow_loopback_http
        self._discovery_url = (
            issuer.replace(TENANT_PLACEHOLDER, "common").rstrip("/") + "/.well-known/openid-configuration"
        )
        self._check(jwks_url or self._discovery_url)

    def fetch(self) -> dict[str, SigningKey]:
        """One or two GETs of at most 5 seconds and 512 KiB each. Raises Unavailable."""
        import httpx  # here: most processes answer from keys already held

        try:
            with httpx.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
                url = self._jwks_url or self._discover(client)
                return parse_key_set(_get_json(client, url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise Unavailable("The token issuer's keys cannot be fetched; try again shortly.") from error

    def _discover(self, client: httpx.Client) -> str:
        document = _get_json(client, self._discovery_url)
        if not isinstance(document, dict) or document.get("issuer") != self._issuer:
            raise ValueError("the discovery document names another issuer")  # OpenID Discovery 1.0, 4.3
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError("the discovery document names no jwks_uri")
        self._check(url)
        return url

    def _check(self, url: str) -> None:
        try:
            require_https(url, allow_loopback=self._allow_loopback_http)
        except BadAddress as error:
            raise ValueError(f"The token issuer's address must be https and well formed: {error}") from None


def _get_json(client: httpx.Client, url: str) -> Any:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    body = bytearray()
    with client.stream("GET", url, headers={"Accept": "application/json"}) as response:
        if response.status_code != 200:
            raise ValueError(f"the issuer answered {response.status_code}")
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _MAX_BYTES:
                raise ValueError("the issuer's answer is too large")
            if time.monotonic() > deadline:
                raise ValueError("the issuer's answer takes too long")
    return json.loads(body)
