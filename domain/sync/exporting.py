"""One export batch: the tenant's own changes, pushed idempotently, each failure on its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from domain.core.ports import Clock, IdGenerator
from domain.core.transaction import Transactions
from domain.providers.contract import ProviderFailure
from domain.providers.records import PushRequest
from domain.sync.batches import Batch, store
from domain.sync.model import BatchResult, Phase, RecordCounts, RecordError, SyncedRecord, SyncType
from domain.sync.ports import PushedRecord, RunMark, SyncTransaction
from domain.sync.rules import stored_id
from domain.sync.transforming import content_hash

#: Records of one batch, and pushes in flight: each is a request of its own.
_PUSHES, _AT_ONCE = 50, 5
_LOCAL = "local:"


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one push; exactly one of `pushed` and `failure`, neither when nothing had to be done."""

    record: SyncedRecord
    pushed: PushedRecord | None = None
    failure: ProviderFailure | None = None


class Exporter:
    def __init__(self, transactions: Transactions[SyncTransaction], clock: Clock, ids: IdGenerator) -> None:
        self._transactions = transactions
        self._clock = clock
        self._ids = ids

    async def run(self, work: Batch) -> BatchResult:
        """A failure that is not of one record ends the batch; what was pushed before it is recorded. Raises
        ProviderFailure, Superseded, Unavailable."""
        records = await asyncio.to_thread(self._records, work)
        results: list[_Result] = []
        for start in range(0, len(records), _AT_ONCE):
            some = records[start : start + _AT_ONCE]
            results += await asyncio.gather(*(self._push(work, one) for one in some))
            if any(_stops(result) for result in results):
                break
        kept = _up_to_the_first_stop(results)
        stopped = next((result.failure for result in results if _stops(result)), None)
        if stopped is not None and not kept:
            raise stopped
        is_last = stopped is None and len(records) < min(work.size, _PUSHES)
        return await asyncio.to_thread(self._store, work, kept, is_last)

    def _records(self, work: Batch) -> list[SyncedRecord]:
        job, step = work.job, work.step
        with self._transactions.read() as tx:
            return tx.sync_records.to_export(
                job.tenant_id,
                job.integration_id,
                step.stream,
                after=work.checkpoint.after or "",
                limit=min(work.size, _PUSHES),
                everything=step.sync_type == SyncType.Full,
            )

    async def _push(self, work: Batch, record: SyncedRecord) -> _Result:
        digest = content_hash(record.data or "")
        if work.step.sync_type == SyncType.Differential and record.exported_hash == digest:
            return _Result(record)
        is_new = record.external_id.startswith(_LOCAL)
        request = PushRequest(
            stream=work.step.stream,
            idempotency_key=idempotency_key(record, None if is_new else digest),
            data=json.loads(record.data) if record.data is not None else {},
            external_id=None if is_new else record.external_id,
            if_version=record.source_version,
            deleted=record.data is None,
        )
        try:
            answer = await work.source.push_record(request)
        except ProviderFailure as failure:
            return _Result(record, failure=failure)
        key = stored_id(answer.external_id)
        version = answer.version[:200] if answer.version else None
        return _Result(record, PushedRecord(record, key, answer.modified_at, version, digest))

    def _store(self, work: Batch, results: Sequence[_Result], is_last: bool) -> BatchResult:
        job, step, now = work.job, work.step, self._clock.now()
        mark = RunMark(job.data_sync_job_id, now, step.generation)
        pushed = [result.pushed for result in results if result.pushed is not None]
        refused = [result for result in results if result.failure is not None]
        errors = [
            RecordError(
                self._ids.new(),
                job.data_sync_job_id,
                step.stream,
                one.record.external_id,
                "",
                (one.failure.detail if one.failure else "")[:400],
                now,
            )
            for one in refused
        ]
        counts = RecordCounts(
            written=len(pushed), unchanged=len(results) - len(pushed) - len(refused), failed=len(refused)
        )
        after = replace(step, phase=Phase.Done) if is_last else step
        last = results[-1].record.external_id if results else work.checkpoint.after
        with self._transactions.write() as tx:
            tx.sync_records.pushed(job.tenant_id, job.integration_id, step.stream, pushed, run=mark)
            tx.sync_jobs.log_errors(job.tenant_id, errors)
            outcome = store(tx, work, (after, replace(work.checkpoint, after=last)), counts, now)
            tx.commit()
        return outcome


def idempotency_key(record: SyncedRecord, digest: str | None) -> str:
    """The same for every repeat of the same change, another for the next change. `digest` is None for a record
    that the provider has not confirmed: the answer of its creation may be lost and its content changed since,
    and under another key it would be created a second time."""
    text = f"{record.integration_id}/{record.stream}/{record.external_id}"
    if digest is not None:
        text += f"/{digest}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _stops(result: _Result) -> bool:
    """`rejected` and `malformed` are about the record; everything else is about the provider."""
    return result.failure is not None and result.failure.kind not in ("rejected", "malformed")


def _up_to_the_first_stop(results: Sequence[_Result]) -> list[_Result]:
    kept: list[_Result] = []
    for result in results:
        if _stops(result):
            break
        kept.append(result)
    return kept
