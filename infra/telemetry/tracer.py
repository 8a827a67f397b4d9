"""The tracer over OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from domain.tracing import AttributeValue, SpanKind
from infra.trace import Trace, within
from infra.version import VERSION

_KINDS = {
    SpanKind.Internal: otel.SpanKind.INTERNAL,
    SpanKind.Server: otel.SpanKind.SERVER,
    SpanKind.Client: otel.SpanKind.CLIENT,
    SpanKind.Producer: otel.SpanKind.PRODUCER,
    SpanKind.Consumer: otel.SpanKind.CONSUMER,
}


class OtelTracer:
    """Satisfies `domain.tracing.Tracer`. Parents are always named, so that nothing depends on what the process's
    ambient context happens to hold."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("hub", VERSION)

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        is_current: bool = True,
    ) -> Iterator[OtelSpan]:
        span = self._tracer.start_span(
            name, context=_context_of(parent), kind=_KINDS[kind], attributes=dict(attributes or {})
        )
        entered = OtelSpan(span)
        try:
            with within(entered.trace) if is_current else nullcontext():
                yield entered
        except BaseException as error:
            # Not the message: it may quote what must not leave.
            entered.fail(type(error).__name__)
            raise
        finally:
            span.end()


class OtelSpan:
    """Satisfies `domain.tracing.Span`."""

    def __init__(self, span: otel.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.trace = Trace(
            otel.format_trace_id(context.trace_id),
            otel.format_span_id(context.span_id),
            f"{int(context.trace_flags):02x}",
        )

    @property
    def traceparent(self) -> str:
        return self.trace.header

    def set(self, name: str, value: AttributeValue) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(otel.StatusCode.ERROR)


def _context_of(parent: str | None) -> Context:
    """With nothing in it but the parent."""
    found = Trace.of(parent)
    if found is None:
        return Context()
    remote = otel.SpanContext(
        int(found.trace_id, 16), int(found.span_id, 16), True, otel.TraceFlags(int(found.flags, 16) & 1)
    )
    return otel.set_span_in_context(otel.NonRecordingSpan(remote), Context())
