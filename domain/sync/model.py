"""Synchronisation jobs, their steps, and the rows that synchronisation stores (section 2.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Self
from uuid import UUID

from domain.core.text_length import cut


class SyncType(IntEnum):
    Full = 0
    Incremental = 1
    Differential = 2


class SyncDirection(IntEnum):
    Import = 0
    Export = 1
    Bidirectional = 2


class SyncStatus(IntEnum):
    Scheduled = 0
    Running = 1
    Completed = 2
    Failed = 3
    Cancelled = 4
    PartialSuccess = 5


ENDED = frozenset((SyncStatus.Completed, SyncStatus.Failed, SyncStatus.Cancelled, SyncStatus.PartialSuccess))


#: The `error_code` of a job that went through to its end and could take no record.
EVERY_RECORD_FAILED = "every-record-failed"


class JobOrigin(StrEnum):
    Manual = "Manual"
    Schedule = "Schedule"
    Authorization = "Authorization"
    Push = "Push"


class Phase(StrEnum):
    """The phase of a step.

    - `List`: pages of the provider are read and stored.
    - `Sweep`: records that a full listing did not return become tombstones.
    - `Push`: changes of the tenant are sent to the provider."""

    List = "List"
    Sweep = "Sweep"
    Push = "Push"
    Done = "Done"


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """How many records of a batch were handled, by result; each record counts in exactly one field."""

    written: int = 0
    unchanged: int = 0
    duplicate: int = 0
    deleted: int = 0
    failed: int = 0

    @property
    def processed(self) -> int:
        return self.written + self.unchanged + self.duplicate + self.deleted


@dataclass(frozen=True, slots=True)
class SyncJob:
    """A job and the state of its current run.

    - `run_number` counts the starts of the job; a batch of an earlier run stores nothing.
    - `restarts` counts the runs that began because the orchestration of the one before was lost.
    - `live_at` is the last sign of life; `waiting_until` the end of a wait that the provider asked for.
    - `rate` is the smoothed number of records per second.
    - `error_log` is JSON text (`error_log()`) and contains no values of records.
    - `traceparent` names the span that created the job.
    - `resumed_from` and `resumed_by` are the jobs before and after it in its chain; `chain_run` counts its jobs.
    - `chain_began_at` is the moment by which the chain counts; None for the first job of one.
    - `run_batches` counts the batches that the current run stored, `interruptions` the waits and retries of all."""

    data_sync_job_id: UUID
    tenant_id: UUID
    integration_id: UUID
    sync_type: SyncType
    direction: SyncDirection
    status: SyncStatus
    scheduled_at: datetime
    created_at: datetime
    created_by: UUID
    origin: JobOrigin = JobOrigin.Manual
    records_total: int = 0
    records_processed: int = 0
    records_failed: int = 0
    records_written: int = 0
    records_unchanged: int = 0
    records_duplicate: int = 0
    records_deleted: int = 0
    error_log: str | None = None
    error_code: str | None = None
    stage: str = ""
    started_at: datetime | None = None
    completed_at: datetime | None = None
    run_number: int = 0
    restarts: int = 0
    run_started_at: datetime | None = None
    live_at: datetime | None = None
    waiting_until: datetime | None = None
    queued_at: datetime | None = None
    rate: float | None = None
    traceparent: str | None = None
    resumed_from: UUID | None = None
    resumed_by: UUID | None = None
    chain_run: int = 1
    chain_began_at: datetime | None = None
    run_batches: int = 0
    interruptions: int = 0

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def is_resumable(self) -> bool:
        """Return whether something is left to do; one whose every record failed went through to its end."""
        is_stopped = self.status in (SyncStatus.Failed, SyncStatus.Cancelled)
        return is_stopped and self.error_code != EVERY_RECORD_FAILED

    def runs(self, run_number: int) -> bool:
        return self.status == SyncStatus.Running and self.run_number == run_number


@dataclass(frozen=True, slots=True)
class Step:
    """One stream of a job in one direction.

    - `checkpoint` is encrypted JSON text (`checkpoint_context`).
    - `version` counts the batches stored.
    - `generation` marks the records that a full run has seen."""

    data_sync_job_id: UUID
    position: int
    stream: str
    direction: SyncDirection
    sync_type: SyncType
    phase: Phase
    checkpoint: str | None = None
    version: int = 0
    generation: int = 0
    total: int | None = None
    processed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The place where the next batch of a step continues.

    - `cursor` names the next page; `skip` of its records are stored already.
    - `after` is the last external id that was swept or pushed.
    - `newest` is the latest modification seen so far.
    - `since` and `state` are where an incremental listing started; `next_state` is where the next one starts.
    - `is_partial`: something was missing in the list, so that absence is no deletion.
    - `trail` is what the run remembers of the list (`domain/sync/rounds.py`).
    - `has_unread`: the provider failed to give something, so that the next listing starts where this one did."""

    cursor: str | None = None
    skip: int = 0
    since: datetime | None = None
    state: str | None = None
    next_state: str | None = None
    newest: datetime | None = None
    began_at: datetime | None = None
    after: str | None = None
    is_partial: bool = False
    has_unread: bool = False
    trail: str = ""

    def to_text(self) -> str:
        return json.dumps(asdict(self), default=datetime.isoformat)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return a stored checkpoint; one of an earlier or later version of the hub lacks some, or has more."""
        known = {found.name for found in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in json.loads(text).items() if name in known}
        for name in ("since", "newest", "began_at"):
            if values.get(name) is not None:
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)

    def seen(self, modified_at: datetime | None) -> Checkpoint:
        if modified_at is None or (self.newest is not None and self.newest >= modified_at):
            return self
        return replace(self, newest=modified_at)


@dataclass(frozen=True, slots=True)
class StreamState:
    """What one job leaves for the next; `state` is encrypted and comes from the last complete run."""

    integration_id: UUID
    tenant_id: UUID
    stream: str
    state: str | None = None
    since: datetime | None = None
    generation: int = 0
    last_total: int | None = None
    last_full_at: datetime | None = None
    synced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordError:
    """Why one record was not stored or pushed; the texts contain no value of the record."""

    error_id: UUID
    data_sync_job_id: UUID
    stream: str
    external_id: str
    pointer: str
    reason: str
    created_at: datetime


class LogKind(StrEnum):
    """What an entry of a job's log tells of.

    - `Record`: a record that was refused, or about which something is to be known.
    - `Start`, `Resumption`, `TimeOut`, `End`: the runs of the job.
    - `Batch`: a stored batch. `Retry`: a batch that failed and is tried again, smaller. `Wait`: the provider's wish."""

    Record = "Record"
    Start = "Start"
    Batch = "Batch"
    Retry = "Retry"
    Wait = "Wait"
    TimeOut = "TimeOut"
    Resumption = "Resumption"
    End = "End"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a job's log; the texts contain no value of a record, `details` are figures."""

    entry_id: UUID
    data_sync_job_id: UUID
    kind: LogKind
    reason: str
    created_at: datetime
    stream: str = ""
    external_id: str = ""
    pointer: str = ""
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SyncedRecord:
    """An internal record; `data` is JSON text, or None once the record is deleted.

    - `local_fields` is the text of what the tenant set of it (LocalFields).
    - `last_job_id`: the job that stored or pushed it last; None for what no job has met."""

    integration_id: UUID
    stream: str
    external_id: str
    record_type: str
    data: str | None
    synced_at: datetime
    modified_at: datetime | None = None
    deleted_at: datetime | None = None
    local_id: str | None = None
    is_local: bool = False
    export_pending: bool = False
    source_hash: str | None = None
    exported_hash: str | None = None
    source_version: str | None = None
    local_fields: str | None = None
    last_job_id: UUID | None = None


