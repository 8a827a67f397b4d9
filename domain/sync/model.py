"""Jobs, their steps, and the rows that synchronisation keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Self
from uuid import UUID


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


class JobOrigin(StrEnum):
    """Who asked for a job."""

    Manual = "Manual"
    Schedule = "Schedule"
    Authorization = "Authorization"


class Phase(StrEnum):
    """Where a step is: listing the source, marking what is gone, pushing, done."""

    List = "List"
    Sweep = "Sweep"
    Push = "Push"
    Done = "Done"


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """What became of records. Every record handled is in exactly one of them, so they add up."""

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
    """Section 2.5, and how it runs. `run_number` counts its starts: work of an earlier one may store nothing.
    `rate` is records a second, lately. `error_log` is JSON text without any record's values. `traceparent` is the
    span that made the job."""

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

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Step:
    """One stream in one direction. `checkpoint` is sealed; `version` counts the batches stored. Records that a
    full run has seen carry its `generation`."""

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
    """How far a step is. `cursor` names the next page, of which `skip` records are done; `after` is the last
    external id that was swept or pushed; `newest` the latest modification seen; `since` and `state` are what an
    incremental listing began with."""

    cursor: str | None = None
    skip: int = 0
    since: datetime | None = None
    state: str | None = None
    next_state: str | None = None
    newest: datetime | None = None
    began_at: datetime | None = None
    after: str | None = None

    def to_text(self) -> str:
        values = {field_.name: getattr(self, field_.name) for field_ in fields(self)}
        return json.dumps(
            {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in values.items()
            }
        )

    @classmethod
    def of_text(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        for name in ("since", "newest", "began_at"):
            if values[name] is not None:
                values[name] = datetime.fromisoformat(values[name])
        return cls(**values)

    def seen(self, modified_at: datetime | None) -> Checkpoint:
        """With a modification taken into account."""
        if modified_at is None or (self.newest is not None and self.newest >= modified_at):
            return self
        return replace(self, newest=modified_at)


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is known of a stream between jobs. `state` is sealed, and given with the last complete run only."""

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
    """BR-DS-04: why one record was not taken. Neither text holds a value of the record."""

    error_id: UUID
    data_sync_job_id: UUID
    stream: str
    external_id: str
    pointer: str
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SyncedRecord:
    """An internal record. `data` is JSON text, None once it is deleted."""

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


def checkpoint_context(job_id: UUID, position: int) -> str:
    """The cipher context of a step's checkpoint: provider cursors may carry what is not to be read."""
    return f"sync-step:{job_id}:{position}"


def state_context(integration_id: UUID, stream: str) -> str:
    """The cipher context of a stream's state."""
    return f"sync-stream:{integration_id}:{stream}"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch, small enough for Durable history. `state`: `more` (go on), `done` (the step is
    through), `wait` (for `seconds`, the provider asked for it), `retry` (after `seconds`, at half the size),
    `failed` (the job cannot go on, for `cause`), `stopped` (it no longer runs)."""

    state: str
    records: int = 0
    seconds: float = 0.0
    cause: str = ""
    detail: str = ""

    def to_wire(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "records": self.records,
            "seconds": round(self.seconds, 3),
            "cause": self.cause,
            "detail": self.detail[:500],
        }


def error_log(cause: str, detail: str, at: datetime, *, resumable: bool) -> str:
    """For DataSyncJobs.ErrorLog; `detail` holds no record's values."""
    return json.dumps(
        {"cause": cause, "message": detail, "at": at.isoformat(), "resumable": resumable}, ensure_ascii=False
    )
