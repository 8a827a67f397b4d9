"""Events for analytics providers, and the calls that carry them; apart, because contract and engine both name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.providers.records import RecordType, StreamProfile

#: The one stream of a provider that takes events and has no records.
EVENTS: Final = StreamProfile("events", RecordType.Generic, None, exportable=True, importable=False)


@dataclass(frozen=True, slots=True)
class AnalyticsEvent:
    """A domain event under the name and with the properties that its mapping gives it.

    `source_id` stands for the integration where the event has no `user_id`."""

    event_id: str
    name: str
    occurred_at: datetime
    properties: Mapping[str, Any]
    source_id: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventCall:
    """One call to the provider: its body, the events in it, and why others of the first `taken` are refused."""

    body: bytes
    sent: Sequence[AnalyticsEvent]
    refused: Mapping[str, str]

    @property
    def taken(self) -> int:
        return len(self.sent) + len(self.refused)
