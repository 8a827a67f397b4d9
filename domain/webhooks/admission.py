"""Admit: which deliveries are attempted in this turn, which wait for the next, and which wait without a message.

No database, and no clock but the monotonic one; the engine (deliver.py) does what is decided here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from domain.core.turns import SharedTurns, fair_shares
from domain.webhooks.fan_out import IDS_PER_MESSAGE, DeliveryMessage
from domain.webhooks.throttle import InFlightPosts

#: Deliveries of a turn: while one tenant has any, and while several have.
ALONE: Final = 256
TOGETHER: Final = 64
#: More than a process delivers in a second.
RATE: Final = 4_000.0
#: Deliveries that wait in a process for their turn, a few seconds' work. A tenant has at most as many as are free, and
#: an endpoint as many as are free to its tenant.
_WAITING_AT_MOST: Final = 10_000
_PARKED_FOR = timedelta(minutes=5)
_PARKED_LONGEST = timedelta(hours=1)
_REMEMBERED_OF_ONE: Final = 1_000
_REMEMBERED: Final = 50_000


@dataclass(slots=True)
class Turn:
    """What becomes of deliveries that a turn looked at; those in neither list go on waiting.

    - `go`: with their tenants; they have taken their room.
    - `parked`: their endpoint hangs. They wait without a message until it answers, or for so long."""

    go: list[tuple[UUID, DeliveryMessage]] = field(default_factory=list)
    parked: list[tuple[DeliveryMessage, timedelta]] = field(default_factory=list)


class Admission:
    """Lets deliveries wait for their turn, and shares each turn out.

    Every tenant that asks gets the same, and of that each of its endpoints; what one cannot use goes to the others."""

    def __init__(self, in_flight: InFlightPosts, turns: SharedTurns) -> None:
        self._in_flight = in_flight
        self._turns = turns
        self._waiting: dict[UUID, dict[UUID, _Waiting]] = {}
        self._count = 0
        self._parked = ParkedDeliveries()

    @property
    def count(self) -> int:
        """Return how many deliveries wait for their turn."""
        return self._count

    def enter(self, messages: Iterable[tuple[UUID, DeliveryMessage]]) -> list[tuple[DeliveryMessage, float]]:
        """Let the messages of (tenant, message) wait for their turn; return what there is no place for.

        It is to come back after so many seconds."""
        later: list[tuple[DeliveryMessage, float]] = []
        for tenant_id, message in messages:
            of_tenant = self._waiting.setdefault(tenant_id, {})
            count = sum(len(waiting.ids) for waiting in of_tenant.values())
            waiting = of_tenant.setdefault(message.webhook_id, _Waiting())
            room = max(0, _WAITING_AT_MOST - self._count - count + 1) // 2
            room = max(0, room - len(waiting.ids) + 1) // 2
            stays, over = message.split(min(room, len(message.delivery_ids)))
            self._count += waiting.add(stays)
            for part in parts(replace(over, paced=False)):
                later.append((part, count / RATE + self._turns.later(tenant_id, len(part.delivery_ids))))
        return later

    def turn(self) -> Turn:
        """Take what goes now, and what waits for an endpoint that hangs."""
        turn = Turn()
        self._waiting = {
            tenant_id: kept
            for tenant_id, of_tenant in self._waiting.items()
            if (kept := {webhook_id: waiting for webhook_id, waiting in of_tenant.items() if waiting.ids})
        }
        size = self._turns.size(self._waiting)
        rooms = {tenant_id: self._rooms(tenant_id, turn) for tenant_id in self._waiting}
        wanted = {
            tenant_id: min(sum(of_tenant.values()), self._in_flight.room_of(tenant_id))
            for tenant_id, of_tenant in rooms.items()
        }
        for tenant_id, share in fair_shares(wanted, min(size, self._in_flight.free)).items():
            for webhook_id, many in fair_shares(rooms[tenant_id], share).items():
                waiting = self._waiting[tenant_id][webhook_id]
                # Asked again: those before it have taken of the same room.
                room = self._in_flight.room(tenant_id, webhook_id, len(waiting.ids), waiting.size)
                for message in self._take(tenant_id, webhook_id, min(many, room)):
                    self._in_flight.take(tenant_id, webhook_id, len(message.delivery_ids), message.size)
                    turn.go.append((tenant_id, message))
        for of_tenant in self._waiting.values():
            for waiting in of_tenant.values():
                waiting.miss()
        return turn

    def leave(self) -> list[DeliveryMessage]:
        """Take all that waits."""
        return [
            message
            for tenant_id, of_tenant in self._waiting.items()
            for webhook_id, waiting in list(of_tenant.items())
            for message in self._take(tenant_id, webhook_id, len(waiting.ids))
        ]

    def answered(self, webhook_id: UUID) -> list[DeliveryMessage]:
        """Return what was parked for an endpoint that has just answered, as much as fits into a message."""
        return [] if self._in_flight.hangs(webhook_id) else self._parked.take(webhook_id)

    def _rooms(self, tenant_id: UUID, turn: Turn) -> dict[UUID, int]:
        """Return for how many of each webhook's deliveries there is room; park those of endpoints that hang."""
        rooms: dict[UUID, int] = {}
        for webhook_id, waiting in list(self._waiting[tenant_id].items()):
            room = self._in_flight.room(tenant_id, webhook_id, len(waiting.ids), waiting.size)
            if not room and self._in_flight.hangs(webhook_id):
                for message in self._take(tenant_id, webhook_id, len(waiting.ids)):
                    turn.parked.append((message, self._parked.add(message)))
            else:
                rooms[webhook_id] = room
        return rooms

    def _take(self, tenant_id: UUID, webhook_id: UUID, many: int) -> list[DeliveryMessage]:
        of_tenant = self._waiting[tenant_id]
        waiting = of_tenant[webhook_id]
        taken = waiting.take(webhook_id, many)
        self._count -= sum(len(message.delivery_ids) for message in taken)
        if not waiting.ids:
            del of_tenant[webhook_id]
        return taken


