"""W3C Trace Context (https://www.w3.org/TR/trace-context/): continue the caller's trace, or begin one."""

from __future__ import annotations

import random
import re
from contextvars import ContextVar
from typing import NamedTuple, Self

from infra.observability import logs

#: Ids must be unique, not secret: no call to the operating system for each request.
_random = random.Random()  # noqa: S311
_HEADER = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


#: Of a header that names nothing.
_NOTHING = ("0" * 32, "0" * 16)


class Trace(NamedTuple):
    """A trace id (32 hexadecimal digits), our own span in it, and its flags."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @classmethod
    def of(cls, header: str | None) -> Self | None:
        """Return the span that a `traceparent` names, or None when it is absent or not valid."""
        matched = _HEADER.fullmatch(header.strip()) if header else None
        if matched is None:
            return None
        trace_id, span_id, flags = matched.group(1, 2, 3)
        return None if trace_id == _NOTHING[0] or span_id == _NOTHING[1] else cls(trace_id, span_id, flags)

    @classmethod
    def continued(cls, header: str | None) -> Self:
        """Begin a span of the trace that `traceparent` names, or of a new trace when it is absent or not valid."""
        before = cls.of(header)
        return cls(f"{_random.getrandbits(128):032x}", _new_span()) if before is None else before.child()

    def child(self) -> Self:
        """Begin a span of the same trace."""
        return type(self)(self.trace_id, _new_span(), self.flags)

    @property
    def is_sampled(self) -> bool:
        """Whether the caller may have recorded it."""
        return int(self.flags, 16) & 1 == 1

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def _new_span() -> str:
    return f"{_random.getrandbits(64):016x}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The span of the work being done; an event stored meanwhile belongs to it."""


def current_header() -> str | None:
    """Return the current span as a `traceparent`."""
    trace = current.get()
    return trace.header if trace is not None else None


class Within:
    """See `within`. A class, because it is entered for every span and a generator costs more."""

    __slots__ = ("_tokens", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        trace = self._trace
        self._tokens = (
            current.set(trace),
            logs.trace_id.set(trace.trace_id),
            logs.span_id.set(trace.span_id),
        )

    def __exit__(self, *raised: object) -> None:
        now, trace, span = self._tokens
        current.reset(now)
        logs.trace_id.reset(trace)
        logs.span_id.reset(span)


def within(trace: Trace) -> Within:
    """For the length of a block, make `trace` the current one, of events and of log lines."""
    return Within(trace)
