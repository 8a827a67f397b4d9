"""The span of a request and its parent."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

import azure.functions as func

from domain.core.tracing import Span, SpanKind, Tracer
from functions.http.kit.operations import API

#: The default of a context parameter, whose type the worker requires to be `func.Context` alone.
NO_CONTEXT = cast(func.Context, None)


def parent_of(request: func.HttpRequest, context: func.Context) -> tuple[str | None, bool]:
    """Return the `traceparent` to continue, and whether it names the host's own span.

    The Functions host opens a span for each request and names it in the context; where the context only repeats
    the caller's header, there is no such span."""
    theirs = request.headers.get("traceparent")
    hosts = context.trace_context.trace_parent if context is not None else None
    if hosts and hosts != theirs:
        return hosts, True
    return theirs, False


def request_span(
    tracer: Tracer, method: str, route: str, *, parent: str | None, is_hosted: bool
) -> AbstractContextManager[Span]:
    """Open the span of one request.

    Under a host that opens a span of its own, ours is an internal step of it; otherwise the request would be
    counted twice. The route stands for the address, which may contain a token.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/"""
    path = f"{API}{route}"
    return tracer.span(
        f"{method} {path}",
        SpanKind.Internal if is_hosted else SpanKind.Server,
        parent=parent,
        attributes=lambda: {"http.request.method": method, "http.route": path},
    )


def tell_status(span: Span, status: int) -> None:
    """Record the status; only a 5xx makes the span of a server a failure."""
    span.set("http.response.status_code", status)
    if status >= 500:
        span.fail(str(status))
