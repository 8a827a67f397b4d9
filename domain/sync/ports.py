"""The repositories of synchronisation, its transaction, and the port that leaves erased people out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.core.transaction import UserTransaction
from domain.integrations.ports import IntegrationTransaction
from domain.journal.events import DomainEvent
from domain.providers.records import RecordType
from domain.sync.local_fields import Pushes
from domain.sync.merging import IncomingRecord, Merge, StoredVersion
from domain.sync.model import (
    JobOrigin,
    LogEntry,
    LogKind,
    RecordCounts,
    RecordError,
    Step,
    StreamState,
    SyncDirection,
    SyncedRecord,
    SyncJob,
    SyncStatus,
    SyncType,
)
from domain.sync.schedules import SyncSchedule


class Superseded(Exception):
    """The batch was stored already, or its job no longer runs; the transaction must not be committed."""


class RecordsRefused(Exception):
    """The database does not take one of the records; the transaction must not be committed."""


class AlreadyRuns(Exception):
    """Another job of the integration runs, or the place is taken."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Conditions that all hold; `since` (inclusive) and `until` (exclusive) are about the creation.

    `calendars_of`: only jobs of the calendars of this owner."""

    integration_id: UUID | None = None
    statuses: Sequence[SyncStatus] = ()
    types: Sequence[SyncType] = ()
    directions: Sequence[SyncDirection] = ()
    since: datetime | None = None
    until: datetime | None = None
    calendars_of: UUID | None = None


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Records changed at or after `since`; `after` is (synced at, stream, external id) of the last one."""

    record_type: RecordType | None = None
    stream: str | None = None
    since: datetime | None = None
    after: tuple[datetime, str, str] | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """What a batch changes of its job and step; `step.version` is the one that the batch started from."""

    job: SyncJob
    step: Step
    counts: RecordCounts
    now: datetime
    stage: str
    rate: float | None
    total: int


@dataclass(frozen=True, slots=True)
class WaitingJob:
    data_sync_job_id: UUID
    tenant_id: UUID
    integration_id: UUID
    scheduled_at: datetime


@dataclass(frozen=True, slots=True)
class PushedRecord:
    """A pushed record: its row as it was read, and its id, version and content at the provider.

    `hash` is of what the provider has. `data` and `local_fields` are what is stored now, the tenant's own fields
    included; `data` is None for a deletion."""

    record: SyncedRecord
    external_id: str
    modified_at: datetime | None
    version: str | None
    hash: str
    data: str | None = None
    local_fields: str | None = None


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A change that the tenant made; `external_id` is None for a record that the provider does not have.

    `named` are the fields that the tenant gave, null ones included (None: those of `data`), and `pushes` the fields
    that the stream's pushes write."""

    stream: str
    record_type: RecordType
    data: str | None
    modified_at: datetime
    local_id: str | None = None
    external_id: str | None = None
    named: Mapping[str, Any] | None = None
    pushes: Pushes = None


@dataclass(frozen=True, slots=True)
class LocalChanges:
    """How many changes were the latest and are stored, and the fields in them that no push takes to the provider."""

    stored: int
    not_pushed: frozenset[str] = frozenset()


