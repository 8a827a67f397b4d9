"""Domain events: what happened, stored once in the outbox, told to whoever subscribed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from domain.core.errors import FieldError, TooLarge
from domain.core.json_text import JsonText, compact_json, cut_members, read_kept
from domain.core.text_length import TextConstraints
from domain.core.wire import Command, UtcMoment
from domain.journal.event_types import FROM_HUB, EventOrigin, HubEvent

EVENT_TYPE_PATTERN = r"^[A-Za-z][A-Za-z0-9._-]{0,99}$"
EVENT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"

#: Events of one batch.
EVENTS_AT_MOST = 1000

EventType = Annotated[str, StringConstraints(pattern=EVENT_TYPE_PATTERN)]


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """Something that happened; `data` is JSON text. Raising a `(tenant_id, event_id)` twice stores it once.

    - `origin`: who raised it; None when it was stored before the hub noted that.
    - `sequence`: its number in the order of acceptance, known once it is stored. An event that is raised after the
      answer to another has the higher one. `accepted_at`: when it was stored.
    - `hops`: deliveries that led to it, as the sender says. `digest`: of its data, where it may be an echo."""

    event_id: str
    tenant_id: UUID
    type: str
    data: str
    occurred_at: datetime
    subject: str | None = None
    traceparent: str | None = None
    sequence: int | None = field(default=None, compare=False)
    origin: EventOrigin | None = field(kw_only=True)
    hops: int = field(default=0, kw_only=True)
    digest: int | None = field(default=None, kw_only=True, compare=False)
    accepted_at: datetime | None = field(default=None, kw_only=True, compare=False)

    def is_of_hub(self, *types: HubEvent) -> bool:
        """Return whether the hub itself raised it, as one of these types. The name alone proves nothing."""
        return self.origin == FROM_HUB and self.type in types

    def may_be_of_hub(self, types: AbstractSet[HubEvent]) -> bool:
        """Return whether it is one of these types and nobody but the hub is known to have raised it.

        For what the hub leaves out on its account: an event from before origins were noted counts as the hub's."""
        return self.origin in (FROM_HUB, None) and self.type in types

    @property
    def size(self) -> int:
        return len(self.data.encode())


def check_payload(size: int, max_bytes: int, pointer: str = "") -> None:
    """Raise TooLarge for a payload of more than `max_bytes` (BR-WH-08); `pointer` is the event's place."""
    if size > max_bytes:
        detail = f"The payload is {size:,} bytes; at most {max_bytes:,} are taken."
        raise TooLarge(detail, [FieldError(f"{pointer}/data", detail)], code="BR-WH-08")


def event_data(values: Mapping[str, Any]) -> str:
    """Return compact JSON text. Raises ValueError for what JSON cannot hold (NaN, lone surrogates, huge integers)."""
    return compact_json(values)


def derived_id(text: str) -> str:
    """Return the id of an event that follows from what happened. `EVENT_ID_PATTERN` lets nobody else give it."""
    return f"~{text}"


def build_event(
    type_: HubEvent,
    data: Mapping[str, Any],
    *,
    event_id: UUID | str,
    tenant_id: UUID,
    subject: UUID | str,
    at: datetime,
    traceparent: str | None = None,
) -> DomainEvent:
    """Build an event that the hub itself raises about `subject`. Raises ValueError as `event_data` does.

    `event_id` is a fresh id, or a `derived_id` where the event must be stored only once."""
    return DomainEvent(
        event_id=str(event_id),
        tenant_id=tenant_id,
        type=type_.value,
        data=event_data(data),
        occurred_at=at,
        subject=str(subject),
        traceparent=traceparent,
        origin=FROM_HUB,
    )


class RaiseEvent(Command):
    """One event as other modules of the platform raise it."""

    id: Annotated[str, StringConstraints(pattern=EVENT_ID_PATTERN)] | None = Field(
        None, description="Makes raising idempotent; a new id is given when absent"
    )
    type: EventType = Field(description="What happened, such as `BookingConfirmed`; no reserved type")
    subject: Annotated[str, TextConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="What it happened to, such as `booking/42`"
    )
    occurred_at: UtcMoment | None = Field(
        None, strict=False, description="When it happened, at most a day ahead; now when absent"
    )
    data: JsonText = Field(
        description="The payload, at most 1 MiB of JSON (BR-WH-08); its text reaches receivers as it is"
    )

    @classmethod
    def of_json(cls, body: bytes) -> Self:
        """Return the event with the text of its `data`. Raises as `read_kept` does."""
        return read_kept(cls, body, lambda: cut_members(body, "data"))


class RaiseEvents(Command):
    """A batch: `{"events": [...]}` with up to 1,000."""

    events: Annotated[list[RaiseEvent], Field(min_length=1, max_length=EVENTS_AT_MOST)]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of raising events: `event_ids` as requested; `duplicates` counts those known before."""

    accepted: int
    duplicates: int
    event_ids: Sequence[str]
