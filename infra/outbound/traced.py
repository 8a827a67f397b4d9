"""The way out to providers with a span for each request; where nothing is traced it is not there."""

from __future__ import annotations

from domain.core.ports import OutboundError, OutboundRequest, OutboundResponse
from domain.core.tracing import Tracer, client_span, tell_answer
from infra.observability.trace import current_header
from infra.outbound.client import OutboundClient


class TracedClient:
    """Implements OutboundHttp over another client. A request that is tried again has a span for each try. Providers
    are not sent the trace: it is none of theirs, and some sign their headers."""

    def __init__(self, client: OutboundClient, tracer: Tracer) -> None:
        self._client = client
        self._tracer = tracer

    async def send(self, request: OutboundRequest) -> OutboundResponse:
        """As the port says; the span is a child of the current one."""
        came: OutboundResponse | OutboundError
        with client_span(self._tracer, request.method, request.url, parent=current_header()) as span:
            try:
                came = await self._client.send(request)
            except OutboundError as error:
                came = error
            tell_answer(span, came)
        if isinstance(came, OutboundError):
            raise came
        return came

    async def check(self, url: str) -> None:
        """As the port says."""
        await self._client.check(url)

    async def close(self) -> None:
        """As the client says."""
        await self._client.close()
