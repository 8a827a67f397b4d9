"""The tracer over OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased

from domain.core.tracing import Attributes, AttributeValue, Span, SpanKind
from infra.observability.trace import Trace, within
from infra.version import VERSION

_KINDS = {
    SpanKind.Internal: otel.SpanKind.INTERNAL,
    SpanKind.Server: otel.SpanKind.SERVER,
    SpanKind.Client: otel.SpanKind.CLIENT,
    SpanKind.Producer: otel.SpanKind.PRODUCER,
    SpanKind.Consumer: otel.SpanKind.CONSUMER,
}


class OtelTracer:
    """Satisfies `domain.core.tracing.Tracer` by OpenTelemetry.

    Parents are always named, so that nothing depends on what the process's ambient context happens to hold."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("hub", VERSION)
        self._follows_parents = isinstance(provider.sampler, ParentBased)

    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        attributes: Callable[[], Attributes] | None = None,
        is_current: bool = True,
    ) -> AbstractContextManager[Span]:
        before = Trace.of(parent)
        if self._follows_parents and before is not None and not before.is_sampled:
            # What the SDK would decide, for a tenth of what asking it costs: most spans are these.
            return UnsampledSpan(before.child(), is_current=is_current)
        span = self._tracer.start_span(
            name,
            context=_context_of(before),
            kind=_KINDS[kind],
            attributes=attributes() if attributes else None,
        )
        return OtelSpan(span, is_current=is_current)


class UnsampledSpan:
    """A span that nobody is told of; the trace goes on through it."""

    def __init__(self, trace: Trace, *, is_current: bool) -> None:
        self._trace = trace
        self._within = within(trace) if is_current else None

    @property
    def traceparent(self) -> str:
        return self._trace.header

    def set(self, name: str, value: AttributeValue) -> None: ...

    def fail(self, kind: str) -> None: ...

    def __enter__(self) -> Span:
        if self._within is not None:
            self._within.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._within is not None:
            self._within.__exit__(None, None, None)


class OtelSpan(UnsampledSpan):
    """A span of the SDK, which records it or not."""

    def __init__(self, span: otel.Span, *, is_current: bool) -> None:
        context = span.get_span_context()
        trace = Trace(
            otel.format_trace_id(context.trace_id),
            otel.format_span_id(context.span_id),
            f"{int(context.trace_flags):02x}",
        )
        super().__init__(trace, is_current=is_current)
        self._span = span

    def set(self, name: str, value: AttributeValue) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(otel.StatusCode.ERROR)

    def __exit__(self, *raised: object) -> None:
        super().__exit__()
        if isinstance(raised[0], type):
            # Not the message: it may quote what must not leave.
            self.fail(raised[0].__name__)
        self._span.end()


def _context_of(parent: Trace | None) -> Context:
    """With nothing in it but the parent."""
    if parent is None:
        return Context()
    remote = otel.SpanContext(
        int(parent.trace_id, 16), int(parent.span_id, 16), True, otel.TraceFlags(int(parent.flags, 16) & 1)
    )
    return otel.set_span_in_context(otel.NonRecordingSpan(remote), Context())
