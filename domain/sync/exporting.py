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
from domain.providers.contract import ProviderFailure
from domain.providers.records import PushRequest
from domain.sync.batches import Batch, store_progress
from domain.sync.model import BatchResult, Phase, RecordCounts, SyncedRecord, SyncType
from domain.sync.ports import PushedRecord, SyncTransaction
from domain.sync.rules import stored_id
from domain.sync.transforming import content_hash

#: Records of one batch, and pushes at the same time: each record is a request of its own.
PUSHES, AT_ONCE = 50, 5


@dataclass(frozen=True, slots=True)
class _PushAttempt:
    """One record and what became of its push: `pushed`, `failure`, or neither when nothing had to be sent."""

    record: SyncedRecord
    pushed: PushedRecord | None = None
    failure: ProviderFailure | None = None

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
        records = await asyncio.to_thread(self._records, batch)
        attempts: list[_PushAttempt] = []
        for start in range(0, len(records), AT_ONCE):
            pushes = (self._push(batch, record) for record in records[start : start + AT_ONCE])
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

    def _records(self, batch: Batch) -> list[SyncedRecord]:
        job, step = batch.job, batch.step
        with self._transactions.read() as tx:
            return tx.sync_records.to_export(
                job.tenant_id,
                job.integration_id,
                step.stream,
                after=batch.checkpoint.after or "",
                limit=min(batch.size, PUSHES),
                everything=step.sync_type == SyncType.Full,
            )

    async def _push(self, batch: Batch, record: SyncedRecord) -> _PushAttempt:
        digest = content_hash(record.data or "")
        if batch.step.sync_type == SyncType.Differential and record.exported_hash == digest:
            return _PushAttempt(record)
        is_new = record.external_id.startswith("local:")
        request = PushRequest(
            stream=batch.step.stream,
            idempotency_key=idempotency_key(record, None if is_new else digest),
            data=json.loads(record.data) if record.data is not None else {},
            external_id=None if is_new else record.external_id,
            if_version=record.source_version,
            deleted=record.data is None,
        )
        try:
            answer = await batch.source.push_record(request)
        except ProviderFailure as failure:
            return _PushAttempt(record, failure=failure)
        key = stored_id(answer.external_id)
        version = cut(answer.version, 200) if answer.version else None
        return _PushAttempt(record, PushedRecord(record, key, answer.modified_at, version, digest))

    def _store(self, batch: Batch, attempts: Sequence[_PushAttempt], is_last: bool) -> BatchResult:
        job, step, now = batch.job, batch.step, self._clock.now()
        pushed = [attempt.pushed for attempt in attempts if attempt.pushed is not None]
        refused = [(attempt.record.external_id, attempt.failure) for attempt in attempts if attempt.failure]
        errors = [
            batch.error(self._ids.new(), external_id, FieldError("", failure.detail), now)
            for external_id, failure in refused
        ]
        unchanged = len(attempts) - len(pushed) - len(errors)
        counts = RecordCounts(written=len(pushed), unchanged=unchanged, failed=len(errors))
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


def idempotency_key(record: SyncedRecord, digest: str | None) -> str:
    """Return the idempotency key of a push: the same for repeats of one change, another for the next change.

    `digest` is None for a record that the provider has not confirmed yet. If the answer to its creation was lost
    and its content changed since, a key that depends on the content would create it a second time."""
    text = f"{record.integration_id}/{record.stream}/{record.external_id}"
    if digest is not None:
        text += f"/{digest}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
