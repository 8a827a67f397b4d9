"""Spans: what took how long on behalf of which trace. Work that leaves the process carries its span as a W3C
`traceparent` (https://www.w3.org/TR/trace-context/): with the event in the outbox, and to the receiver."""

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
    """As OpenTelemetry has them."""

    Internal = 0
    Server = 1
    Client = 2
    Producer = 3
    Consumer = 4


class Span(Protocol):
    @property
    def traceparent(self) -> str | None:
        """The span as its children name it, elsewhere too; None when nothing is traced."""

    def set(self, name: str, value: AttributeValue) -> None:
        """Names are those of the OpenTelemetry semantic conventions. Never a payload, a secret, or a query string."""

    def fail(self, kind: str) -> None:
        """It did not do what it was for. `kind` is one of few: an exception's name, a class of errors, a status."""


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
        """A span from entering to leaving; an exception fails it. Its parent is what `parent` names, and decides
        whether it is sampled; without one it begins a trace. Log lines and events inside belong to it while it is
        the current one. `attributes` are asked for where they are kept: most spans are not."""


class _Untraced:
    """A span of nothing, and its own context: entering it costs a call."""

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


class NoTracer:
    """Traces nothing."""

    def span(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        attributes: Callable[[], Attributes] | None = None,
        is_current: bool = True,
    ) -> _Untraced:
        return _UNTRACED


_UNTRACED = _Untraced()
UNTRACED: Tracer = NoTracer()


@contextmanager
def spans(
    tracer: Tracer,
    name: str,
    kind: SpanKind,
    parents: Iterable[str | None],
    attributes: Callable[[], Attributes],
) -> Iterator[None]:
    """One span for each trace that a batch serves: a batch has many parents, a span has one."""
    if tracer is UNTRACED:
        yield
        return
    served = list(dict.fromkeys(one for one in parents if one is not None))
    with ExitStack() as entered:
        for parent in served:
            span = tracer.span(name, kind, parent=parent, attributes=attributes, is_current=len(served) == 1)
            entered.enter_context(span)
        yield


def client_span(
    tracer: Tracer,
    method: str,
    url: str,
    parent: str | None,
    about: Callable[[], Attributes] | None = None,
) -> AbstractContextManager[Span]:
    """Of one HTTP request to the outside, with attributes of its own in `about`. Of the address only the server:
    paths and queries hold tokens (https://opentelemetry.io/docs/specs/semconv/http/http-spans/)."""

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


def tell_answer(span: Span, came: OutboundResponse | OutboundError) -> None:
    """What came of a request: its status, or why there is none."""
    if isinstance(came, OutboundError):
        span.fail(came.kind)
        return
    span.set("http.response.status_code", came.status)
    if came.status >= 400:
        span.fail(str(came.status))


def trace_fields(traceparent: str | None) -> dict[str, str]:
    """What a log line about work that is over says of its span."""
    if traceparent is None:
        return {}
    _, trace, span, _ = traceparent.split("-", 3)
    return {"traceId": trace, "spanId": span}


def queue_attributes(queue: str, operation: str, *, count: int | None = None) -> dict[str, AttributeValue]:
    """Of a span that sends to or processes from a queue. `operation` is `send` or `process`.

    https://opentelemetry.io/docs/specs/semconv/messaging/"""
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "servicebus",
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    if count is not None:
        attributes["messaging.batch.message_count"] = count
    return attributes
