"""Azure SignalR Service in serverless mode, over its data-plane REST API.

https://learn.microsoft.com/azure/azure-signalr/signalr-reference-data-plane-rest-api
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote
from uuid import UUID

from domain.core.errors import Unavailable
from domain.core.ports import Clock
from domain.core.principal import Principal
from domain.core.realtime import KINDS, Negotiated, Payload, group_of, groups_of, lifetime_of, user_of
from infra.azure.outage import Away, Outage
from infra.azure.signalr.access import Access
from infra.azure.signalr.sender import MessageSender

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("hub.realtime")

#: The service takes letters, digits and underscores in a hub's name; clients never see it but in the URL.
AZURE_HUB: Final = "integration_hub"
API_VERSION: Final = "2024-12-01"
TIMEOUT_SECONDS = 3.0
"""For each step of a call: to connect, and to be answered."""
PAUSE_SECONDS = 2.0
"""How long calls fail at once after one waited for nothing; then one at a time asks whether it is back."""
_REFUSAL: Final = "SignalR Service does not do as asked"


class AzureSignalR:
    """Implements Realtime. Thread-safe.

    Groups cannot ride on an access token of this service, so a negotiation puts the user into its groups, for as
    long as the token lasts, and out of the others: the latest negotiation counts for all connections of a user.
    """

    def __init__(
        self,
        access: Access,
        clock: Clock,
        *,
        window_seconds: float = 0.2,
        timeout_seconds: float = TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Gather messages to one group into one request for `window_seconds`.

        After a call that was not answered in time, calls fail at once for `PAUSE_SECONDS` of `monotonic`."""
        self._timeout_seconds = timeout_seconds
        self._outage = Outage("SignalR Service", _is_away, pause_seconds=PAUSE_SECONDS, monotonic=monotonic)
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._outbox = MessageSender(self._send, window_seconds=window_seconds)

    def negotiate(self, principal: Principal) -> Negotiated:
        """Return where and with which token to connect. Raises Unavailable when the service does not answer."""
        user, allowed = user_of(principal), groups_of(principal)
        now = self._clock.now()
        lifetime = lifetime_of(principal, now)
        seconds = int(lifetime.total_seconds())
        for kind in KINDS:
            group = group_of(principal.tenant_id, kind)
            path = f"users/{_quoted(user)}/groups/{_quoted(group)}"
            if group in allowed:
                self._call("PUT", path, {"ttl": str(seconds)})
            else:
                self._call("DELETE", path)
        url = f"{self._access.endpoint}/client/?hub={AZURE_HUB}"
        # The service counts in minutes. A token that outlasts its groups for a moment lets in, and hears nothing.
        token = self._access.client_token(url, user, now, lifetime) or self._generated(
            user, max(1, seconds // 60)
        )
        return Negotiated(url, token, now + lifetime)

    def publish(self, tenant_id: UUID, kind: str, payloads: Sequence[Payload]) -> None:
        """As the port says; sent by a thread of its own, together with what else its group is to hear."""
        self._outbox.put(group_of(tenant_id, kind), kind, payloads)

    def listening(self, tenant_id: UUID, kind: str) -> bool:
        """Return True: asking the service would cost as much as telling it."""
        return True

    def close(self, user: str) -> bool:
        """Close the user's connections.

        The user leaves its groups first: a connection opened with a token that is still good then hears nothing."""
        path = f"users/{_quoted(user)}"
        reason = {"reason": "Access was revoked."}
        is_done = True
        for method, what, query in (("DELETE", "groups", None), ("POST", ":closeConnections", reason)):
            try:
                self._call(method, f"{path}/{what}", query)
            except Unavailable as error:
                is_done = False
                logger.error("realtime connections not closed", extra={"user": user, "reason": error.detail})
        return is_done

    def shut(self) -> None:
        """Send what waits, and close."""
        self._outbox.shut()
        if self._client is not None:
            self._client.close()

    def _send(self, group: str, kind: str, payloads: Sequence[Payload]) -> None:
        body = {"target": kind, "arguments": [list(payloads)]}
        try:
            self._call("POST", f"groups/{_quoted(group)}/:send", body=body)
        except Away:
            return  # Whoever found it away has said so.
        except Unavailable as error:
            logger.warning("realtime message lost", extra={"kind": kind, "reason": error.detail})

    def _generated(self, user: str, minutes: int) -> str:
        """Ask the service for a client token, where we hold no key of it."""
        answer = self._call("POST", ":generateToken", {"userId": user, "minutesToExpire": str(minutes)})
        token = answer.json().get("token")
        if not isinstance(token, str):
            raise Unavailable("SignalR Service gave no token.")
        return token

    def _opened(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                self._client = httpx.Client(timeout=self._timeout_seconds)
            return self._client

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, body: Any = None
    ) -> httpx.Response:
        """Call the service; 404 is an answer: there is no such user, group or connection.

        Raises Unavailable; Away, without a call, while the service is away."""
        import httpx

        url = f"{self._access.endpoint}/api/hubs/{AZURE_HUB}/{path}"
        params = {**(query or {}), "api-version": API_VERSION}

        def asked() -> httpx.Response:
            headers = {"Authorization": f"Bearer {self._access.service_token(url, self._clock.now())}"}
            return self._opened().request(method, url, params=params, json=body, headers=headers)

        try:
            with self._outage.asked():
                answer = _asked_again(asked)
        except httpx.HTTPError as error:
            raise Unavailable(f"{_REFUSAL}: {type(error).__name__}.") from None
        if answer.is_success or (answer.status_code == 404 and method != "PUT"):
            return answer
        raise Unavailable(f"{_REFUSAL}: it answered {answer.status_code}.")


def _asked_again(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Once more where that may help: who got no answer in time seldom gets one at the next try."""
    import httpx

    try:
        answer = ask()
    except httpx.TimeoutException:
        raise
    except httpx.HTTPError:
        return ask()
    return ask() if answer.status_code >= 500 or answer.status_code == 429 else answer


def _is_away(error: Exception) -> bool:
    """Whether finding out took long: who is refused knows at once, and may ask again."""
    import httpx

    return isinstance(error, httpx.TimeoutException)


def _quoted(name: str) -> str:
    return quote(name, safe="")