class SyncJobs(Protocol):
    """Jobs, steps and errors. Methods without `tenant_id` see all tenants. `get` raises NotFound."""

    def add(self, tenant_id: UUID, job: SyncJob) -> bool:
        """Store the job; return False when its id exists already."""

    def get(self, tenant_id: UUID, job_id: UUID) -> SyncJob: ...

    def page(self, tenant_id: UUID, filter_: JobFilter, page: PageRequest) -> Page[SyncJob]:
        """Return jobs, newest first."""

    def entries(
        self, tenant_id: UUID, job_id: UUID, kinds: Sequence[LogKind], page: PageRequest
    ) -> Page[LogEntry]:
        """Return the log of a job, oldest first; of all kinds when none is named."""

    def find(self, job_id: UUID) -> SyncJob | None: ...

    def moments(
        self,
        integration_id: UUID,
        sync_type: SyncType,
        since: datetime,
        *,
        without: Sequence[JobOrigin],
    ) -> list[datetime]:
        """Return the moments (`chains.counts_at`) from `since` on of the jobs that count for the distance.

        `without`: those of these origins do not."""

    def is_resumed(self, tenant_id: UUID, integration_id: UUID, sync_type: SyncType) -> bool:
        """Return whether a job of the type, which follows one that timed out, waits or runs."""

    def latest(self, integration_id: UUID, origin: JobOrigin, since: datetime) -> SyncJob | None:
        """Return the job of this origin with the latest moment, from `since` on."""

    def move(self, job: SyncJob, from_: SyncStatus) -> bool:
        """Store status, reason, moments and run, if the status is `from_` and no later run began."""

    def claim(self, job_id: UUID, slot: int, now: datetime) -> bool:
        """Move a Scheduled job to Running in the place, or return False. Raises AlreadyRuns."""

    def taken(self) -> list[tuple[int, UUID]]:
        """Return the places that are taken, with the tenants of their jobs."""

    def waiting(self, now: datetime, limit: int) -> list[WaitingJob]:
        """Return the oldest due job of each integration without a running job, oldest first.

        One that follows a job that timed out goes before others of its type, which would do its work again."""

    def to_queue(self, until: datetime, limit: int) -> list[SyncJob]:
        """Return jobs scheduled before `until` that are not queued."""

    def mark_queued(self, job_ids: Sequence[UUID], at: datetime) -> None:
        """Mark those of the jobs that still wait as queued."""

    def silent(self, before: datetime, limit: int) -> list[SyncJob]:
        """Return running jobs without a sign of life since `before` that do not wait for a provider."""

    def touch(self, job_id: UUID, now: datetime, *, waiting_until: datetime | None = None) -> None: ...

    def interrupt(self, job: SyncJob, now: datetime, waiting_until: datetime | None) -> None:
        """Count an interruption, and store the end of a wait."""

    def restart(self, job: SyncJob, now: datetime) -> bool: ...

    def steps(self, job_id: UUID) -> list[Step]:
        """Return the steps of a job by position."""

    def add_steps(self, steps: Sequence[Step]) -> None: ...

    def advance(self, progress: BatchProgress) -> None:
        """Store step and counts. Raises Superseded after another version of the step, or run of the job."""

    def log(self, tenant_id: UUID, entries: Sequence[LogEntry]) -> None: ...

    def log_errors(self, tenant_id: UUID, errors: Sequence[RecordError]) -> None: ...

    def synced(self, integration_id: UUID, at: datetime) -> None: ...

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` jobs that ended before `cutoff`, with their steps and errors; return how many."""


class SyncRecords(Protocol):
    """Internal records. Methods without `tenant_id` serve the product itself and see all tenants."""

    def stored_versions(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_ids: Sequence[str]
    ) -> dict[str, StoredVersion]:
        """Return what is stored under these external ids; an id without a row is missing."""

    def store(
        self, tenant_id: UUID, integration_id: UUID, stream: str, merge: Merge, *, run: RunMark
    ) -> None:
        """Store the merged records of a batch. Raises RecordsRefused."""

    def unseen(
        self, tenant_id: UUID, integration_id: UUID, stream: str, *, generation: int, after: str, limit: int
    ) -> list[str]:
        """Return ids beyond `after`, in order, of records that the run of that generation did not see.

        Live ones, and those whose waiting change is to a record that the provider had."""

    def bury(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_ids: Sequence[str], *, run: RunMark
    ) -> int:
        """Make tombstones of those that are still unseen; return how many.

        A waiting change to a record stays, to make it anew, because absence names no moment; a waiting deletion is
        done."""

    def page(self, tenant_id: UUID, integration_id: UUID, filter_: RecordFilter) -> list[SyncedRecord]:
        """Return records in the order of their last change."""

    def of_job(self, tenant_id: UUID, job_id: UUID, page: PageRequest) -> Page[SyncedRecord]: ...

    def to_export(
        self, tenant_id: UUID, integration_id: UUID, stream: str, *, after: str, limit: int, everything: bool
    ) -> list[SyncedRecord]:
        """Return records beyond `after`, in order, whose last change is the tenant's: pending ones, or all."""

    def count_export(
        self, tenant_id: UUID, integration_id: UUID, stream: str, *, everything: bool
    ) -> int: ...

    def pushed(
        self,
        tenant_id: UUID,
        integration_id: UUID,
        stream: str,
        results: Sequence[PushedRecord],
        *,
        run: RunMark,
    ) -> None:
        """Store what was pushed; a record that the tenant changed again meanwhile stays pending."""

    def change(
        self, tenant_id: UUID, integration_id: UUID, changes: Sequence[LocalChange], now: datetime
    ) -> LocalChanges:
        """Store those of the tenant's changes that are the latest."""

    def forget_disconnected(self, limit: int) -> int:
        """Remove up to `limit` records of disconnected integrations; return how many."""

    def delete_tombstones(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` tombstones older than `cutoff`; return how many."""


@dataclass(frozen=True, slots=True)
class EventSlice:
    """Domain events in the order in which they were stored.

    `sequences` are their numbers, `last` the number up to which nothing else is to be sent, `is_last` whether it is the
    last number at all."""

    events: Sequence[DomainEvent]
    sequences: Sequence[int]
    last: int
    is_last: bool


class SyncEvents(Protocol):
    def after(
        self, tenant_id: UUID, types: Sequence[str], *, after: int, until: datetime, limit: int
    ) -> EventSlice:
        """Return the tenant's events of these types with a number beyond `after`, stored at `until` or before."""


