"""W3C Trace Context (https://www.w3.org/TR/trace-context/): continue the caller's trace, or begin one."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Self

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
    def continued(cls, header: str | None) -> Self:
        """A new span of the trace that `traceparent` names; of a new trace when it is absent or not valid."""
        matched = _HEADER.fullmatch(header.strip()) if header else None
        span = f"{_random.getrandbits(64):016x}"
        if matched is None or set(matched[1]) == {"0"} or set(matched[2]) == {"0"}:
            return cls(f"{_random.getrandbits(128):032x}", span)
        return cls(matched[1], span, matched[3])

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"
