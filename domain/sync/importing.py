"""The batches of an import: fetch, transform, merge and store; every part may be repeated (UC-DS-02 steps 2-7)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from domain.core.errors import FieldError
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions
from domain.providers.contract import ProviderFailure
from domain.providers.records import ListingRequest, ListPage, SourceRecord, StateExpired
from domain.providers.untrusted import WorkStopped
from domain.sync.batches import Batch, store_progress
from domain.sync.effort import EXPLANATION, TOO_EXPENSIVE, for_each
from domain.sync.local_fields import with_local_fields
from domain.sync.merging import IncomingRecord, is_ahead, latest, merge, seen_otherwise, shared_ids
from domain.sync.model import BatchResult, BatchState, Checkpoint, Phase, RecordCounts, Step, SyncType
from domain.sync.ports import RecordsRefused, Suppression, SyncTransaction
from domain.sync.rounds import ListGoesRound, Trail
from domain.sync.rules import stored_id
from domain.sync.transforming import RefusedRecord, Transformer

logger = logging.getLogger("hub.sync")

#: Seconds for which a batch fetches pages, so that a cancel or a deadline is noticed in time.
_FETCH_SECONDS = 10.0
SWEEP_RECORDS = 1_000
#: Told when such a record is stored, which is once; it is no failure.
_AHEAD = FieldError(
    "/modifiedAt",
    "The provider stamped this record in the future; it is taken, and its moment decides nothing.",
)
#: Told with the count of duplicates; the provider alone can mend it.
_SHARED = FieldError("", "The provider lists different records under this id; one of them is kept.")
#: Told when a tenant's change was not pushed because the provider's is the later one; it is no failure.
_GIVEN_UP = FieldError(
    "/modifiedAt",
    "The provider changed this record later than you did; your change was not pushed, and the provider's is taken.",
)


@dataclass(slots=True)
class _Fetched:
    records: list[SourceRecord] = field(default_factory=list)
    cursor: str | None = None
    skip: int = 0
    is_complete: bool = False
    next_state: str | None = None
    total: int | None = None
    is_partial: bool = False
    problems: list[str] = field(default_factory=list)
    trail: Trail = field(default_factory=Trail)


class Importer:
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
        """Import one batch, or sweep one. Raises ProviderFailure, Superseded, Unavailable; nothing is stored then."""
        if batch.step.phase == Phase.Sweep:
            return await asyncio.to_thread(self._sweep, batch)
        trail = Trail.from_text(batch.checkpoint.trail)
        seconds = trail.wait(self._clock.now())
        if seconds > 0:
            return BatchResult(
                BatchState.Wait, 0, seconds, "list-stands-still", "The list brings nothing new."
            )
        try:
            fetched = await self._fetch(batch, trail)
        except ListGoesRound as reason:
            return BatchResult.failed("list-goes-round", str(reason))
        except StateExpired:
            return await asyncio.to_thread(self._start_over, batch)
        try:
            accepted, refused = await self._transform(batch, fetched.records)
        except WorkStopped as stopped:
            cause = "busy" if stopped.reason == "busy" else TOO_EXPENSIVE
            return BatchResult(BatchState.Retry, cause=cause, detail=f"{EXPLANATION} {stopped.detail}")
        return await asyncio.to_thread(self._import, batch, fetched, accepted, refused)

    async def _fetch(self, batch: Batch, trail: Trail) -> _Fetched:
        """Fetch pages until the batch is full or the time is up; a failure keeps the pages before it."""
        checkpoint = batch.checkpoint
        fetched = _Fetched(cursor=checkpoint.cursor, skip=checkpoint.skip, trail=trail)
        until = time.monotonic() + _FETCH_SECONDS
        while True:
            try:
                page = await self._page(batch, fetched)
            except (ProviderFailure, StateExpired, ListGoesRound):
                if not fetched.records and fetched.cursor == checkpoint.cursor:
                    raise
                return fetched
            largest = self._add_page(batch, fetched, page)
            room = batch.size - len(fetched.records)
            is_full = fetched.skip > 0 or room < largest or time.monotonic() > until
            if fetched.is_complete or is_full or trail.is_slow:
                return fetched

    async def _page(self, batch: Batch, fetched: _Fetched) -> ListPage:
        """Fetch the page at the cursor. Raises ListGoesRound; a page that is read again for its rest may repeat."""
        checkpoint, profile, cursor = batch.checkpoint, batch.profile, fetched.cursor
        is_first = fetched.skip == 0
        if is_first:
            fetched.trail.check_cursor(cursor)
        limit = max(1, min(batch.size, profile.page_size))
        request = ListingRequest(profile.name, limit, cursor, checkpoint.since, checkpoint.state)
        asked_at = self._clock.now()
        page = await batch.source.list_records(request)
        if is_first:
            fetched.trail.add_page(page, asked_at)
        return page

    @staticmethod
    def _add_page(batch: Batch, fetched: _Fetched, page: ListPage) -> int:
        """Add the records of a page and return its size; a page larger than the batch is taken in slices."""
        room = batch.size - len(fetched.records)
        left = page.records[fetched.skip :]
        fetched.total = page.total if page.total is not None else fetched.total
        fetched.is_partial |= not page.is_complete
        if len(left) > room:
            fetched.records += left[:room]
            fetched.skip += room
            return len(page.records)
        fetched.records += left
        fetched.trail.add_cursor(fetched.cursor)
        fetched.problems += [page.problem] if page.problem is not None else []
        fetched.cursor, fetched.skip = page.next_cursor, 0
        fetched.is_complete = page.next_cursor is None
        fetched.next_state = page.next_state if fetched.is_complete else None
        return max(1, len(page.records))

    def _import(
        self,
        batch: Batch,
        fetched: _Fetched,
        accepted: list[IncomingRecord],
        refused: list[RefusedRecord],
    ) -> BatchResult:
        refused += [RefusedRecord("", [FieldError("", problem)]) for problem in fetched.problems]
        seen = [record.external_id for record in refused]
        accepted, refused = self._leave_out_suppressed(batch, accepted, refused)
        try:
            return self._store(batch, fetched, accepted, refused, seen=seen)
        except RecordsRefused:
            if len(fetched.records) > 1:
                detail = "The database refused a record of the batch."
                return BatchResult(BatchState.Retry, cause="batch-refused", detail=detail)
            error = FieldError("", "The database refused this record.")
            refused = [RefusedRecord(accepted[0].external_id, [error])]
            return self._store(batch, fetched, [], refused, seen=[accepted[0].external_id])

    async def _transform(
        self, batch: Batch, records: Sequence[SourceRecord]
    ) -> tuple[list[IncomingRecord], list[RefusedRecord]]:
        transformer = await asyncio.to_thread(self._transformer, batch)
        accepted: list[IncomingRecord] = []
        refused: list[RefusedRecord] = []
        work = batch.source.connection.work
        for transformed in await for_each(work, transformer.transform, transformer, records):
            if isinstance(transformed, RefusedRecord):
                refused.append(transformed)
            else:
                accepted.append(transformed)
        return accepted, refused

    def _transformer(self, batch: Batch) -> Transformer:
        with self._transactions.read() as tx:
            mapping = tx.sync_settings.mapping(batch.job.tenant_id, batch.job.integration_id)
        return batch.source.transformer(batch.step.stream, mapping.mapping)

    def _leave_out_suppressed(
        self, batch: Batch, accepted: list[IncomingRecord], refused: list[RefusedRecord]
    ) -> tuple[list[IncomingRecord], list[RefusedRecord]]:
        """Return both lists without the people whom the tenant erased; a log must not name them either."""
        suppressed = self._suppression.of_tenant(batch.job.tenant_id)
        if suppressed is None:
            return accepted, refused
        integration_id, stream = batch.job.integration_id, batch.step.stream
        kept, changed = suppressed.leave_out(integration_id, stream, accepted)
        if changed:
            logger.info("erased people left out", extra={"records": changed, "stream": stream})
        masked = [
            replace(record, external_id=suppressed.masked_id(integration_id, stream, record.external_id))
            for record in refused
        ]
        return kept, masked

    def _store(
        self,
        batch: Batch,
        fetched: _Fetched,
        accepted: Sequence[IncomingRecord],
        refused: Sequence[RefusedRecord],
        *,
        seen: Sequence[str],
    ) -> BatchResult:
        """Store the accepted records and log the refused ones, whose own ids are `seen`."""
        job, step = batch.job, batch.step
        now = self._clock.now()
        records, repeated = latest(accepted, now)
        generation = step.generation if step.sync_type == SyncType.Full else None
        errors = [
            batch.error(self._ids.new(), record.external_id, error, now)
            for record in refused
            for error in record.errors
        ]
        ids = list({*seen, *(record.external_id for record in records)} - {""})
        of = job.tenant_id, job.integration_id, step.stream
        with self._transactions.write() as tx:
            stored = tx.sync_records.stored_versions(*of, ids)
            merged = merge(stored, records, generation, now=now, refused=seen)
            merged = with_local_fields(merged, stored, batch.profile.pushes)
            ahead = [
                record for record in (*merged.inserts, *merged.updates) if is_ahead(record.modified_at, now)
            ]
            errors += [batch.error(self._ids.new(), record.external_id, _AHEAD, now) for record in ahead]
            shared = {stored_id(record.external_id) for record in fetched.records if record.shares_id}
            shared |= shared_ids(accepted) | seen_otherwise(stored, records, generation)
            shared &= {record.external_id for record in records}
            errors += [batch.error(self._ids.new(), name, _SHARED, now) for name in sorted(shared)]
            errors += [
                batch.error(self._ids.new(), external_id, _GIVEN_UP, now) for external_id in merged.given_up
            ]
            tx.sync_records.store(*of, merged, run=batch.mark(now))
            tx.sync_jobs.log_errors(job.tenant_id, errors)
            counts = RecordCounts(
                written=len(merged.inserts) + len(merged.updates),
                unchanged=merged.unchanged,
                duplicate=merged.duplicate + repeated + sum(record.repeats for record in fetched.records),
                deleted=len(merged.tombstones),
                failed=len(refused),
            )
            next_step, checkpoint = _following(batch, fetched, records, has_nameless="" in seen)
            if next_step.phase == Phase.Sweep and not _unseen(tx, batch, after="", limit=1):
                next_step = replace(next_step, phase=Phase.Done)
            result = store_progress(tx, batch, next_step, checkpoint, counts=counts, now=now)
            tx.commit()
        return result

    def _sweep(self, batch: Batch) -> BatchResult:
        job, step, now = batch.job, batch.step, self._clock.now()
        with self._transactions.write() as tx:
            gone = _unseen(tx, batch, after=batch.checkpoint.after or "", limit=SWEEP_RECORDS)
            of = job.tenant_id, job.integration_id, step.stream
            buried = tx.sync_records.bury(*of, gone, run=batch.mark(now))
            is_last = len(gone) < SWEEP_RECORDS
            next_step = replace(step, phase=Phase.Done) if is_last else step
            checkpoint = replace(batch.checkpoint, after=gone[-1] if gone else "")
            counts = RecordCounts(deleted=buried)
            result = store_progress(tx, batch, next_step, checkpoint, counts=counts, now=now)
            tx.commit()
        return result

    def _start_over(self, batch: Batch) -> BatchResult:
        """List the stream from the beginning, as a full run does, because the provider forgot its state."""
        job, step, now = batch.job, batch.step, self._clock.now()
        with self._transactions.write() as tx:
            state = tx.sync_settings.stream(job.tenant_id, job.integration_id, step.stream)
            generation = state.generation + 1
            fresh = replace(state, state=None, since=None, generation=generation)
            tx.sync_settings.set_stream(job.tenant_id, fresh)
            first = replace(step, sync_type=SyncType.Full, generation=generation, phase=Phase.List)
            checkpoint = Checkpoint(began_at=now)
            result = store_progress(tx, batch, first, checkpoint, counts=RecordCounts(), now=now)
            tx.commit()
        return result


def _following(
    batch: Batch, fetched: _Fetched, records: Sequence[IncomingRecord], *, has_nameless: bool
) -> tuple[Step, Checkpoint]:
    """Return where the step stands after the batch. Nobody knows which record one without an id is."""
    checkpoint, step = batch.checkpoint, batch.step
    has_unread = bool(fetched.problems) or any(record.unread is not None for record in fetched.records)
    checkpoint = replace(
        checkpoint,
        is_partial=checkpoint.is_partial or fetched.is_partial or bool(fetched.problems) or has_nameless,
        has_unread=checkpoint.has_unread or has_unread,
    )
    for record in records:
        checkpoint = checkpoint.seen(record.modified_at)
    next_state = fetched.next_state or checkpoint.next_state
    checkpoint = replace(
        checkpoint,
        cursor=fetched.cursor,
        skip=fetched.skip,
        next_state=next_state,
        trail="" if fetched.is_complete else fetched.trail.to_text(),
    )
    step = replace(step, total=fetched.total if fetched.total is not None else step.total)
    if fetched.is_complete:
        # Absence is a deletion only in a list of everything there is.
        is_whole = batch.profile.complete_history and not checkpoint.is_partial
        is_swept = step.sync_type == SyncType.Full and is_whole
        step = replace(step, phase=Phase.Sweep if is_swept else Phase.Done)
        checkpoint = replace(checkpoint, after="")
    return step, checkpoint


def _unseen(tx: SyncTransaction, batch: Batch, *, after: str, limit: int) -> list[str]:
    job, step = batch.job, batch.step
    of = job.tenant_id, job.integration_id, step.stream
    return tx.sync_records.unseen(*of, generation=step.generation, after=after, limit=limit)
