"""The batches of an export of domain events: those of the mapped types are sent, from the checkpoint on."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from uuid import UUID

from domain.core.errors import FieldError
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions
from domain.journal.events import DomainEvent
from domain.providers.analytics import AnalyticsEvent
from domain.providers.contract import EventSink, ProviderFailure
from domain.providers.untrusted import WorkStopped
from domain.sync.batches import Batch, store_progress
from domain.sync.effort import EXPLANATION, TOO_EXPENSIVE, for_each
from domain.sync.event_mapping import EventMapper
from domain.sync.mapping import FieldMapping
from domain.sync.merging import IncomingRecord
from domain.sync.model import BatchResult, BatchState, Phase, RecordCounts, state_context
from domain.sync.ports import EventSlice, Suppression, SyncTransaction

logger = logging.getLogger("hub.sync")

#: Events get their number before they are committed: those of a job's last seconds are let finish first.
_SETTLING = timedelta(seconds=3)
_NOTHING_MAPPED = "No type of events is mapped: PUT the mapping of the integration with `events`."


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The events of a slice, by what became of them before the call; `ready` and `refused` are by position."""

    ready: dict[int, AnalyticsEvent]
    refused: dict[int, str]


class EventExporter:
    """Sends the events of one call with each batch, and stores the checkpoint with what became of them.

    A process that dies between the two sends them again: Segment drops an id that it has seen, GA4 counts twice."""

    def __init__(
        self,
        transactions: Transactions[SyncTransaction],
        clock: Clock,
        ids: IdGenerator,
        suppression: Suppression,
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids
        self._suppression = suppression

    async def process(self, batch: Batch) -> BatchResult:
        """Send the events of one batch. Raises ProviderFailure, Superseded, Unavailable; nothing is stored then."""
        sink = batch.source.sink
        if sink is None:
            raise ProviderFailure("rejected", "The provider takes no events any more.")
        began_at = batch.checkpoint.began_at or batch.started_at
        early = (began_at + _SETTLING - self._clock.now()).total_seconds()
        if early > 0:
            detail = "Events that are being stored are let finish."
            return BatchResult(BatchState.Wait, seconds=early, cause="settling", detail=detail)
        mapper = await asyncio.to_thread(self._mapper, batch)
        if not mapper.types:
            return BatchResult.failed("no-event-types", _NOTHING_MAPPED)
        most = min(batch.size, sink.most_events)
        events = await asyncio.to_thread(self._read, batch, mapper, most)
        try:
            prepared = await self._prepare(batch, mapper, events)
        except WorkStopped as stopped:
            cause = "busy" if stopped.reason == "busy" else TOO_EXPENSIVE
            return BatchResult(BatchState.Retry, cause=cause, detail=f"{EXPLANATION} {stopped.detail}")
        ready = list(prepared.ready)
        sent, refused = await self._send(batch, sink, list(prepared.ready.values()))
        taken = sent + len(refused)
        end = ready[taken] if taken < len(ready) else len(events.events)
        positions = {event.event_id: position for position, event in prepared.ready.items()}
        reasons = {positions[event.event_id]: reason for event, reason in refused}
        reasons |= {position: reason for position, reason in prepared.refused.items() if position < end}
        return await asyncio.to_thread(self._store, batch, events, end=end, sent=sent, refused=reasons)

    async def _send(
        self, batch: Batch, sink: EventSink, ready: Sequence[AnalyticsEvent]
    ) -> tuple[int, list[tuple[AnalyticsEvent, str]]]:
        """Return how many of the first events the provider took, and which it refused.

        A call that it rejects is made again with half of the events, down to the one that it does not take."""
        most = len(ready)
        while True:
            call = sink.pack(ready[:most], batch.source.connection.now)
            refused = [
                (event, call.refused[event.event_id]) for event in ready if event.event_id in call.refused
            ]
            if not call.sent:
                return 0, refused
            try:
                await batch.source.deliver_events(call)
            except ProviderFailure as failure:
                if failure.kind != "rejected":
                    raise
                if len(call.sent) == 1:
                    return 0, [*refused, (call.sent[0], failure.detail)]
                most = max(1, call.taken // 2)
                continue
            return len(call.sent), refused

    def _mapper(self, batch: Batch) -> EventMapper:
        with self._transactions.read() as tx:
            stored = tx.sync_settings.mapping(batch.job.tenant_id, batch.job.integration_id)
        return EventMapper(FieldMapping.model_validate_json(stored.mapping).events)

    def _read(self, batch: Batch, mapper: EventMapper, most: int) -> EventSlice:
        after = int(batch.checkpoint.cursor or 0)
        until = batch.checkpoint.began_at or batch.started_at
        with self._transactions.read() as tx:
            return tx.sync_events.after(
                batch.job.tenant_id, mapper.types, after=after, until=until, limit=most
            )

    async def _prepare(self, batch: Batch, mapper: EventMapper, events: EventSlice) -> _Prepared:
        kept = await asyncio.to_thread(self._without_suppressed, batch, events.events)
        step = partial(_mapped, mapper, batch.job.integration_id)
        made = await for_each(batch.source.connection.work, step, mapper, kept)
        return _Prepared(
            {position: event for position, event in enumerate(made) if isinstance(event, AnalyticsEvent)},
            {position: reason for position, reason in enumerate(made) if isinstance(reason, str)},
        )

    def _without_suppressed(self, batch: Batch, events: Sequence[DomainEvent]) -> list[DomainEvent | None]:
        """Return the events without the people whom the tenant erased; None for one that is about them."""
        suppressed = self._suppression.of_tenant(batch.job.tenant_id)
        if suppressed is None:
            return list(events)
        records = [
            IncomingRecord(event.event_id, _text(event), "", None, None, "Generic") for event in events
        ]
        kept, changed = suppressed.leave_out(batch.job.integration_id, batch.step.stream, records)
        if changed:
            logger.info("erased people left out", extra={"records": changed, "stream": batch.step.stream})
        return [_event(event, record.data) for event, record in zip(events, kept, strict=True)]

    def _store(
        self, batch: Batch, events: EventSlice, *, end: int, sent: int, refused: dict[int, str]
    ) -> BatchResult:
        job, step, now = batch.job, batch.step, self._clock.now()
        is_whole = end == len(events.events)
        cursor = events.last if is_whole else events.sequences[end - 1]
        checkpoint = replace(batch.checkpoint, cursor=str(cursor))
        errors = [
            batch.error(self._ids.new(), events.events[position].event_id, FieldError("", reason), now)
            for position, reason in sorted(refused.items())
        ]
        counts = RecordCounts(written=sent, unchanged=end - sent - len(refused), failed=len(refused))
        next_step = replace(step, phase=Phase.Done) if is_whole and events.is_last else step
        context = state_context(job.integration_id, step.stream)
        with self._transactions.write() as tx:
            state = tx.sync_settings.stream(job.tenant_id, job.integration_id, step.stream)
            sealed = batch.cipher.seal(str(cursor), context=context)
            tx.sync_settings.set_stream(job.tenant_id, replace(state, state=sealed, synced_at=now))
            tx.sync_jobs.log_errors(job.tenant_id, errors)
            result = store_progress(tx, batch, next_step, checkpoint, counts=counts, now=now)
            tx.commit()
        return result


def _mapped(
    mapper: EventMapper, integration_id: UUID, event: DomainEvent | None
) -> AnalyticsEvent | str | None:
    """Return the event as the provider shall have it, or why there is none; None for one that is left out."""
    if event is None:
        return None
    try:
        return mapper.apply(event, integration_id)
    except ValueError as reason:
        return f"The mapping of `{reason}` failed."


def _text(event: DomainEvent) -> str:
    """Return what a person may be named in: subject and data."""
    return f'{{"subject":{json.dumps(event.subject)},"data":{event.data}}}'


def _event(event: DomainEvent, text: str | None) -> DomainEvent | None:
    if text is None:
        return None
    if text == _text(event):
        return event
    content = json.loads(text)
    return replace(event, subject=content.get("subject"), data=json.dumps(content.get("data")))
