"""The batches of an export: the tenant's changes are pushed to the provider, each failure on its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.core.errors import FieldError
from domain.core.ports import Clock, IdGenerator
from domain.core.text_length import cut
from domain.core.transaction import Transactions
from domain.providers.contract import ProviderFailure, RecordChanged
from domain.providers.records import PushRequest, PushResult, SourceRecord
from domain.providers.untrusted import WorkStopped
from domain.sync.batches import Batch, store_progress
from domain.sync.effort import EXPLANATION, for_each
from domain.sync.local_fields import LocalFields, Pushes, beside_provider, overlaid, waiting_fields
from domain.sync.merging import IncomingRecord, MergeAction, StoredVersion, decide
from domain.sync.model import BatchResult, Phase, RecordCounts, SyncedRecord
from domain.sync.ports import PushedRecord, SyncTransaction
from domain.sync.rules import exports_everything, stored_id
from domain.sync.transforming import RefusedRecord, Transformer, content_hash

#: Records of one batch, and pushes at the same time: each record is a request of its own.
PUSHES, AT_ONCE = 50, 5


@dataclass(frozen=True, slots=True)
class _PushAttempt:
    """One record and what became of its push: `pushed` or `failure`; not `is_sent` when there was nothing to send."""

    record: SyncedRecord
    pushed: PushedRecord | None = None
    failure: ProviderFailure | None = None
    is_sent: bool = True

    @property
    def ends_batch(self) -> bool:
        """Whether the failure is of the provider; `rejected` and `malformed` concern only the record."""
        return self.failure is not None and self.failure.kind not in ("rejected", "malformed")


class Exporter:
    def __init__(self, transactions: Transactions[SyncTransaction], clock: Clock, ids: IdGenerator) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids

    async def process(self, batch: Batch) -> BatchResult:
        """Push the records of one batch, and store which of them the provider took.

        A failure of the provider ends the batch; it is raised when nothing was pushed. Raises Superseded."""
        records, transformer = await asyncio.to_thread(self._records, batch)
        attempts: list[_PushAttempt] = []
        for start in range(0, len(records), AT_ONCE):
            pushes = (self._push(batch, record, transformer) for record in records[start : start + AT_ONCE])
            attempts += await asyncio.gather(*pushes)
            if any(attempt.ends_batch for attempt in attempts):
                break
        end = next((index for index, attempt in enumerate(attempts) if attempt.ends_batch), None)
        if end is None:
            is_last = len(records) < min(batch.size, PUSHES)
            return await asyncio.to_thread(self._store, batch, attempts, is_last)
        failure = attempts[end].failure
        if end == 0 and failure is not None:
            raise failure
        return await asyncio.to_thread(self._store, batch, attempts[:end], False)

    def _records(self, batch: Batch) -> tuple[list[SyncedRecord], Transformer]:
        job, step = batch.job, batch.step
        with self._transactions.read() as tx:
            mapping = tx.sync_settings.mapping(job.tenant_id, job.integration_id)
            records = tx.sync_records.to_export(
                job.tenant_id,
                job.integration_id,
                step.stream,
                after=batch.checkpoint.after or "",
                limit=min(batch.size, PUSHES),
                everything=exports_everything(job),
            )
        return records, batch.source.transformer(step.stream, mapping.mapping)

    async def _push(
        self, batch: Batch, record: SyncedRecord, transformer: Transformer, *, tries: int = 2
    ) -> _PushAttempt:
        """Push a record. Where the provider has another version by now, its moment decides as in an import."""
        pushes, local = batch.profile.pushes, waiting_fields(record)
        fields = None if _is_whole(batch, record) else local.waiting(pushes)
        if fields is not None and not fields:
            return _PushAttempt(record, _settled(record, local.kept(None, pushes)), is_sent=False)
        try:
            answer = await batch.source.push_record(_request(batch, record, fields, local))
        except RecordChanged as changed:
            return await self._push_again(batch, record, transformer, changed, tries=tries)
        except ProviderFailure as failure:
            return _PushAttempt(record, failure=failure)
        told = None
        if answer.record is not None and record.data is not None:
            told = await _transformed(batch, transformer, answer.record)
        return _PushAttempt(record, _pushed(record, answer, told, pushes))

    async def _push_again(
        self,
        batch: Batch,
        record: SyncedRecord,
        transformer: Transformer,
        changed: RecordChanged,
        *,
        tries: int,
    ) -> _PushAttempt:
        """Push over the provider's present version if the tenant's change is the later one.

        A new record that the provider has already, and later, is the provider's from now on."""
        current = await _transformed(batch, transformer, changed.current)
        if isinstance(current, RefusedRecord) or tries < 2:
            return _PushAttempt(record, failure=changed)
        known = _version_of(record)
        if decide(known, current, None, self._clock.now()) not in (MergeAction.Update, MergeAction.Tombstone):
            attempt = await self._push(batch, _rebased(record, known, current), transformer, tries=tries - 1)
            pushed = replace(attempt.pushed, record=record) if attempt.pushed is not None else None
            return replace(attempt, record=record, pushed=pushed)
        if not record.external_id.startswith("local:") or current.data is None:
            return _PushAttempt(record, failure=changed)
        theirs = overlaid(current, known, batch.profile.pushes, is_kept=False)
        taken = PushedRecord(
            record,
            current.external_id,
            current.modified_at,
            current.version,
            current.hash,
            theirs.data,
            theirs.local_fields,
        )
        return _PushAttempt(record, taken, is_sent=False)

    def _store(self, batch: Batch, attempts: Sequence[_PushAttempt], is_last: bool) -> BatchResult:
        job, step, now = batch.job, batch.step, self._clock.now()
        pushed = [attempt.pushed for attempt in attempts if attempt.pushed is not None]
        refused = [(attempt.record.external_id, attempt.failure) for attempt in attempts if attempt.failure]
        errors = [
            batch.error(self._ids.new(), external_id, FieldError("", failure.detail), now)
            for external_id, failure in refused
        ]
        unchanged = sum(not attempt.is_sent for attempt in attempts)
        written = len(attempts) - unchanged - len(errors)
        counts = RecordCounts(written=written, unchanged=unchanged, failed=len(errors))
        next_step = replace(step, phase=Phase.Done) if is_last else step
        last = attempts[-1].record.external_id if attempts else batch.checkpoint.after
        checkpoint = replace(batch.checkpoint, after=last)
        with self._transactions.write() as tx:
            of = job.tenant_id, job.integration_id, step.stream
            tx.sync_records.pushed(*of, pushed, run=batch.mark(now))
            tx.sync_jobs.log_errors(job.tenant_id, errors)
            result = store_progress(tx, batch, next_step, checkpoint, counts=counts, now=now)
            tx.commit()
        return result


