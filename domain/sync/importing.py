"""One import batch: fetch, transform, merge, store, all of it again harmless (UC-DS-02 steps 2-7)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from domain.core.errors import FieldError
from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions
from domain.providers.contract import ProviderFailure
from domain.providers.records import ListPage, ListRequest, SourceRecord, StateExpired
from domain.sync.batches import Batch, store
from domain.sync.merging import IncomingRecord, latest, merge
from domain.sync.model import BatchResult, Checkpoint, Phase, RecordCounts, RecordError, Step, SyncType
from domain.sync.ports import RecordsRefused, RunMark, Suppression, SuppressionFilter, SyncTransaction
from domain.sync.transforming import RefusedRecord, Transformer

logger = logging.getLogger("hub.sync")

#: Seconds a batch goes on fetching pages, so that a cancel or a deadline is noticed in time.
_FETCH_SECONDS = 10.0
_SWEEP_RECORDS = 1_000
_REFUSED = (FieldError("", "The database does not take this record."),)


@dataclass(slots=True)
class _Fetched:
    """Records of one or more pages, and where the listing goes on."""

    records: list[SourceRecord] = field(default_factory=list)
    cursor: str | None = None
    skip: int = 0
    is_complete: bool = False
    next_state: str | None = None
    total: int | None = None


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

    async def run(self, work: Batch) -> BatchResult:
        """Raises ProviderFailure, Superseded, Unavailable; nothing is stored then."""
        if work.step.phase == Phase.Sweep:
            return await asyncio.to_thread(self._sweep, work)
        try:
            fetched = await self._fetch(work)
        except StateExpired:
            return await asyncio.to_thread(self._start_over, work)
        return await asyncio.to_thread(self._apply, work, fetched)

    # -- fetching -----------------------------------------------------------------------------------------

    async def _fetch(self, work: Batch) -> _Fetched:
        """Pages until the batch is full or time is up. What came before a failure is kept."""
        checkpoint = work.checkpoint
        fetched = _Fetched(cursor=checkpoint.cursor, skip=checkpoint.skip)
        until = time.monotonic() + _FETCH_SECONDS
        while True:
            try:
                page = await self._page(work, fetched.cursor)
            except (ProviderFailure, StateExpired):
                if not fetched.records:
                    raise
                return fetched
            largest = self._take(work, fetched, page)
            room = work.size - len(fetched.records)
            if fetched.is_complete or fetched.skip or room < largest or time.monotonic() > until:
                return fetched

    @staticmethod
    async def _page(work: Batch, cursor: str | None) -> ListPage:
        checkpoint, profile = work.checkpoint, work.profile
        limit = max(1, min(work.size, profile.page_size))
        request = ListRequest(profile.name, limit, cursor, checkpoint.since, checkpoint.state)
        page = await work.source.list_records(request)
        if page.next_cursor is not None and page.next_cursor == cursor:
            raise ProviderFailure("malformed", "The provider's list leads back to the same page.")
        return page

    @staticmethod
    def _take(work: Batch, fetched: _Fetched, page: ListPage) -> int:
        """Add a page's records; a page larger than the batch is taken in slices. Returns the page's size."""
        room = work.size - len(fetched.records)
        left = page.records[fetched.skip :]
        fetched.total = page.total if page.total is not None else fetched.total
        if len(left) > room:
            fetched.records += left[:room]
            fetched.skip += room
            return len(page.records)
        fetched.records += left
        fetched.cursor, fetched.skip = page.next_cursor, 0
        fetched.is_complete = page.next_cursor is None
        fetched.next_state = page.next_state if fetched.is_complete else None
        return max(1, len(page.records))

    # -- storing ------------------------------------------------------------------------------------------

    def _apply(self, work: Batch, fetched: _Fetched) -> BatchResult:
        with self._transactions.read() as tx:
            mapping = tx.sync_settings.mapping(work.job.tenant_id, work.job.integration_id)
        erased = self._suppression.of_tenant(work.job.tenant_id)
        transformer = work.source.transformer(work.step.stream, mapping.mapping)
        good, refused = transformed(transformer, fetched.records)
        good, refused = _without_erased(erased, work, good, refused)
        try:
            return self._store(work, fetched, good, refused)
        except RecordsRefused:
            if len(fetched.records) > 1:
                return BatchResult(
                    "retry", cause="batch-refused", detail="The database refused a record of the batch."
                )
            one = RefusedRecord(good[0].external_id, _REFUSED)
            return self._store(work, fetched, [], [one])

    def _store(
        self, work: Batch, fetched: _Fetched, good: Sequence[IncomingRecord], refused: Sequence[RefusedRecord]
    ) -> BatchResult:
        job, step = work.job, work.step
        kept, repeated = latest(good)
        full = step.generation if step.sync_type == SyncType.Full else None
        now = self._clock.now()
        mark = RunMark(job.data_sync_job_id, now, step.generation)
        with self._transactions.write() as tx:
            known = tx.sync_records.known(
                job.tenant_id, job.integration_id, step.stream, [one.external_id for one in kept]
            )
            merged = merge(known, kept, full)
            tx.sync_records.store(job.tenant_id, job.integration_id, step.stream, merged, run=mark)
            self._log(tx, work, refused, now)
            counts = RecordCounts(
                written=len(merged.inserts) + len(merged.updates),
                unchanged=merged.unchanged,
                duplicate=merged.duplicate + repeated,
                deleted=len(merged.tombstones),
                failed=len(refused),
            )
            after = self._after(work, fetched, kept)
            if after[0].phase == Phase.Sweep and not self._unseen(tx, work, after="", limit=1):
                after = (replace(after[0], phase=Phase.Done), after[1])
            outcome = store(tx, work, after, counts, now)
            tx.commit()
        return outcome

    def _after(
        self, work: Batch, fetched: _Fetched, kept: Sequence[IncomingRecord]
    ) -> tuple[Step, Checkpoint]:
        """The step and checkpoint that follow."""
        checkpoint, step = work.checkpoint, work.step
        for one in kept:
            checkpoint = checkpoint.seen(one.modified_at)
        checkpoint = replace(
            checkpoint,
            cursor=fetched.cursor,
            skip=fetched.skip,
            next_state=fetched.next_state or checkpoint.next_state,
        )
        total = fetched.total if fetched.total is not None else step.total
        step = replace(step, total=total)
        if fetched.is_complete:
            # Absence is a deletion only in a list of everything there is.
            is_swept = step.sync_type == SyncType.Full and work.profile.complete_history
            step = replace(step, phase=Phase.Sweep if is_swept else Phase.Done)
            checkpoint = replace(checkpoint, after="")
        return step, checkpoint

    def _log(self, tx: SyncTransaction, work: Batch, refused: Sequence[RefusedRecord], now: datetime) -> None:
        """BR-DS-04."""
        errors = [
            RecordError(
                self._ids.new(),
                work.job.data_sync_job_id,
                work.step.stream,
                one.external_id,
                error.pointer[:300],
                error.detail[:400],
                now,
            )
            for one in refused
            for error in one.errors
        ]
        tx.sync_jobs.log_errors(work.job.tenant_id, errors)

    # -- other batches ------------------------------------------------------------------------------------

    def _sweep(self, work: Batch) -> BatchResult:
        """Tombstones for what a complete enumeration did not see."""
        job, step, now = work.job, work.step, self._clock.now()
        mark = RunMark(job.data_sync_job_id, now, step.generation)
        with self._transactions.write() as tx:
            gone = self._unseen(tx, work, after=work.checkpoint.after or "", limit=_SWEEP_RECORDS)
            buried = tx.sync_records.bury(job.tenant_id, job.integration_id, step.stream, gone, run=mark)
            is_last = len(gone) < _SWEEP_RECORDS
            after = replace(step, phase=Phase.Done) if is_last else step
            checkpoint = replace(work.checkpoint, after=gone[-1] if gone else "")
            outcome = store(tx, work, (after, checkpoint), RecordCounts(deleted=buried), now)
            tx.commit()
        return outcome

    @staticmethod
    def _unseen(tx: SyncTransaction, work: Batch, *, after: str, limit: int) -> list[str]:
        job, step = work.job, work.step
        return tx.sync_records.unseen(
            job.tenant_id,
            job.integration_id,
            step.stream,
            generation=step.generation,
            after=after,
            limit=limit,
        )

    def _start_over(self, work: Batch) -> BatchResult:
        """The provider forgot the state: list this stream from the beginning, as a full run does."""
        job, step, now = work.job, work.step, self._clock.now()
        with self._transactions.write() as tx:
            state = tx.sync_settings.stream(job.tenant_id, job.integration_id, step.stream)
            generation = state.generation + 1
            fresh = replace(state, state=None, since=None, generation=generation)
            tx.sync_settings.set_stream(job.tenant_id, fresh)
            again = replace(step, sync_type=SyncType.Full, generation=generation, phase=Phase.List)
            outcome = store(tx, work, (again, Checkpoint(began_at=now)), RecordCounts(), now)
            tx.commit()
        return outcome


def _without_erased(
    erased: SuppressionFilter | None, work: Batch, good: list[IncomingRecord], refused: list[RefusedRecord]
) -> tuple[list[IncomingRecord], list[RefusedRecord]]:
    """A batch without the people who were erased."""
    if erased is None:
        return good, refused
    integration_id, stream = work.job.integration_id, work.step.stream
    kept, changed = erased.without(integration_id, stream, good)
    if changed:
        logger.info("erased people left out", extra={"records": changed, "stream": stream})
    return kept, [
        replace(record, external_id=erased.shown_id(integration_id, stream, record.external_id))
        for record in refused
    ]


def transformed(
    transformer: Transformer, records: Sequence[SourceRecord]
) -> tuple[list[IncomingRecord], list[RefusedRecord]]:
    """Both kinds of a batch's records."""
    good: list[IncomingRecord] = []
    refused: list[RefusedRecord] = []
    for record in records:
        made = transformer.transform(record)
        if isinstance(made, RefusedRecord):
            refused.append(made)
        else:
            good.append(made)
    return good, refused
