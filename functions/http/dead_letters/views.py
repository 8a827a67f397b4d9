"""Dead letters as the platform's administrators see them: ids and reasons, not what tenants wrote."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from domain.core.errors import FieldError, ValidationFailed
from domain.core.text_length import TextConstraints
from domain.monitoring.dead_letters import DeadLetter
from functions.http.kit.views import Moment, Query, View

QueueName = Literal["domain-events", "webhook-deliveries", "sync-jobs", "alerts"]
_CURSOR = re.compile(r"([a-z-]{1,50}):([0-9]{1,18})")


class DeadLetterQuery(Query):
    queue: QueueName | None = Field(None, description="Of this queue alone")
    cursor: Annotated[str, TextConstraints(max_length=80)] | None = Field(
        None, description="`next` of the page before"
    )
    page_size: int = Field(50, ge=1, le=100, description="Items per page")

    def after(self) -> tuple[str, int] | None:
        """Return where the page begins. Raises ValidationFailed."""
        if self.cursor is None:
            return None
        found = _CURSOR.fullmatch(self.cursor)
        if found is None:
            detail = "The cursor is none: take `next` of an answer."
            raise ValidationFailed(detail, [FieldError("/cursor", detail)])
        return found[1], int(found[2])


class DeadLetterView(View):
    queue: QueueName
    sequence_number: str = Field(description="Its number in the queue, which may have 18 digits")
    message_id: str
    reason: str = Field(description="Why it is dead, such as `MaxDeliveryCountExceeded`")
    description: str
    delivery_count: int
    enqueued_at: Moment
    dead_at: Moment | None = Field(description="null where the queue service does not tell it")
    size: int = Field(description="Bytes of its body")
    ids: dict[str, Any] = Field(
        description="The ids in its body, by their names there; the rest of it is not shown"
    )


class DeadLetterList(View):
    items: list[DeadLetterView]
    next: str | None = Field(description="`cursor` of the next page; null: this is the last")


class DeadLettersTaken(View):
    sequence_numbers: list[str] = Field(description="Those that were there")
    missing: list[str] = Field(description="Those that were not, and may have been taken before")


def letter_view(queue: str, letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView.model_construct(
        queue=cast(QueueName, queue),
        sequence_number=str(letter.sequence_number),
        message_id=letter.message_id,
        reason=letter.reason,
        description=letter.description,
        delivery_count=letter.delivery_count,
        enqueued_at=letter.enqueued_at,
        dead_at=letter.dead_at,
        size=len(letter.body),
        ids=letter.ids,
    )


def cursor_of(position: tuple[str, int] | None) -> str | None:
    return None if position is None else f"{position[0]}:{position[1]}"
