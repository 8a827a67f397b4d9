"""Spans: what took how long on behalf of which trace.

Work that leaves the process carries its span as a W3C `traceparent` (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from enum import Enum
from typing import Final, Protocol
from urllib.parse import urlsplit

from domain.core.ports import OutboundError, OutboundResponse

AttributeValue = str | int | float | bool
Attributes = Mapping[str, AttributeValue]

_PORTS: Final = {"http": 80, "https": 443}
#: Those that the conventions know by name; CalDAV has others.
_METHODS: Final = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))


class SpanKind(Enum):
    Internal = 0
    Server = 1
    Client = 2
    Producer = 3
    Consumer = 4


class Span(Protocol):
    @property
    def traceparent(self) -> str | None:
        """The name by which children refer to the span, in other processes too; None when nothing is traced."""

    def set(self, name: str, value: AttributeValue) -> None:
        """Set an attribute, named by the OpenTelemetry conventions; never a payload, a secret, or a query string."""

    def fail(self, kind: str) -> None:
        """Mark the span as failed. `kind` is one of few: an exception's name, a class of errors, a status."""


class Tracer(Protocol):
    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        attributes: Callable[[], Attributes] | None = None,
        is_current: bool = True,
    ) -> AbstractContextManager[Span]:
        """Open a span, which lasts from entering to leaving; an exception fails it.

        - `parent` decides whether the span is sampled; without a parent it begins a trace.
        - Log lines and events inside belong to the span while it is the current one.
        - `attributes` is called only where they are kept: most spans are not."""


class _Untraced:
    """A tracer and the span that it opens, which records nothing and costs a call to enter."""

    def span(self, *about: object, **options: object) -> _Untraced:
        return self

    @property
    def traceparent(self) -> None:
        return None

    def set(self, name: str, value: AttributeValue) -> None:
        pass

    def fail(self, kind: str) -> None:
        pass

    def __enter__(self) -> _Untraced:
        return self

    def __exit__(self, *raised: object) -> None:
        pass


UNTRACED: Tracer = _Untraced()


@contextmanager
def spans(
    tracer: Tracer,
    name: str,
    kind: SpanKind,
    *,
    parents: Iterable[str | None],
    attributes: Callable[[], Attributes],
) -> Iterator[None]:
    """Open one span for each trace that a batch serves: a batch has many parents, a span has one."""
    if tracer is UNTRACED:
        yield
        return
    served = list(dict.fromkeys(parent for parent in parents if parent is not None))
    with ExitStack() as entered:
        for parent in served:
            span = tracer.span(name, kind, parent=parent, attributes=attributes, is_current=len(served) == 1)
            entered.enter_context(span)
        yield


def client_span(
    tracer: Tracer,
    method: str,
    url: str,
    *,
    parent: str | None,
    about: Callable[[], Attributes] | None = None,
) -> AbstractContextManager[Span]:
    """Open the span of one HTTP request to the outside (https://opentelemetry.io/docs/specs/semconv/http/http-spans/).

    It names only the server of the address: paths and queries hold tokens. `about` gives attributes of its own."""

    def attributes() -> Attributes:
        said: dict[str, AttributeValue] = {"http.request.method": method, **(about() if about else {})}
        if method not in _METHODS:
            said |= {"http.request.method": "_OTHER", "http.request.method_original": method}
        with suppress(ValueError):  # no address at all, which whoever sends the request says
            parts = urlsplit(url)
            said |= {
                "url.scheme": parts.scheme,
                "server.address": parts.hostname or "",
                "server.port": parts.port or _PORTS.get(parts.scheme, 0),
            }
        return said

    name = method if method in _METHODS else "HTTP"
    return tracer.span(name, SpanKind.Client, parent=parent, attributes=attributes)


def tell_answer(span: Span, response: OutboundResponse | OutboundError) -> None:
    """Set a request's status on its span, or why there is none."""
    if isinstance(response, OutboundError):
        span.fail(response.kind)
        return
    span.set("http.response.status_code", response.status)
    if response.status >= 400:
        span.fail(str(response.status))


def trace_fields(traceparent: str | None) -> dict[str, str]:
    """Return the fields of a log line about work whose span is over."""
    if traceparent is None:
        return {}
    _, trace, span, _ = traceparent.split("-", 3)
    return {"traceId": trace, "spanId": span}


def queue_attributes(queue: str, operation: str, *, count: int | None = None) -> dict[str, AttributeValue]:
    """Return a span's attributes for a queue (https://opentelemetry.io/docs/specs/semconv/messaging/)."""
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "servicebus",
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    if count is not None:
        attributes["messaging.batch.message_count"] = count
    return attributes
