"""The span of a request, and where its trace comes from."""

from __future__ import annotations

from contextlib import AbstractContextManager

import azure.functions as func

from domain.core.tracing import Span, SpanKind, Tracer
from functions.http.kit.operations import API

#: What a trigger has where the host gives none: the worker takes `func.Context` alone as the parameter's type.
NO_CONTEXT: func.Context = None  # type: ignore[assignment]


def parent_of(request: func.HttpRequest, context: func.Context) -> tuple[str | None, bool]:
    """The `traceparent` to go on from, and whether it is of the host's own span. The Functions host opens a span for
    each request, which it names in the context; one that only repeats the caller's opens none."""
    theirs = request.headers.get("traceparent")
    hosts = context.trace_context.trace_parent if context is not None else None
    if hosts and hosts != theirs:
        return hosts, True
    return theirs, False


def request_span(
    tracer: Tracer, method: str, route: str, *, parent: str | None, is_hosted: bool
) -> AbstractContextManager[Span]:
    """Of one request. Under a host that counts requests itself, ours is a step of its span: the request would be there
    twice. The route stands for the address, which may hold a token.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/"""
    path = f"{API}{route}"
    return tracer.span(
        f"{method} {path}",
        SpanKind.Internal if is_hosted else SpanKind.Server,
        parent=parent,
        attributes=lambda: {"http.request.method": method, "http.route": path},
    )


def tell_status(span: Span, status: int) -> None:
    """A server's span fails by its own fault alone."""
    span.set("http.response.status_code", status)
    if status >= 500:
        span.fail(str(status))
