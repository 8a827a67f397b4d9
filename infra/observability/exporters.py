"""Where spans go: Application Insights, an OTLP collector, or both.

Logs are not sent from here. On Azure the host sends what the process prints; sent here as well, each line would be
there twice, and those of the last seconds of an instance not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from infra.observability.tracer import OtelTracer
from infra.version import VERSION

if TYPE_CHECKING:
    from infra.app.settings import Settings

#: How long a process that stops waits for its last spans to be sent.
STOP_MILLISECONDS = 5_000


def tracer(settings: Settings) -> OtelTracer:
    """Return a tracer over the exporters that are configured.

    The sampler is OpenTelemetry's own, by OTEL_TRACES_SAMPLER. Unless told otherwise it does as the caller of the
    trace did, and samples what begins here."""
    provider = TracerProvider(resource=_resource(settings))
    if settings.application_insights is not None:
        text = settings.application_insights.get_secret_value()
        provider.add_span_processor(Batches(_Later(lambda: _azure_monitor(text))))
    if settings.otlp_endpoint:
        provider.add_span_processor(Batches(_Later(_otlp)))
    return OtelTracer(provider)


class Batches(BatchSpanProcessor):
    """Sends spans in batches in the background.

    What waits when the process stops is still sent, but not at any price: with a collector that is away,
    OpenTelemetry's own processor would hold up the stop for half a minute."""

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=STOP_MILLISECONDS)


class _Later(SpanExporter):
    """An exporter made when the first spans are sent, on the thread that sends them.

    Importing Azure Monitor's exporter takes seconds, which no request should wait for."""

    def __init__(self, make: Callable[[], SpanExporter]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> SpanExporter:
        return self._make()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._made.export(spans)

    def shutdown(self) -> None:
        if "_made" in vars(self):
            self._made.shutdown()


def _resource(settings: Settings) -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what is said here."""
    name = os.environ.get("OTEL_SERVICE_NAME") or os.environ.get("WEBSITE_SITE_NAME") or "integration-hub"
    ours = Resource({"service.version": VERSION, "deployment.environment.name": settings.environment})
    return ours.merge(Resource.create()).merge(Resource({"service.name": name}))


def _azure_monitor(connection_string: str) -> SpanExporter:
    """Return Azure Monitor's exporter.

    The identity is that of APPLICATIONINSIGHTS_AUTHENTICATION_STRING, which the exporter reads itself. Spans that
    cannot be sent are dropped: the disk of an instance is gone with it."""
    from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

    return AzureMonitorTraceExporter(connection_string=connection_string, disable_offline_storage=True)


def _otlp() -> SpanExporter:
    """Over HTTP, in protobuf; endpoint, headers and all else by the OTEL_EXPORTER_OTLP_ variables."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