@dataclass(frozen=True, slots=True)
class RunMark:
    job_id: UUID
    now: datetime
    generation: int = 0


@dataclass(frozen=True, slots=True)
class StoredMapping:
    """An integration's mapping as JSON text; `version` is 0 when there is none."""

    mapping: str
    version: int = 0


class SyncSettings(Protocol):
    """Mappings, schedules and stream states; `due`, `move_on` see all tenants, `schedule` raises NotFound."""

    def mapping(self, tenant_id: UUID, integration_id: UUID) -> StoredMapping: ...

    def set_mapping(
        self, tenant_id: UUID, integration_id: UUID, mapping: StoredMapping, *, by: UUID, now: datetime
    ) -> None:
        """Store it if `mapping.version` is still current. Raises PreconditionFailed."""

    def schedule(self, tenant_id: UUID, integration_id: UUID) -> SyncSchedule: ...

    def set_schedule(self, tenant_id: UUID, schedule: SyncSchedule) -> None:
        """Store it if `schedule.version` is still current; 0 stands for none. Raises PreconditionFailed."""

    def due(self, until: datetime, limit: int) -> list[SyncSchedule]:
        """Return enabled schedules whose next run is before `until`."""

    def move_on(self, schedule: SyncSchedule, next_run_at: datetime | None) -> bool:
        """Store the next run; return False when another process did it already."""

    def stream(self, tenant_id: UUID, integration_id: UUID, stream: str) -> StreamState: ...

    def set_stream(self, tenant_id: UUID, state: StreamState) -> None: ...


class SyncTransaction(IntegrationTransaction, UserTransaction, Protocol):
    """What a sync job may touch."""

    @property
    def sync_jobs(self) -> SyncJobs: ...
    @property
    def sync_records(self) -> SyncRecords: ...
    @property
    def sync_settings(self) -> SyncSettings: ...
    @property
    def sync_events(self) -> SyncEvents: ...


class SuppressionFilter(Protocol):
    def leave_out(
        self, integration_id: UUID, stream: str, records: Sequence[IncomingRecord]
    ) -> tuple[list[IncomingRecord], int]:
        """Return the batch without these people, and how many of its records changed.

        - A record about one of them becomes a deletion (`data` is None), so a stored one becomes a tombstone.
        - A record that mentions one of them is kept without the mention."""

    def masked_id(self, integration_id: UUID, stream: str, external_id: str) -> str:
        """Return the id for the log of errors, which must not contain even the id of a record about such a person."""


class Suppression(Protocol):
    """People not to import again after their erasure (GDPR article 17); `privacy`, above, implements it."""

    def of_tenant(self, tenant_id: UUID) -> SuppressionFilter | None:
        """Return the tenant's filter, or None. Raises Unavailable; then nothing may be imported."""