class _Waiting:
    """Deliveries of one webhook, each once, in the order in which they came, with their sizes."""

    def __init__(self) -> None:
        self.ids: dict[UUID, int] = {}
        self.size = 0
        self._paced: set[UUID] = set()

    def add(self, message: DeliveryMessage) -> int:
        """Return how many are new."""
        each = message.size // max(1, len(message.delivery_ids))
        new = {delivery_id: each for delivery_id in message.delivery_ids if delivery_id not in self.ids}
        self.ids |= new
        self.size += each * len(new)
        if message.paced:
            self._paced |= new.keys()
        return len(new)

    def take(self, webhook_id: UUID, many: int) -> list[DeliveryMessage]:
        """Take the first ones, those that have their moment apart from the others."""
        sizes = {delivery_id: self.ids[delivery_id] for delivery_id in islice(self.ids, many)}
        for delivery_id, size in sizes.items():
            del self.ids[delivery_id]
            self.size -= size
        paced = [delivery_id for delivery_id in sizes if delivery_id in self._paced] if self._paced else []
        plain = (
            [delivery_id for delivery_id in sizes if delivery_id not in self._paced] if paced else list(sizes)
        )
        self._paced.difference_update(paced)
        return [
            DeliveryMessage(webhook_id, ids, sum(sizes[delivery_id] for delivery_id in ids), paced=is_paced)
            for ids, is_paced in ((paced, True), (plain, False))
            if ids
        ]

    def miss(self) -> None:
        """Forget the moments that have passed: the endpoint's rate limit gives those that still wait new ones."""
        self._paced.clear()


class ParkedDeliveries:
    """Remembers what waits for an endpoint that hangs, so that it goes as soon as the endpoint answers.

    What is forgotten, here or with the process, the retry processor finds when its time has come."""

    def __init__(self) -> None:
        self._ids: OrderedDict[UUID, dict[UUID, int]] = OrderedDict()
        self._count = 0

    def add(self, message: DeliveryMessage) -> timedelta:
        """Remember the deliveries; return when the retry processor looks at them: the later, the more there are."""
        kept = self._ids.setdefault(message.webhook_id, {})
        self._count -= len(kept)
        each = message.size // max(1, len(message.delivery_ids))
        for delivery_id in message.delivery_ids:
            if len(kept) < _REMEMBERED_OF_ONE:
                kept[delivery_id] = each
        self._count += len(kept)
        while self._count > _REMEMBERED:
            self._count -= len(self._ids.popitem(last=False)[1])
        return min(_PARKED_LONGEST, _PARKED_FOR * (1 + len(kept) // 100))

    def take(self, webhook_id: UUID) -> list[DeliveryMessage]:
        """Forget up to a message's worth of a webhook's deliveries, oldest first, and return them."""
        kept = self._ids.get(webhook_id)
        if kept is None:
            return []
        ids = list(kept)[:IDS_PER_MESSAGE]
        size = sum(kept.pop(delivery_id) for delivery_id in ids)
        self._count -= len(ids)
        if not kept:
            del self._ids[webhook_id]
        return [DeliveryMessage(webhook_id, ids, size)]


def parts(message: DeliveryMessage) -> list[DeliveryMessage]:
    """Cut a message into such as the queue takes."""
    cut = []
    while len(message.delivery_ids) > IDS_PER_MESSAGE:
        first, message = message.split(IDS_PER_MESSAGE)
        cut.append(first)
    return [*cut, message] if message.delivery_ids else cut
