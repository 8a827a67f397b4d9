"""W3C Trace Context (https://www.w3.org/TR/trace-context/): continue the caller's trace, or begin one."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from infra import logs

#: Ids must be unique, not secret: no call to the operating system for each request.
_random = random.Random()  # noqa: S311
_HEADER = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace id (32 hexadecimal digits), our own span in it, and its flags."""

    trace_id: str
    span_id: str
    flags: str = "01"

    @classmethod
    def of(cls, header: str | None) -> Self | None:
        """The span that a `traceparent` names; None when it is absent or not valid."""
        matched = _HEADER.fullmatch(header.strip()) if header else None
        if matched is None or set(matched[1]) == {"0"} or set(matched[2]) == {"0"}:
            return None
        return cls(matched[1], matched[2], matched[3])

    @classmethod
    def continued(cls, header: str | None) -> Self:
        """A new span of the trace that `traceparent` names; of a new trace when it is absent or not valid."""
        before = cls.of(header)
        span = f"{_random.getrandbits(64):016x}"
        if before is None:
            return cls(f"{_random.getrandbits(128):032x}", span)
        return cls(before.trace_id, span, before.flags)

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""The span of the work being done; an event stored meanwhile belongs to it."""


@contextmanager
def within(trace: Trace) -> Iterator[None]:
    """Make `trace` the current one, of events and of log lines."""
    token = current.set(trace)
    try:
        with logs.bind(trace=trace.trace_id, span=trace.span_id):
            yield
    finally:
        current.reset(token)
