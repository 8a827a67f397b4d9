"""Fan out (UC-WH-02 steps 2 and 3): from stored events to queued deliveries."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, zip_longest
from typing import Any
from uuid import UUID

from domain.core.errors import NotFound, ValidationFailed
from domain.core.ports import Clock, IdGenerator, QueueMessage, QueueSender
from domain.core.tracing import UNTRACED, SpanKind, Tracer, queue_attributes, spans
from domain.core.transaction import Transactions
from domain.core.turns import SharedTurns, fair_shares
from domain.journal.audit import AuditEntry
from domain.journal.events import DomainEvent
from domain.journal.occurrences import ALERTS_QUEUE, message_of, occurrence
from domain.journal.outbox import (
    DOMAIN_EVENTS_QUEUE,
    EventService,
    ReservedType,
    announcements,
)
from domain.journal.ports import EventRef
from domain.webhooks.loop_brake import LoopService, LoopWatch
from domain.webhooks.ports import Due, NewDelivery, PipelineTransaction, Subscriber
from domain.webhooks.rules import is_about, line_of, subscriptions_for

WEBHOOK_DELIVERIES_QUEUE = "webhook-deliveries"
IDS_PER_MESSAGE = 100
_BYTES_PER_MESSAGE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeliveryMessage:
    """A message of the queue `webhook-deliveries`; `size` is the payloads' bytes, which bound a worker's memory.

    `paced`: the endpoint's rate limit has already given these deliveries their moment."""

    webhook_id: UUID
    delivery_ids: Sequence[UUID]
    size: int = 0
    paced: bool = False

    def to_queue(self, at: datetime | None = None) -> QueueMessage:
        fields = {
            "webhookId": str(self.webhook_id),
            "deliveryIds": [str(delivery_id) for delivery_id in self.delivery_ids],
            "bytes": self.size,
            **({"paced": True} if self.paced else {}),
        }
        return QueueMessage(json.dumps(fields), scheduled_at=at)

    @classmethod
    def of_queue(cls, body: str) -> DeliveryMessage:
        """Read a message. Raises ValueError when `body` is not one."""
        try:
            fields = json.loads(body)
            return cls(
                webhook_id=UUID(fields["webhookId"]),
                delivery_ids=[UUID(delivery_id) for delivery_id in fields["deliveryIds"]],
                size=int(fields.get("bytes", 0)),
                paced=bool(fields.get("paced", False)),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError("not a delivery message") from error

    def split(self, first: int) -> tuple[DeliveryMessage, DeliveryMessage]:
        """Return the first `first` deliveries, and the others; the size is shared in proportion."""
        share = self.size * first // max(1, len(self.delivery_ids))
        return (
            replace(self, delivery_ids=self.delivery_ids[:first], size=share),
            replace(self, delivery_ids=self.delivery_ids[first:], size=self.size - share),
        )


def delivery_messages(deliveries: Iterable[Due]) -> list[DeliveryMessage]:
    """Group deliveries by webhook; a message has at most 100 deliveries or 4 MiB."""
    open_messages: dict[UUID, tuple[list[UUID], int]] = {}
    messages: list[DeliveryMessage] = []
    for webhook_id, delivery_id, size in deliveries:
        ids, total = open_messages.get(webhook_id, ([], 0))
        if ids and (len(ids) >= IDS_PER_MESSAGE or total + size > _BYTES_PER_MESSAGE):
            messages.append(DeliveryMessage(webhook_id, ids, total))
            ids, total = [], 0
        ids.append(delivery_id)
        open_messages[webhook_id] = (ids, total + size)
    return messages + [DeliveryMessage(key, ids, total) for key, (ids, total) in open_messages.items()]


def send_deliveries(queue: QueueSender, deliveries: Iterable[Due]) -> None:
    """Send the messages of `delivery_messages`. Raises Unavailable."""
    messages = delivery_messages(deliveries)
    if messages:
        queue.send(WEBHOOK_DELIVERIES_QUEUE, [message.to_queue() for message in messages])


logger = logging.getLogger("hub.webhooks")

_EVENT_IDS = '"eventIds"'
_LOOP = '"loopId"'
EVENTS_PER_TRANSACTION = 500
#: Payloads held at a time: 500 events of a mebibyte are more than a small instance has memory for.
BYTES_PER_TRANSACTION = 32 * 1024 * 1024
#: Events of a line that are read at a time: of a mebibyte each they are half of BYTES_PER_TRANSACTION.
EVENTS_PER_LOOK = 16
#: Deliveries of a turn, and its events: while one tenant has any, and while several have.
ALONE = 1_000
TOGETHER = 150
#: More deliveries than a process stores in a second.
RATE = 10_000.0
_TENANTS_KNOWN = 10_000
#: A delivery whose message was lost is queued again after this long.
MESSAGE_GRACE = timedelta(seconds=120)


class FanOut:
    """Handles the queue `domain-events`.

    `consumers` get every event at least once, inside the transaction, so they only put messages into queues. What goes
    round in a loop is held: it gets no deliveries, and no consumer gets it."""

    def __init__(
        self,
        transactions: Transactions[PipelineTransaction],
        queue: QueueSender,
        clock: Clock,
        ids: IdGenerator,
        *,
        events: EventService,
        loops: LoopWatch,
        brakes: LoopService,
        expiry: timedelta,
        consumers: Sequence[Callable[[Sequence[DomainEvent]], None]] = (),
        tracer: Tracer = UNTRACED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transactions = transactions
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._events = events
        self._loops = loops
        self._brakes = brakes
        self._expiry = expiry
        self._consumers = consumers
        self._tracer = tracer
        self._turns = SharedTurns(alone=ALONE, together=TOGETHER, rate=RATE, monotonic=monotonic)
        self._turn = threading.Lock()
        #: Deliveries that an event of a tenant made lately, so that a turn reads no more events than it needs.
        self._each: dict[UUID, float] = {}

    def handle(self, messages: Sequence[tuple[str, str]]) -> int:
        """Fan out the events that (body, message id) pairs announce or carry; return how many deliveries are new.

        - A turn has as many events of each tenant as of any other, up to a number of deliveries in all; the rest is
          announced again, behind what others have queued meanwhile.
        - A message that is no event, or one that only the hub may raise, becomes an alert: it can never succeed, the
          others must go on.

        Raises Unavailable."""
        fresh: list[EventRef] = []
        waited: list[EventRef] = []
        for body, message_id in messages:
            try:
                if _LOOP in body and (loop := _loop_of(body)) is not None:
                    self._settle_loop(loop)
                    continue
                refs, has_waited = self._refs(body, message_id)
            except ReservedType as refused:
                self._refuse(refused, message_id)
            except ValidationFailed as error:
                logger.error("message is not an event", extra={"messageId": message_id})
                data = {"subject": "domain-events", "messageId": message_id, "detail": error.detail}
                unreadable = occurrence("unreadable-message", data, self._clock.now())
                self._queue.send(ALERTS_QUEUE, [message_of(unreadable)])
            else:
                (waited if has_waited else fresh).extend(refs)
        fresh, waited = list(dict.fromkeys(fresh)), list(dict.fromkeys(waited))
        with self._turn:
            size = self._turns.size({ref.tenant_id for ref in [*fresh, *waited]})
        chosen, over = _turn_of(fresh, waited, size, self._each)
        stored, left = self.fan_out(chosen, size)
        self._announce_again([*left, *over])
        return stored

    def _refuse(self, refused: ReservedType, message_id: str) -> None:
        """Tell the tenant that somebody raised, in its name, what only the hub can know."""
        tenant_id, event = refused.tenant_id, refused.event
        about = {"eventType": event.type, "messageId": message_id}
        logger.error("event of a reserved type refused", extra={**about, "tenantId": str(tenant_id)})
        detail = f"A message on the queue {DOMAIN_EVENTS_QUEUE} was refused. {refused.detail}"
        data = {"subject": DOMAIN_EVENTS_QUEUE, "detail": detail, **about}
        forged = occurrence("security-violation", data, self._clock.now(), tenant_id=tenant_id)
        self._queue.send(ALERTS_QUEUE, [message_of(forged)])
        with self._transactions.write() as tx:
            entry = AuditEntry("event.refused", "event", event.id or message_id, after=about)
            tx.audit.append(tenant_id, entry)
            tx.commit()

    def fan_out(self, refs: Sequence[EventRef], most: int = ALONE) -> tuple[int, Sequence[EventRef]]:
        """Fan out until about `most` deliveries are stored; return how many, and the events that are left."""
        stored, left = 0, refs
        while left and stored < most:
            some, rest = left[:EVENTS_PER_TRANSACTION], left[EVENTS_PER_TRANSACTION:]
            new, undone = self._fan_out_some(some, most - stored)
            stored, left = stored + new, [*undone, *rest]
        return stored, left

    def _announce_again(self, refs: Sequence[EventRef]) -> None:
        """Send events to the end of the queue, each message at about the moment of its turn."""
        by_tenant: dict[UUID, list[EventRef]] = {}
        for ref in refs:
            by_tenant.setdefault(ref.tenant_id, []).append(ref)
        now, messages = self._clock.now(), []
        for tenant_id, of_tenant in by_tenant.items():
            announced = announcements(of_tenant, waited=True)
            work = len(of_tenant) * self._each.get(tenant_id, 1.0) / len(announced)
            for number, message in enumerate(announced):
                seconds = number * work / RATE
                messages.append(replace(message, scheduled_at=now + timedelta(seconds=seconds)))
        if messages:
            self._queue.send(DOMAIN_EVENTS_QUEUE, messages)

    def _fan_out_some(self, refs: Sequence[EventRef], most: int) -> tuple[int, list[EventRef]]:
        """Store about `most` deliveries of these events, of at most 32 MiB, in one transaction, and send them.

        Return how many are new, and which events are left."""
        now = self._clock.now()
        with ExitStack() as traced:
            with self._transactions.write() as tx:
                events = tx.outbox.pending(refs, most_bytes=BYTES_PER_TRANSACTION)
                is_all = _size(events) < BYTES_PER_TRANSACTION
                place = {ref: number for number, ref in enumerate(refs)}
                events.sort(key=lambda event: place[_ref_of(event)])
                found = _matches(tx, events)
                self._count(events, found)
                events, matches, is_cut = _within(events, found, most)
                if (ahead := _ahead(tx, matches, {_ref_of(event) for event in events})) is not None:
                    events, matches, _ = _within(ahead, _matches(tx, ahead), most)
                    is_cut = True
                # Their parents are known only now.
                traced.enter_context(self._spans(events))
                subscribed = {_ref_of(event): event for event, _ in matches}
                judged = self._loops.find_loops(tx, list(subscribed.values()), now)
                # Before anything is stored: the deliveries of what another process marks meanwhile are its own.
                mine = tx.outbox.mark_fanned_out([_ref_of(event) for event in events], now)
                tx.loops.note_laps({ref: laps for ref, laps in judged.laps.items() if ref in mine})
                tx.loops.hold(judged.held & mine, now)
                mine -= judged.held
                done = {_ref_of(event) for event in events}
                events = [event for event in events if _ref_of(event) in mine]
                fanned = tx.pipeline.add_deliveries(
                    [self._delivery(event, found) for event, found in matches if _ref_of(event) in mine],
                    now=now,
                    expires_at=now + self._expiry,
                    requeue_at=now + MESSAGE_GRACE,
                )
                # Before the commit: they may be told twice after a crash, but nothing is lost.
                for consume in self._consumers:
                    consume(events)
                tx.commit()
            send_deliveries(self._queue, fanned.due)
        left = [] if is_all and not is_cut else [ref for ref in refs if ref not in done]
        return len(fanned.new), left

    def _count(self, events: Sequence[DomainEvent], matches: Sequence[Match]) -> None:
        """Remember how many deliveries an event of each tenant makes, one at least."""
        made = Counter(event.tenant_id for event, _ in matches)
        if len(self._each) > _TENANTS_KNOWN:
            self._each = {}
        for tenant_id, many in Counter(event.tenant_id for event in events).items():
            self._each[tenant_id] = max(1.0, made[tenant_id] / many)

    def _settle_loop(self, loop: tuple[UUID, UUID]) -> None:
        # It is gone with its tenant, or somebody made the message up.
        with suppress(NotFound):
            self._brakes.settle_one(*loop)

    def _spans(self, events: Sequence[DomainEvent]) -> AbstractContextManager[None]:
        return spans(
            self._tracer,
            f"process {DOMAIN_EVENTS_QUEUE}",
            SpanKind.Consumer,
            parents=(event.traceparent for event in events),
            attributes=lambda: queue_attributes(DOMAIN_EVENTS_QUEUE, "process", count=len(events)),
        )

    def _refs(self, body: str, message_id: str) -> tuple[list[EventRef], bool]:
        """Return the events of a message, and whether they have found no place in an earlier turn."""
        # An event is read once, by its own rules; only what may be an announcement is read here.
        fields = _announced(body) if _EVENT_IDS in body else None
        if fields is None:
            accepted = self._events.accept_message(body, message_id)
            return [] if accepted is None else [accepted], False
        event_ids = fields["eventIds"]
        if not isinstance(event_ids, list) or not all(isinstance(event_id, str) for event_id in event_ids):
            raise ValidationFailed("The announcement's eventIds are not a list of texts.")
        try:
            tenant = UUID(fields.get("tenantId"))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValidationFailed("The announcement's tenantId is not a GUID.") from error
        return [EventRef(tenant, event_id) for event_id in event_ids], fields.get("waited") is True

    def _delivery(self, event: DomainEvent, found: Subscriber) -> NewDelivery:
        line = None
        if found.ordering == "perSubject" and event.subject is not None:
            line = line_of(found.webhook_id, event.subject)
        return NewDelivery(self._ids.new(), found.webhook_id, event, is_held=found.holds, line=line)


def _loop_of(body: str) -> tuple[UUID, UUID] | None:
    """Return tenant and id of the loop brake that is to be looked at again, None of any other message."""
    try:
        fields = json.loads(body)
        return UUID(fields["loop"]["tenantId"]), UUID(fields["loop"]["loopId"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _announced(body: str) -> dict[str, Any] | None:
    """Return the fields of an announcement, None of anything else."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and "eventIds" in fields else None


def _ref_of(event: DomainEvent) -> EventRef:
    return EventRef(event.tenant_id, event.event_id)


def _turn_of(
    fresh: Sequence[EventRef], waited: Sequence[EventRef], size: int, each: Mapping[UUID, float]
) -> tuple[list[EventRef], list[EventRef]]:
    """Return a turn of about `size` deliveries, as many of each tenant as of any other, and the other events.

    `each`: how many deliveries an event of a tenant makes, where that is known.

    A tenant's new events and those that have waited get the same, so that one that is raised beside a thousand others
    is not the last of them."""
    asking: dict[UUID, dict[bool, list[EventRef]]] = {}
    for has_waited, refs in ((False, fresh), (True, waited)):
        for ref in refs:
            asking.setdefault(ref.tenant_id, {}).setdefault(has_waited, []).append(ref)
    wanted = {
        tenant_id: math.ceil(sum(map(len, kinds.values())) * each.get(tenant_id, 1.0))
        for tenant_id, kinds in asking.items()
    }
    taken: list[EventRef] = []
    over: list[EventRef] = []
    shares = fair_shares(wanted, size)
    for tenant_id, kinds in asking.items():
        wanted_of = {kind: len(refs) for kind, refs in kinds.items()}
        share = math.ceil(shares.get(tenant_id, 0) / each.get(tenant_id, 1.0))
        share_of = fair_shares(wanted_of, share)
        for kind, refs in kinds.items():
            taken += refs[: share_of.get(kind, 0)]
            over += refs[share_of.get(kind, 0) :]
    return taken, over


Match = tuple[DomainEvent, Subscriber]


def _within(
    events: Sequence[DomainEvent], matches: Sequence[Match], most: int
) -> tuple[list[DomainEvent], list[Match], bool]:
    """Cut to events that make about `most` deliveries, one at least, taken from each tenant in turns.

    Of a tenant's events the first ones stay. Return events, matches, and whether any was cut."""
    if len(matches) <= most:
        return list(events), list(matches), False
    many = Counter(_ref_of(event) for event, _ in matches)
    by_tenant: dict[UUID, list[DomainEvent]] = {}
    for event in events:
        by_tenant.setdefault(event.tenant_id, []).append(event)
    kept: list[DomainEvent] = []
    for event in filter(None, chain.from_iterable(zip_longest(*by_tenant.values()))):
        if most <= 0:
            break
        kept.append(event)
        most -= many[_ref_of(event)]
    names = {_ref_of(event) for event in kept}
    return kept, [match for match in matches if _ref_of(match[0]) in names], len(kept) < len(events)


def _size(events: Sequence[DomainEvent]) -> int:
    return sum(event.size for event in events)


def _matches(tx: PipelineTransaction, events: Sequence[DomainEvent]) -> list[tuple[DomainEvent, Subscriber]]:
    """Pair each event with the webhooks that are subscribed to it, each of them once."""
    names = [(event.tenant_id, name) for event in events for name in subscriptions_for(event)]
    by_name: dict[tuple[UUID, str], list[Subscriber]] = {}
    for subscriber in tx.pipeline.subscribers(names):
        by_name.setdefault((subscriber.tenant_id, subscriber.event_type), []).append(subscriber)
    matches: list[tuple[DomainEvent, Subscriber]] = []
    for event in events:
        matched = {
            subscriber.webhook_id: subscriber
            for name in subscriptions_for(event)
            for subscriber in by_name.get((event.tenant_id, name), ())
            if subscriber.integration_id is None or is_about(event, subscriber.integration_id)
        }
        matches += ((event, found) for found in matched.values())
    return matches


def _ahead(
    tx: PipelineTransaction, matches: Sequence[tuple[DomainEvent, Subscriber]], known: AbstractSet[EventRef]
) -> list[DomainEvent] | None:
    """Return what an ordered webhook is to be told first: the events of the same subjects, from the first accepted on.

    None when these are among the `known`. Their own announcements are on their way, or with another process."""
    ordered: dict[UUID, list[DomainEvent]] = {}
    for event, found in matches:
        if found.ordering == "perSubject" and event.subject is not None:
            ordered.setdefault(event.tenant_id, []).append(event)
    for tenant_id, events in ordered.items():
        refs = tx.outbox.pending_about(
            tenant_id,
            list({event.subject for event in events if event.subject is not None}),
            until=max(event.sequence or 0 for event in events),
            limit=EVENTS_PER_TRANSACTION,
        )
        if not known >= set(refs):
            return _in_order(tx, refs)
    return None


def _in_order(tx: PipelineTransaction, refs: Sequence[EventRef]) -> list[DomainEvent]:
    """Read events in this order, a few at a time, no more once their payloads come to 32 MiB."""
    events: list[DomainEvent] = []
    for start in range(0, len(refs), EVENTS_PER_LOOK):
        found = {_ref_of(event): event for event in tx.outbox.pending(refs[start : start + EVENTS_PER_LOOK])}
        events += (found[ref] for ref in refs[start : start + EVENTS_PER_LOOK] if ref in found)
        if _size(events) >= BYTES_PER_TRANSACTION:
            break
    return events
