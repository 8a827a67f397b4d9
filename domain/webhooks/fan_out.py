"""Fan out (UC-WH-02 steps 2 and 3): from stored events to queued deliveries."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.core.errors import NotFound, ValidationFailed
from domain.core.ports import Clock, IdGenerator, QueueMessage, QueueSender
from domain.core.tracing import UNTRACED, SpanKind, Tracer, queue_attributes, spans
from domain.core.transaction import Transactions
from domain.journal.audit import AuditEntry
from domain.journal.events import DomainEvent
from domain.journal.occurrences import ALERTS_QUEUE, message_of, occurrence
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, EventService, ReservedType
from domain.journal.ports import EventRef
from domain.webhooks.loop_brake import LoopService, LoopWatch
from domain.webhooks.ports import Due, NewDelivery, PipelineTransaction, Subscriber
from domain.webhooks.rules import is_about, line_of, subscriptions_for

WEBHOOK_DELIVERIES_QUEUE = "webhook-deliveries"
_IDS_PER_MESSAGE = 100
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
        if ids and (len(ids) >= _IDS_PER_MESSAGE or total + size > _BYTES_PER_MESSAGE):
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

    def handle(self, messages: Sequence[tuple[str, str]]) -> int:
        """Fan out the events that (body, message id) pairs announce or carry; return how many deliveries are new.

        A message that is no event, or one that only the hub may raise, becomes an alert: it can never succeed, the
        others must go on. Raises Unavailable."""
        refs: list[EventRef] = []
        for body, message_id in messages:
            try:
                if _LOOP in body and (loop := _loop_of(body)) is not None:
                    self._settle_loop(loop)
                else:
                    refs += self._refs(body, message_id)
            except ReservedType as refused:
                self._refuse(refused, message_id)
            except ValidationFailed as error:
                logger.error("message is not an event", extra={"messageId": message_id})
                data = {"subject": "domain-events", "messageId": message_id, "detail": error.detail}
                unreadable = occurrence("unreadable-message", data, self._clock.now())
                self._queue.send(ALERTS_QUEUE, [message_of(unreadable)])
        unique = list(dict.fromkeys(refs))
        starts = range(0, len(unique), EVENTS_PER_TRANSACTION)
        return sum(self.fan_out(unique[start : start + EVENTS_PER_TRANSACTION]) for start in starts)

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

    def fan_out(self, refs: Sequence[EventRef]) -> int:
        """Store the deliveries of these events, one transaction for 32 MiB, and send them; return how many are new."""
        count, is_all = 0, False
        while not is_all:
            new, is_all = self._fan_out_some(refs)
            count += new
        return count

    def _fan_out_some(self, refs: Sequence[EventRef]) -> tuple[int, bool]:
        """Return how many deliveries are new, and whether no event is left."""
        now = self._clock.now()
        with ExitStack() as traced:
            with self._transactions.write() as tx:
                events = tx.outbox.pending(refs, most_bytes=BYTES_PER_TRANSACTION)
                is_all = _size(events) < BYTES_PER_TRANSACTION
                matches = _matches(tx, events)
                if (ahead := _ahead(tx, matches, {_ref_of(event) for event in events})) is not None:
                    events, is_all, matches = ahead, False, _matches(tx, ahead)
                # Their parents are known only now.
                traced.enter_context(self._spans(events))
                subscribed = {_ref_of(event): event for event, _ in matches}
                judged = self._loops.find_loops(tx, list(subscribed.values()), now)
                # Before anything is stored: the deliveries of what another process marks meanwhile are its own.
                mine = tx.outbox.mark_fanned_out([_ref_of(event) for event in events], now)
                tx.loops.note_laps({ref: laps for ref, laps in judged.laps.items() if ref in mine})
                tx.loops.hold(judged.held & mine, now)
                mine -= judged.held
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
        return len(fanned.new), is_all

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

    def _refs(self, body: str, message_id: str) -> list[EventRef]:
        # An event is read once, by its own rules; only what may be an announcement is read here.
        fields = _announced(body) if _EVENT_IDS in body else None
        if fields is None:
            accepted = self._events.accept_message(body, message_id)
            return [] if accepted is None else [accepted]
        event_ids = fields["eventIds"]
        if not isinstance(event_ids, list) or not all(isinstance(event_id, str) for event_id in event_ids):
            raise ValidationFailed("The announcement's eventIds are not a list of texts.")
        try:
            tenant = UUID(fields.get("tenantId"))
        except (ValueError, TypeError, AttributeError) as error:
            raise ValidationFailed("The announcement's tenantId is not a GUID.") from error
        return [EventRef(tenant, event_id) for event_id in event_ids]

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
