"""How we are let into SignalR Service: an access key, or a managed identity."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import jwt

from domain.core.errors import Unavailable
from infra.azure.credential import IdentityTokens

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_SCOPE: Final = "https://signalr.azure.com/.default"
_SERVICE_TOKEN_LIFETIME = timedelta(minutes=5)


class Access(Protocol):
    """Tokens for one SignalR Service."""

    @property
    def endpoint(self) -> str:
        """`https://<name>.service.signalr.net`, without a slash at the end."""

    def service_token(self, audience: str, now: datetime) -> str:
        """Return a bearer token for the REST call to this address (without query). Raises Unavailable."""

    def client_token(self, audience: str, user: str, now: datetime, lifetime: timedelta) -> str | None:
        """Return a token for a client, or None where the service has to make it."""


class KeyAccess:
    """Signs with the access key of a connection string."""

    def __init__(self, connection_string: str) -> None:
        """`Endpoint=https://...;AccessKey=...;Version=1.0;`. Raises ValueError, without quoting it."""
        parts = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
        named = {name.strip().lower(): value.strip() for name, value in parts.items()}
        endpoint, key = named.get("endpoint"), named.get("accesskey")
        if not endpoint or not key:
            raise ValueError("AzureSignalRConnectionString needs Endpoint and AccessKey")
        port = f":{named['port']}" if named.get("port") else ""
        self._endpoint = endpoint.rstrip("/") + port
        self._key = key

    @property
    def endpoint(self) -> str:
        return self._endpoint

    def service_token(self, audience: str, now: datetime) -> str:
        return self._signed(audience, now, _SERVICE_TOKEN_LIFETIME, {})

    def client_token(self, audience: str, user: str, now: datetime, lifetime: timedelta) -> str:
        return self._signed(audience, now, lifetime, {"nameid": user, "asrs.s.uid": user})

    def _signed(self, audience: str, now: datetime, lifetime: timedelta, claims: dict[str, str]) -> str:
        issued = int(now.timestamp())
        times = {"iat": issued, "nbf": issued - 30, "exp": issued + int(lifetime.total_seconds())}
        return jwt.encode({**claims, **times, "aud": audience}, self._key, algorithm="HS256")


class IdentityAccess:
    """Enters with a managed identity that has the role SignalR REST API Owner."""

    def __init__(
        self, endpoint: str, *, client_id: str | None, credential: TokenCredential | None = None
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._identity = IdentityTokens(client_id, credential)

    @property
    def endpoint(self) -> str:
        return self._endpoint

    def service_token(self, audience: str, now: datetime) -> str:
        """Entra ID's token, which the credential keeps until it is about to expire."""
        from azure.core.exceptions import AzureError

        try:
            return self._identity.token(_SCOPE)
        except AzureError as error:
            raise Unavailable(f"No token for SignalR Service: {type(error).__name__}") from None

    def client_token(self, audience: str, user: str, now: datetime, lifetime: timedelta) -> None:
        return None