async def _transformed(
    batch: Batch, transformer: Transformer, record: SourceRecord
) -> IncomingRecord | RefusedRecord:
    """Transform a record that the provider told with a push; one that takes too long is refused."""
    try:
        work = batch.source.connection.work
        (made,) = await for_each(work, transformer.transform, transformer, [record])
    except WorkStopped:
        return RefusedRecord(stored_id(record.external_id), [FieldError("", EXPLANATION)])
    return made


def _version_of(record: SyncedRecord) -> StoredVersion:
    return StoredVersion(
        source_hash=record.source_hash,
        modified_at=record.modified_at,
        is_deleted=record.data is None,
        generation=0,
        version=record.source_version,
        is_waiting=True,
        record_type=record.record_type,
        local_fields=waiting_fields(record).to_text(),
    )


def _rebased(record: SyncedRecord, known: StoredVersion, current: IncomingRecord) -> SyncedRecord:
    """Return the record with its waiting change over the provider's present version, or none when it is gone there."""
    beside = beside_provider(current, known)
    is_new = record.external_id.startswith("local:")
    return replace(
        record,
        external_id=current.external_id if is_new else record.external_id,
        data=record.data if beside.data is None else beside.data,
        local_fields=beside.local_fields,
        source_version=current.version if current.data is not None else None,
        source_hash=current.hash if current.data is not None else None,
    )


def _is_whole(batch: Batch, record: SyncedRecord) -> bool:
    """Return whether the whole record is pushed, and not what changed of it alone."""
    return record.data is None or record.source_hash is None or exports_everything(batch.job)


def _request(
    batch: Batch, record: SyncedRecord, fields: frozenset[str] | None, local: LocalFields
) -> PushRequest:
    is_new = record.external_id.startswith("local:")
    is_gone = record.source_hash is None and record.data is not None and not is_new
    emptied = {name: None for name, value in local.ours.items() if value is None}
    digest = content_hash(record.data or "")
    return PushRequest(
        stream=batch.step.stream,
        idempotency_key=idempotency_key(record, None if is_new or is_gone else digest),
        data={**json.loads(record.data), **emptied} if record.data is not None else {},
        external_id=None if is_new else record.external_id,
        if_version=record.source_version,
        deleted=record.data is None,
        fields=fields,
        # An id that only the tenant has named is a mistake where the provider does not know it.
        recreate=is_gone and record.last_job_id is not None,
    )


def _pushed(
    record: SyncedRecord, answer: PushResult, told: IncomingRecord | RefusedRecord | None, pushes: Pushes
) -> PushedRecord:
    """Return what is stored after a push: the record as the provider tells it, with what no push takes over it."""
    version = cut(answer.version, 200) if answer.version else None
    key, hash_, data = stored_id(answer.external_id), content_hash(record.data or ""), record.data
    local = waiting_fields(record).kept(None, pushes).to_text()
    if isinstance(told, IncomingRecord) and told.data is not None:
        taken = overlaid(told, _version_of(record), pushes, is_kept=False)
        hash_, data, local = told.hash, taken.data, taken.local_fields
    return PushedRecord(record, key, answer.modified_at, version, hash_, data, local)


def _settled(record: SyncedRecord, local: LocalFields) -> PushedRecord:
    """Return a record of which the provider has all that it can take already."""
    return PushedRecord(
        record,
        record.external_id,
        None,
        record.source_version,
        record.source_hash or "",
        record.data,
        local.to_text(),
    )


def idempotency_key(record: SyncedRecord, digest: str | None) -> str:
    """Return the idempotency key of a push: the same for repeats of one change, another for the next change.

    `digest` is None for a record that the provider has not confirmed yet. If the answer to its creation was lost
    and its content changed since, a key that depends on the content would create it a second time."""
    text = f"{record.integration_id}/{record.stream}/{record.external_id}"
    if digest is not None:
        text += f"/{digest}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
