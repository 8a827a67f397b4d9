"""Where the numbers come from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from domain.metrics.model import Stored


class Metrics(Protocol):
    """The database's numbers, over all tenants."""

    def read(self, *, since: datetime, now: datetime) -> Stored:
        """Signals since the beginning of an hour, everything else as it is now."""


class QueueDepths(Protocol):
    def message_counts(self) -> Mapping[str, Mapping[str, int]]:
        """By queue that holds anything: messages by state, `dead` among them. An adapter names only the states that
        it may count. Raises Unavailable."""
