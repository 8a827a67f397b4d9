"""One request to the outside, as the outbound client takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from domain.core.web_address import read_address

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """One HTTP request; `url` is sent as it is written.

    - `timeout_seconds` covers everything from name lookup to the status line. What follows that line, the body above
      all, is waited for `body_seconds` within it, then given up.
    - A body beyond `max_response_bytes` is cut; one that came compressed is undone to `max_undone_bytes`.
    - `repeatable`: whether a kept connection that broke before any byte of the answer is replaced once. None: where
      the method is idempotent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    timeout_seconds: float = 30.0
    max_response_bytes: int = 64 * 1024
    max_undone_bytes: int = 4 * 1024
    body_seconds: float = 2.0
    repeatable: bool | None = None
    allow_tls_1_2: bool = False


@lru_cache(maxsize=4096)
def parsed_url(url: str) -> httpx.URL:
    """Return the URL as httpx encodes it. Raises httpx.InvalidURL or BadAddress.

    Parsing it takes longer than sending a header."""
    import httpx  # here: most triggers send nothing

    try:
        return httpx.URL(url)
    except httpx.InvalidURL:
        # It knows international names by IDNA 2008 alone.
        return httpx.URL(read_address(url).url)
