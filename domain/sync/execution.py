"""The log of an execution: what a job did, beside the records that it refused. Bounded by `rules.is_logged`."""

from __future__ import annotations

import json
from datetime import datetime

from domain.core.ports import IdGenerator
from domain.core.text_length import cut
from domain.sync.model import (
    BatchResult,
    BatchState,
    LogEntry,
    LogKind,
    RecordCounts,
    Step,
    SyncJob,
)
from domain.sync.ports import SyncTransaction
from domain.sync.rules import TIMED_OUT, after_failure, is_logged

_MOST_CHARACTERS = 400


def error_message(job: SyncJob) -> str:
    """Return why the job failed, or how many of its records did; empty when none did."""
    if job.error_log:
        return str(json.loads(job.error_log)["message"])
    return f"{job.records_failed} records failed." if job.records_failed else ""


class ExecutionLog:
    """Writes the entries of one job into the transaction of what they tell of."""

    def __init__(self, tx: SyncTransaction, ids: IdGenerator, job: SyncJob, now: datetime) -> None:
        self._tx = tx
        self._ids = ids
        self._job = job
        self._now = now

    def started(self) -> None:
        """Log the start of a run, of which the dispatcher gave the job a place."""
        run = self._job.run_number
        self._write(LogKind.Start, f"Run {run} started.", run=run)

    def resumed(self, reason: str) -> None:
        self._write(LogKind.Resumption, f"{reason} It goes on from the checkpoint.")

    def ended(self) -> None:
        """Log the end of the job, or that its time was up."""
        job = self._job
        kind = LogKind.TimeOut if job.error_code == TIMED_OUT.cause else LogKind.End
        text = (
            f"{job.status.name}: {job.records_processed:,} records processed, {job.records_failed:,} failed."
        )
        if job.error_log is not None:
            text += f" {error_message(job)}"
        self._write(
            kind, text, run=job.run_number, processed=job.records_processed, failed=job.records_failed
        )

    def stored(self, step: Step, counts: RecordCounts, *, size: int, is_last: bool) -> None:
        """Log a stored batch; `step` is as it was before. A stream's last batch is told always."""
        number = step.version + 1
        if not (is_last or is_logged(number)):
            return
        text = f"{step.direction.name} of {step.stream}, {step.phase.value}: batch {number:,} with "
        text += f"{counts.processed + counts.failed:,} records, {counts.failed:,} of them failed."
        self._write(
            LogKind.Batch,
            text,
            stream=step.stream,
            batch=number,
            size=size,
            processed=counts.processed,
            failed=counts.failed,
            streamProcessed=step.processed + counts.processed,
            streamFailed=step.failed + counts.failed,
        )

    def interrupted(self, step: Step, result: BatchResult, size: int) -> None:
        """Log why a batch of at most `size` records was not stored, and what is done about it."""
        if not is_logged(self._job.interruptions + 1):
            return
        seconds, batch = round(result.seconds, 3), step.version + 1
        if result.state == BatchState.Wait:
            is_asked = result.cause == "rate_limited"
            lead = "The provider asked to wait" if is_asked else "Waiting"
            text = f"{lead} {seconds:,g} seconds: {result.detail}"
            self._write(LogKind.Wait, text, stream=step.stream, batch=batch, seconds=seconds)
            return
        following = after_failure(size)
        text = (
            f"Batch {batch:,} failed ({result.cause}) and is tried again with {following:,} records at most"
        )
        text += f" instead of {size:,}: {result.detail}"
        self._write(
            LogKind.Retry,
            text,
            stream=step.stream,
            batch=batch,
            size=size,
            nextSize=following,
            cause=result.cause,
        )

    def _write(self, kind: LogKind, text: str, *, stream: str = "", **details: object) -> None:
        entry = LogEntry(
            self._ids.new(),
            self._job.data_sync_job_id,
            kind,
            cut(text, _MOST_CHARACTERS),
            self._now,
            stream,
            details=details or None,
        )
        self._tx.sync_jobs.log(self._job.tenant_id, [entry])
