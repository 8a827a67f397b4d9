"""Messages on the queue `webhook-deliveries`: ids of one webhook's deliveries, never payloads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from domain.ports import QueueMessage

WEBHOOK_DELIVERIES_QUEUE = "webhook-deliveries"
_IDS_PER_MESSAGE = 100
_BYTES_PER_MESSAGE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeliveryMessage:
    """`size` is the payloads' bytes, so that a worker can bound what it holds in memory. `paced` says that the
    endpoint's rate limit has already given these deliveries their moment."""

    webhook_id: UUID
    delivery_ids: Sequence[UUID]
    size: int = 0
    paced: bool = False

    def to_queue(self, at: datetime | None = None) -> QueueMessage:
        fields = {
            "webhookId": str(self.webhook_id),
            "deliveryIds": [str(one) for one in self.delivery_ids],
            "bytes": self.size,
            **({"paced": True} if self.paced else {}),
        }
        return QueueMessage(json.dumps(fields), scheduled_at=at)

    @classmethod
    def of_queue(cls, body: str) -> DeliveryMessage:
        """Raises ValueError when `body` is not such a message."""
        try:
            fields = json.loads(body)
            return cls(
                webhook_id=UUID(fields["webhookId"]),
                delivery_ids=[UUID(one) for one in fields["deliveryIds"]],
                size=int(fields.get("bytes", 0)),
                paced=bool(fields.get("paced", False)),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError("not a delivery message") from error

    def split(self, first: int) -> tuple[DeliveryMessage, DeliveryMessage]:
        """The first so many deliveries, and the rest; the size is shared in proportion."""
        share = self.size * first // max(1, len(self.delivery_ids))
        return (
            replace(self, delivery_ids=self.delivery_ids[:first], size=share),
            replace(self, delivery_ids=self.delivery_ids[first:], size=self.size - share),
        )


def delivery_messages(deliveries: Iterable[tuple[UUID, UUID, int]]) -> list[DeliveryMessage]:
    """Group (webhook id, delivery id, bytes) by webhook, at most 100 deliveries or 4 MiB to a message."""
    open_messages: dict[UUID, tuple[list[UUID], int]] = {}
    messages: list[DeliveryMessage] = []
    for webhook_id, delivery_id, size in deliveries:
        ids, total = open_messages.get(webhook_id, ([], 0))
        if ids and (len(ids) >= _IDS_PER_MESSAGE or total + size > _BYTES_PER_MESSAGE):
            messages.append(DeliveryMessage(webhook_id, ids, total))
            ids, total = [], 0
        ids.append(delivery_id)
        open_messages[webhook_id] = (ids, total + size)
    return messages + [DeliveryMessage(key, ids, total) for key, (ids, total) in open_messages.items()]
