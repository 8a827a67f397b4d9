"""The brake on loops: judged at fan-out, where every event passes; settled by a timer; released by a person."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from domain.core.errors import Conflict
from domain.core.paging import Page, PageRequest
from domain.core.permissions import WEBHOOK_MANAGE
from domain.core.ports import Clock, IdGenerator, QueueMessage, QueueSender
from domain.core.principal import Principal
from domain.core.transaction import Transactions, repeated
from domain.core.wire import Command
from domain.journal.audit import AuditEntry
from domain.journal.echoes import marks_of
from domain.journal.events import DomainEvent
from domain.journal.occurrences import ALERTS_QUEUE, message_of, occurrence
from domain.journal.outbox import DOMAIN_EVENTS_QUEUE, announcements
from domain.journal.ports import EventRef
from domain.webhooks.loops import (
    ECHO_WINDOW,
    LAPS_LIMIT,
    RATE_WINDOW,
    Echo,
    LoopBrake,
    LoopState,
    after_held,
    after_waiting,
    confirmed_by_probe,
    echo_of,
    is_held,
    released,
    tripped,
    trips,
)
from domain.webhooks.ports import LoopTransaction, PipelineTransaction

logger = logging.getLogger("hub.webhooks")

#: Events that one transaction lets go.
RELEASED_PER_TRANSACTION = 500
_TRANSACTIONS = 100


class ReleaseLoop(Command):
    """Body of `POST /api/loops/{id}/release`; may be empty."""

    held: Literal["deliver", "discard"] = Field("deliver", description="What becomes of the events held")
    trust_hours: Annotated[int, Field(ge=0, le=30 * 24)] = Field(
        0, description="Hours for which no event of the type is held, because it is no loop"
    )


@dataclass(slots=True)
class Judged:
    """The laps of the events that are echoes, which of them are held, and the brakes that changed state."""

    laps: dict[EventRef, int] = field(default_factory=dict)
    held: set[EventRef] = field(default_factory=set)
    changed: list[LoopBrake] = field(default_factory=list)


class LoopWatch:
    """Tells echoes among events that are fanned out, and holds those of a loop. `most_a_minute` 0 switches it off."""

    def __init__(self, queue: QueueSender, ids: IdGenerator, *, most_a_minute: int) -> None:
        self._queue = queue
        self._ids = ids
        self._most_a_minute = most_a_minute

    def find_loops(self, tx: PipelineTransaction, events: Sequence[DomainEvent], now: datetime) -> Judged:
        """Return which of the events, all of them subscribed to, are held, and store what that changes."""
        judged = Judged()
        by_tenant: dict[UUID, list[DomainEvent]] = {}
        for event in events if self._most_a_minute else ():
            by_tenant.setdefault(event.tenant_id, []).append(event)
        for tenant_id, own in by_tenant.items():
            if echoes := _echoes(tx, tenant_id, own, now):
                self._hold(tx, tenant_id, echoes, now=now, judged=judged)
        for brake in judged.changed:
            tell(self._queue, brake, now)
        return judged

    def _hold(
        self,
        tx: PipelineTransaction,
        tenant_id: UUID,
        echoes: Sequence[tuple[DomainEvent, Echo]],
        *,
        now: datetime,
        judged: Judged,
    ) -> None:
        brakes = tx.loops.of_types(tenant_id, {event.type for event, _ in echoes})
        before = dict(brakes)
        recent: Counter[str] | None = None
        for event, echo in echoes:
            ref, brake = EventRef(tenant_id, event.event_id), brakes.get(event.type)
            if brake is not None and brake.trusts(now):
                continue
            judged.laps[ref] = max(echo.laps, LAPS_LIMIT) if echo.goes_round else echo.laps
            if brake is None or not brake.holds:
                if not echo.goes_round:
                    continue
                recent = recent if recent is not None else tx.loops.going_round(tenant_id, now - RATE_WINDOW)
                recent[event.type] += 1
                counts = {"of_type": recent[event.type], "of_tenant": recent.total()}
                if not trips(echo, **counts, most_a_minute=self._most_a_minute):
                    continue
                state = _shared_state(brakes, echo, now)
                brake = tripped(brake, LoopBrake(self._ids.new(), tenant_id, event.type, state, now, now))
            elif brake.probe_event_id == event.event_id:
                continue
            if is_held(brake, echo):
                judged.held.add(ref)
                brake = after_held(brake, echo, now)
            brakes[event.type] = brake
        for event_type, brake in brakes.items():
            if brake != (old := before.get(event_type)):
                tx.loops.save(brake)
                if old is None or old.state is not brake.state:
                    judged.changed.append(brake)


def _shared_state(brakes: dict[str, LoopBrake], echo: Echo, now: datetime) -> LoopState:
    """Return the state of a new brake: where what was let pass comes back as another type, both are of one loop."""
    state = LoopState.Suspected
    for event_type, brake in brakes.items():
        brakes[event_type] = after = confirmed_by_probe(brake, echo, now)
        if after is not brake:
            state = LoopState.Confirmed
    return state


def _echoes(
    tx: PipelineTransaction, tenant_id: UUID, events: Sequence[DomainEvent], now: datetime
) -> list[tuple[DomainEvent, Echo]]:
    """Return the events that repeat what was delivered.

    What the hub itself tells of an echo in the same transaction goes as far round as that."""
    since = now - ECHO_WINDOW
    marks = {event.event_id: marks_of(event.data) for event in events}
    wholes = {event.event_id: event.digest for event in events if event.digest is not None}
    judged = [event for event in events if event.event_id in wholes]
    known = tx.loops.delivered(
        tenant_id,
        {digest for event in judged for digest in marks[event.event_id].digests},
        {event_id for event in judged for event_id in marks[event.event_id].event_ids},
        since=since,
    )
    found = {
        event.event_id: echo_of(
            marks[event.event_id],
            known,
            whole=wholes[event.event_id],
            accepted_at=event.accepted_at,
        )
        for event in judged
    }
    for event in events:
        if event.event_id not in wholes:
            about = (found.get(event_id) for event_id in marks[event.event_id].event_ids)
            found[event.event_id] = next((echo for echo in about if echo is not None), None)
    return [(event, echo) for event in events if (echo := found[event.event_id]) is not None]


def tell(queue: QueueSender, brake: LoopBrake, now: datetime) -> None:
    """Send what becomes an alert or ends it, or has the brake looked at again. Raises Unavailable.

    Before the commit: it may be told twice after a crash, but is never lost."""
    fields = {"tenantId": str(brake.tenant_id), "eventType": brake.event_type, "state": brake.state.name}
    logger.warning("loop brake", extra=fields)
    if brake.state in (LoopState.Suspected, LoopState.Probed):
        look = {"loop": {"tenantId": str(brake.tenant_id), "loopId": str(brake.loop_brake_id)}}
        queue.send(DOMAIN_EVENTS_QUEUE, [QueueMessage(json.dumps(look), scheduled_at=brake.looked_at_again)])
        return
    source = "event-loop" if brake.holds else "event-loop-over"
    data = {
        "subject": brake.event_type,
        "detail": _DETAILS[brake.state].format(brake.event_type),
        "loopId": str(brake.loop_brake_id),
    }
    queue.send(ALERTS_QUEUE, [message_of(occurrence(source, data, now, tenant_id=brake.tenant_id))])


_DETAILS: Mapping[LoopState, str] = {
    LoopState.Confirmed: "Events of type {} go round in a loop: what is delivered is raised again. They are held "
    "until somebody ends the loop and releases them (POST /api/loops/{{id}}/release).",
    LoopState.Released: "Events of type {} are not held any more.",
}


class LoopService:
    """The brakes, for the timer and for people."""

    def __init__(self, transactions: Transactions[LoopTransaction], queue: QueueSender, clock: Clock) -> None:
        self._transactions = transactions
        self._queue = queue
        self._clock = clock

    def page(self, principal: Principal, page: PageRequest) -> Page[LoopBrake]:
        """Return a page of the tenant's brakes, those that hold first."""
        principal.require(WEBHOOK_MANAGE)
        with self._transactions.read() as tx:
            return tx.loops.page(principal.tenant_id, page)

    def release(self, principal: Principal, loop_brake_id: UUID, command: ReleaseLoop) -> LoopBrake:
        """Hold no more, and deliver or discard what was held. Raises Forbidden, NotFound, Conflict (`not-held`)."""
        principal.require(WEBHOOK_MANAGE)
        brake = self._release(principal, loop_brake_id, command)
        self._let_go(brake)
        return brake

    @repeated
    def _release(self, principal: Principal, loop_brake_id: UUID, command: ReleaseLoop) -> LoopBrake:
        now = self._clock.now()
        with self._transactions.write() as tx:
            before = tx.loops.get(principal.tenant_id, loop_brake_id)
            if not before.holds:
                raise Conflict("Nothing of this type is held.", code="not-held")
            brake = released(before, now, trusted_for=timedelta(hours=command.trust_hours))
            tx.loops.save(brake)
            if command.held == "discard":
                tx.loops.discard(brake.tenant_id, brake.event_type)
            after = {"state": brake.state.name, "held": command.held, "trustHours": command.trust_hours}
            entry = AuditEntry(
                "loop.released", "loop", loop_brake_id, principal, {"state": before.state.name}, after
            )
            tx.audit.append(brake.tenant_id, entry)
            tell(self._queue, brake, now)
            tx.commit()
        return brake

    def settle_one(self, tenant_id: UUID, loop_brake_id: UUID) -> None:
        """Do what `settle` does, for one brake. Raises NotFound."""
        with self._transactions.read() as tx:
            brake = tx.loops.get(tenant_id, loop_brake_id)
        self._settle(brake)

    def settle(self) -> int:
        """Find out which suspected loops are loops, and let go what released brakes held; return how many changed."""
        with self._transactions.read() as tx:
            open_ = tx.loops.unsettled()
        changed = sum(self._settle(brake) for brake in open_)
        for brake in open_:
            if not brake.holds:
                self._let_go(brake)
        return changed

    @repeated
    def _settle(self, seen: LoopBrake) -> bool:
        now = self._clock.now()
        with self._transactions.write() as tx:
            brake = tx.loops.get(seen.tenant_id, seen.loop_brake_id)
            after = after_waiting(brake, now)
            if after == brake:
                if brake.state is LoopState.Suspected:
                    tell(self._queue, brake, now)
                return False
            passed: list[EventRef] = []
            if after.state is LoopState.Probed:
                after, passed = tx.loops.let_one_pass(after, now)
            tx.loops.save(after)
            tell(self._queue, after, now)
            tx.commit()
        self._queue.send(DOMAIN_EVENTS_QUEUE, announcements(passed))
        if not after.holds:
            self._let_go(after)
        return True

    def _let_go(self, brake: LoopBrake) -> None:
        for _ in range(_TRANSACTIONS):
            with self._transactions.write() as tx:
                refs = tx.loops.let_go(
                    brake.tenant_id, brake.event_type, self._clock.now(), RELEASED_PER_TRANSACTION
                )
                tx.commit()
            if not refs:
                return
            self._queue.send(DOMAIN_EVENTS_QUEUE, announcements(refs))
