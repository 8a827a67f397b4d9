"""The way out for provider adapters: one transport of httpx over the outbound client.

What is beneath it changes in this package alone. Adapters use it without `httpx.AsyncClient`, whose cookies, redirects
and authentication are forbidden here and take as long as the exchange itself.
"""

from __future__ import annotations

import math
from typing import Protocol

import httpx

from domain.core.ports import OutboundError, OutboundResponse
from domain.core.tracing import UNTRACED, Tracer, client_span, tell_answer
from infra.observability.trace import current_header
from infra.outbound.request import OutboundRequest

_LIMITS = frozenset(("timeout_seconds", "max_response_bytes", "allow_tls_1_2", "repeatable"))
_BODY_BYTES_MAX = 64 * 1024


class OutboundSender(Protocol):
    """What the transport stands on: `OutboundClient`, or a double."""

    async def send(self, request: OutboundRequest) -> OutboundResponse:
        """Send once. Raises OutboundError."""

    async def close(self) -> None: ...


class OutboundTransport(httpx.AsyncBaseTransport):
    """Sends a request once and returns the whole answer, with a span for each request where a `tracer` is given.

    - Extensions of a request: the limits of OutboundRequest by their names, and `raw_url`, the URL as it was written,
      which httpx would encode anew.
    - Extensions of a response: `duration_ms`, and `flaw`, `whole` and `is_cut` as in OutboundResponse. Its stream is
      the body without its codings. A body may take what is left of the time-out; the status stands without it.
    - Raises OutboundError instead of httpx's errors, which say less.
    - The trace stays here: it is not the provider's business, and some providers sign their headers.
    """

    def __init__(self, sender: OutboundSender, tracer: Tracer = UNTRACED) -> None:
        self._sender = sender
        self._tracer = tracer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        extensions = request.extensions
        outgoing = OutboundRequest(
            request.method,
            extensions.get("raw_url") or str(request.url),
            dict(request.headers),
            await request.aread(),
            body_seconds=math.inf,
            max_undone_bytes=extensions.get("max_response_bytes", _BODY_BYTES_MAX),
            **{name: extensions[name] for name in _LIMITS & extensions.keys()},
        )
        send = self._sender.send if self._tracer is UNTRACED else self._send_traced
        answer = await send(outgoing)
        return httpx.Response(
            answer.status,
            headers=httpx.Headers(answer.headers, encoding="utf-8"),
            stream=httpx.ByteStream(answer.body),
            request=request,
            extensions={
                "duration_ms": answer.duration_ms,
                "flaw": answer.flaw,
                "whole": answer.whole,
                "is_cut": answer.is_cut,
            },
        )

    async def aclose(self) -> None:
        await self._sender.close()

    async def _send_traced(self, request: OutboundRequest) -> OutboundResponse:
        outcome: OutboundResponse | OutboundError
        with client_span(self._tracer, request.method, request.url, parent=current_header()) as span:
            try:
                outcome = await self._sender.send(request)
            except OutboundError as error:
                outcome = error
            tell_answer(span, outcome)
        if isinstance(outcome, OutboundError):
            raise outcome
        return outcome