def checkpoint_context(job_id: UUID, position: int) -> str:
    """Return the cipher context of a checkpoint, which may contain secrets of the provider's cursor."""
    return f"sync-step:{job_id}:{position}"


def state_context(integration_id: UUID, stream: str) -> str:
    return f"sync-stream:{integration_id}:{stream}"


class BatchState(StrEnum):
    """What follows a batch. The values are stored in Durable histories, so they must not change.

    - `More`: the step has more batches.
    - `Done`: the step is complete.
    - `Wait`: continue after `seconds`, because the provider asked for it or its list stands still; this uses up no try.
    - `Retry`: try again after `seconds` with half the size.
    - `Failed`: the job cannot continue, for `cause`.
    - `Stopped`: the job does not run any more, or a later run began."""

    More = "more"
    Done = "done"
    Wait = "wait"
    Retry = "retry"
    Failed = "failed"
    Stopped = "stopped"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The result of a batch or of a whole job, small enough for a Durable history."""

    state: BatchState
    records: int = 0
    seconds: float = 0.0
    cause: str = ""
    detail: str = ""

    def to_wire(self) -> dict[str, Any]:
        return {
            "state": self.state.value,
            "records": self.records,
            "seconds": round(self.seconds, 3),
            "cause": self.cause,
            "detail": cut(self.detail, 500),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Self:
        return cls(**{**wire, "state": BatchState(wire["state"])})

    @classmethod
    def failed(cls, cause: str, detail: str) -> Self:
        return cls(BatchState.Failed, cause=cause, detail=detail)


def error_log(cause: str, detail: str, at: datetime) -> str:
    """Return the JSON text of `SyncJob.error_log`; `detail` must contain no value of a record."""
    log = {"cause": cause, "message": detail, "at": at.isoformat(), "resumable": True}
    return json.dumps(log, ensure_ascii=False)
