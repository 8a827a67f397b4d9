"""`/api/realtime`: how a client connects for realtime messages (SignalR; section 4)."""

from __future__ import annotations

from pydantic import Field

from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.resource import Resource
from functions.http.kit.views import Moment, View
from infra.app.build import hub

realtime = Resource("realtime", tag="Realtime")


class NegotiatedView(View):
    url: str = Field(description="Where the SignalR client connects")
    access_token: str = Field(description="Lets it in; good for `url` only")
    expires_at: Moment = Field(description="When the connection ends; negotiate again before")


@realtime.post("negotiate", response=NegotiatedView, refusals=(503,), foreign_query=True)
def negotiate_realtime(call: Call) -> ApiResponse:
    """Negotiate a realtime connection.

    For a SignalR client with the address `/api/realtime`: it sends this request itself and connects to the
    `url` of the answer. The connection gets messages of its own tenant only:

    - `deliveryUpdated`, with the permission `webhook:manage`
    - `syncProgress` and `integrationHealth`, with `integration:manage`
    - `alertChanged`, with `alerts:read`

    Each message has one argument, a list. The connection lasts at most an hour, and no longer than the API key
    or token. Revoking a key closes the connections it opened."""
    negotiated = hub().realtime.negotiate(call.principal)
    return ApiResponse(
        NegotiatedView(
            url=negotiated.url, access_token=negotiated.access_token, expires_at=negotiated.expires_at
        )
    )
