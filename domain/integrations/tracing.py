"""The span of what a timer does for one integration, which begins a trace: a round of a thousand is no trace that
anybody reads. What it asks of the provider is spans inside it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from uuid import UUID

from domain.tracing import Span, SpanKind, Tracer


def integration_span(tracer: Tracer, name: str, integration_id: UUID) -> AbstractContextManager[Span]:
    """Of one piece of work for it."""
    return tracer.span(
        name, SpanKind.Internal, attributes=lambda: {"hub.integration.id": str(integration_id)}
    )
