"""Accept events: validate, store once, announce."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn
from uuid import UUID

from pydantic import ValidationError

from domain.core.errors import FieldError, Unavailable, ValidationFailed
from domain.core.json_text import check_json, cut_members
from domain.core.permissions import EVENTS_WRITE
from domain.core.ports import Clock, IdGenerator, QueueMessage, QueueSender
from domain.core.principal import Principal
from domain.core.tenants import KnownStandings
from domain.core.transaction import Transactions, repeated
from domain.core.wire import rfc3339
from domain.journal.audit import AuditEntry
from domain.journal.echoes import content_digest
from domain.journal.event_types import FROM_PLATFORM, ReservedTypes
from domain.journal.events import EVENT_ID_PATTERN, Accepted, DomainEvent, RaiseEvent, check_payload
from domain.journal.hops import HOPS_HEADER, HOPS_LIMIT, HopCounter, TooManyHops
from domain.journal.ports import EventRef, EventTransaction
from domain.journal.raising import ENVELOPE_BYTES

logger = logging.getLogger("hub.events")

DOMAIN_EVENTS_QUEUE = "domain-events"
_IDS_PER_MESSAGE = 100
_MOST_AHEAD = timedelta(days=1)


def announcements(refs: Sequence[EventRef], *, waited: bool = False) -> list[QueueMessage]:
    """Return messages for the queue `domain-events`: ids only, because a payload may be larger than a message.

    `waited`: the events found no place in an earlier turn."""
    mark = {"waited": True} if waited else {}
    by_tenant: dict[UUID, list[str]] = {}
    for ref in refs:
        by_tenant.setdefault(ref.tenant_id, []).append(ref.event_id)
    return [
        QueueMessage(
            json.dumps({"tenantId": str(tenant), "eventIds": ids[start : start + _IDS_PER_MESSAGE], **mark})
        )
        for tenant, ids in by_tenant.items()
        for start in range(0, len(ids), _IDS_PER_MESSAGE)
    ]


class ReservedType(ValidationFailed):
    """A message of the queue raises what only the hub and its integrations do, in the name of a tenant."""

    def __init__(self, errors: Sequence[FieldError], *, tenant_id: UUID, event: RaiseEvent) -> None:
        super().__init__(errors[0].detail, errors, code="reserved-type")
        self.tenant_id = tenant_id
        self.event = event


def check_types(reserved: ReservedTypes, named: Iterable[tuple[str, str]]) -> None:
    """Raise ValidationFailed where one of (type, pointer) is reserved, naming each."""
    if errors := _reserved_among(reserved, named):
        raise ValidationFailed(errors[0].detail, errors, code="reserved-type")


def _reserved_among(reserved: ReservedTypes, named: Iterable[tuple[str, str]]) -> list[FieldError]:
    return [
        FieldError(
            pointer,
            f"`{type_}` is reserved: only the hub and its integrations raise `{entry}`. "
            "GET /api/events/reserved-types lists what is.",
        )
        for type_, pointer in named
        if (entry := reserved.reserving(type_)) is not None
    ]


def _check_moments(events: Iterable[tuple[RaiseEvent, str]], now: datetime) -> None:
    """Raise ValidationFailed for what is to happen more than a day from now: clocks differ, but not that much."""
    detail = f"It lies more than a day ahead of the hub's clock ({rfc3339(now)})."
    errors = [
        FieldError(f"{pointer}/occurredAt", detail)
        for event, pointer in events
        if event.occurred_at is not None and event.occurred_at - now > _MOST_AHEAD
    ]
    if errors:
        raise ValidationFailed(f"`occurredAt`: {detail}", errors)


class EventService:
    """Use cases of `POST /api/events` and of the queue `domain-events`."""

    def __init__(
        self,
        transactions: Transactions[EventTransaction],
        queue: QueueSender,
        clock: Clock,
        ids: IdGenerator,
        *,
        max_bytes: int,
        reserved: ReservedTypes,
        hops: HopCounter,
        standings: KnownStandings,
        admit: Callable[[UUID, int], None],
    ) -> None:
        """`admit` is asked before so many events of a tenant are stored that came over the API."""
        self._standings = standings
        self._admit = admit
        self._transactions = transactions
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._max_bytes = max_bytes
        self._reserved = reserved
        self._hops = hops

    def accept(
        self,
        principal: Principal,
        events: Sequence[RaiseEvent],
        traceparent: str | None = None,
        *,
        in_batch: bool = True,
        hops: str | None = None,
    ) -> Accepted:
        """Store all of the events in one transaction, or none. Raises Forbidden, ValidationFailed, TooLarge, Conflict.

        - `reserved-type` refuses what only the hub and its integrations raise.
        - `in_batch` says where the pointers of errors begin.
        - `hops` is the header by which the hub counts deliveries in a row: `too-many-hops` refuses at 8."""
        principal.require(EVENTS_WRITE)
        count = self._hops.read(hops, self._clock.now())
        if count >= HOPS_LIMIT:
            self._refuse_hops(principal, count)
        pointer = "/events/{}" if in_batch else ""
        tenant_id = principal.tenant_id
        named = [(event, pointer.format(index)) for index, event in enumerate(events)]
        check_types(self._reserved, [(event.type, f"{place}/type") for event, place in named])
        _check_moments(named, self._clock.now())
        rows = [self._row(tenant_id, event, traceparent, place) for event, place in named]
        self._admit(tenant_id, len(rows))
        return self._store([replace(row, hops=count) for row in rows] if count else rows)

    def accept_message(self, body: str, message_id: str) -> EventRef | None:
        """Store one event that another module sent straight to the queue. Raises ReservedType, ValidationFailed.

        Of a tenant that is or was deleted nothing is stored any more: None.

        Its `tenantId` names the tenant; the message id makes it idempotent when the event has no id."""
        if len(body) > self._max_bytes + ENVELOPE_BYTES:
            raise ValidationFailed(f"The message has {len(body):,} characters, more than an event may have.")
        try:
            text = body.encode()
            check_json(text)
            fields = cut_members(text, "data")
            tenant_id = UUID(fields.pop("tenantId"))
            if fields.get("id") is None:
                fields["id"] = _id_of_message(message_id)
            event = RaiseEvent.model_validate(fields, by_alias=True, by_name=False)
        except (ValidationFailed, ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValidationFailed("The message is not an event.") from error
        if self._standings.of(tenant_id).deletion_requested_at is not None:
            logger.warning("event of a deleted tenant dropped", extra={"tenantId": str(tenant_id)})
            return None
        if errors := _reserved_among(self._reserved, [(event.type, "/type")]):
            raise ReservedType(errors, tenant_id=tenant_id, event=event)
        _check_moments([(event, "")], self._clock.now())
        row = self._row(tenant_id, event, None, "")
        self._store([row])
        return EventRef(tenant_id, row.event_id)

    def sweep(self, *, older_than_seconds: int = 30, limit: int = 5_000) -> int:
        """Announce up to `limit` events again whose announcement was lost; return how many.

        Raises Unavailable when the queue is away."""
        now = self._clock.now()
        before = now - timedelta(seconds=older_than_seconds)
        with self._transactions.write() as tx:
            refs = tx.outbox.unannounced(before, now, limit)
            tx.commit()
        if not refs:
            return 0
        try:
            self._queue.send(DOMAIN_EVENTS_QUEUE, announcements(refs))
        except Unavailable:
            # The next run is to try them, not the one after their interval.
            with self._transactions.write() as tx:
                tx.outbox.not_announced(refs, before - timedelta(microseconds=1))
                tx.commit()
            raise
        return len(refs)

    @repeated
    def _refuse_hops(self, principal: Principal, count: int) -> NoReturn:
        with self._transactions.write() as tx:
            entry = AuditEntry("event.refused", "event", HOPS_HEADER, principal, after={"hops": count})
            tx.audit.append(principal.tenant_id, entry)
            tx.commit()
        raise TooManyHops(count)

    @repeated
    def _store(self, rows: Sequence[DomainEvent]) -> Accepted:
        with self._transactions.write() as tx:
            new = tx.outbox.append(rows)
            tx.commit()
        return Accepted(new, len(rows) - new, [row.event_id for row in rows])

    def _row(self, tenant_id: UUID, event: RaiseEvent, traceparent: str | None, pointer: str) -> DomainEvent:
        row = DomainEvent(
            event_id=event.id or str(self._ids.new()),
            tenant_id=tenant_id,
            type=event.type,
            data=event.data.text,
            occurred_at=event.occurred_at or self._clock.now(),
            subject=event.subject,
            traceparent=traceparent,
            origin=FROM_PLATFORM,
            digest=content_digest(event.data.text),
        )
        check_payload(row.size, self._max_bytes, pointer)
        return row


def _id_of_message(message_id: str) -> str:
    if re.fullmatch(EVENT_ID_PATTERN, message_id):
        return message_id
    return hashlib.sha256(message_id.encode(errors="replace")).hexdigest()
