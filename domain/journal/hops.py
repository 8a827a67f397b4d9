"""Hops: how often what an event tells of has gone through the hub; apart, because it is what others may forge."""

from __future__ import annotations

import hmac
import re
from datetime import datetime, timedelta
from typing import Final, Protocol

from domain.core.errors import Conflict

HOPS_HEADER: Final = "webhook-hops"
#: Deliveries in a row, each of an event that the one before caused. What comes with so many is refused.
HOPS_LIMIT: Final = 8
_VALID_FOR: Final = timedelta(days=1)
_HEADER = re.compile(r"(?P<hops>[0-9]{1,3})\.(?P<at>[0-9]{1,12})\.(?P<mac>[A-Za-z0-9_-]{1,86})")


class HopKey(Protocol):
    """The hub's own key for the header."""

    def mac(self, text: str) -> str:
        """Return a code in base64url that only the holder of the key can make. Raises Unavailable."""


class HopCounter:
    """Writes the header of a delivery and reads that of a request."""

    def __init__(self, key: HopKey) -> None:
        self._key = key

    def header(self, hops: int, at: datetime) -> str:
        """Return `<hops>.<seconds since 1970>.<code>`; the code covers both, so that nobody can lower the count."""
        signed = f"{hops}.{int(at.timestamp())}"
        return f"{signed}.{self._key.mac(signed)}"

    def read(self, header: str | None, now: datetime) -> int:
        """Return the count of a header that the hub wrote within a day; 0 without one. Raises Unavailable."""
        match = None if header is None else _HEADER.fullmatch(header.strip())
        if match is None:
            return 0
        written = f"{match['hops']}.{match['at']}"
        if not hmac.compare_digest(self._key.mac(written), match["mac"]):
            return 0
        age = now.timestamp() - int(match["at"])
        return int(match["hops"]) if age < _VALID_FOR.total_seconds() else 0


class TooManyHops(Conflict):
    def __init__(self, hops: int) -> None:
        super().__init__(
            f"This has been delivered by the hub {hops} times in a row, each time because of the delivery before: "
            f"{HOPS_HEADER} counts it. At {HOPS_LIMIT} it counts as a loop. Find what sends deliveries back "
            "to the hub, and end it.",
            code="too-many-hops",
        )
        self.hops = hops
