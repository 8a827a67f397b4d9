"""What Service Bus Standard accepts as a message, checked before anything is sent.

The embedded twin refuses the same. Source: "Service Bus quotas" (Microsoft)."""

from __future__ import annotations

from collections.abc import Mapping

MAX_MESSAGE_BYTES = 256 * 1024
"""Body and properties together."""


def check_size(body: bytes, properties: Mapping[str, str]) -> None:
    """Refuse a message over 256 KB. Raises ValueError."""
    size = len(body) + sum(len(name.encode()) + len(value.encode()) for name, value in properties.items())
    if size > MAX_MESSAGE_BYTES:
        raise ValueError(f"A message may have {MAX_MESSAGE_BYTES} bytes with its properties, not {size}")
