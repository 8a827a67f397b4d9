"""Where jobs, checkpoints and records are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from domain.core.paging import Page, PageRequest
from domain.integrations.ports import IntegrationTransaction
from domain.providers.records import RecordType
from domain.sync.merging import IncomingRecord, Merge, StoredVersion
from domain.sync.model import (
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
    """The batch was stored already, or its job no longer runs: nothing of this transaction may be committed."""


class RecordsRefused(Exception):
    """The database does not take one of the records; nothing of this transaction may be committed."""


class AlreadyRuns(Exception):
    """Another job of the integration runs, or the place is taken."""


@dataclass(frozen=True, slots=True)
class JobFilter:
    """All given conditions hold. Moments are of creation, inclusive and exclusive."""

    integration_id: UUID | None = None
    statuses: Sequence[SyncStatus] = ()
    types: Sequence[SyncType] = ()
    directions: Sequence[SyncDirection] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Records of an integration changed at or after `since`, beyond the `after` key (synced at, stream,
    external id)."""

    record_type: RecordType | None = None
    stream: str | None = None
    since: datetime | None = None
    after: tuple[datetime, str, str] | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """What a batch changes of its job and step. `version` is what the step's was when the batch began."""

    job: SyncJob
    step: Step
    counts: RecordCounts
    now: datetime
    stage: str
    rate: float | None
    total: int


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that could start now."""

    data_sync_job_id: UUID
    tenant_id: UUID
    integration_id: UUID
    scheduled_at: datetime


@dataclass(frozen=True, slots=True)
class PushedRecord:
    """What a provider made of a record that was pushed: its row as it was read, and what it is there now."""

    record: SyncedRecord
    external_id: str
    modified_at: datetime | None
    version: str | None
    hash: str


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A tenant's own change of a record. `external_id` is None for one that no provider has seen."""

    stream: str
    record_type: RecordType
    data: str | None
    modified_at: datetime
    local_id: str | None = None
    external_id: str | None = None


class SyncJobs(Protocol):
    """The first four see one tenant; the others serve the product itself and see all."""

    def add(self, tenant_id: UUID, job: SyncJob) -> bool:
        """False when there is one of that id already."""

    def get(self, tenant_id: UUID, job_id: UUID) -> SyncJob:
        """Raises NotFound."""

    def page(self, tenant_id: UUID, filter_: JobFilter, page: PageRequest) -> Page[SyncJob]:
        """Newest first."""

    def errors(self, tenant_id: UUID, job_id: UUID, page: PageRequest) -> Page[RecordError]:
        """Oldest first."""

    def find(self, job_id: UUID) -> SyncJob | None: ...

    def moments(self, integration_id: UUID, sync_type: SyncType, since: datetime) -> list[datetime]:
        """By which moments (`rules.runs_at`) the jobs that count for BR-DS-01 and BR-DS-02 do, from `since` on."""

    def move(self, job: SyncJob, from_: SyncStatus) -> bool:
        """Store status, reason, moments and run of `job` if its status is still `from_` and no newer run
        began."""

    def claim(self, job_id: UUID, slot: int, now: datetime) -> bool:
        """Scheduled to Running, in a place of its own. Raises AlreadyRuns (then nothing of this transaction may be
        committed)."""

    def taken(self) -> list[tuple[int, UUID]]:
        """Places taken, with the tenants of their jobs."""

    def waiting(self, now: datetime, limit: int) -> list[WaitingJob]:
        """Jobs that are due and whose integration runs none; of each integration the oldest, oldest first."""

    def to_queue(self, until: datetime, limit: int) -> list[SyncJob]:
        """Jobs scheduled before `until` that the queue was not told of."""

    def mark_queued(self, job_ids: Sequence[UUID], at: datetime) -> None:
        """Those that still wait; of the others the queue may have to be told again."""

    def silent(self, before: datetime, limit: int) -> list[SyncJob]:
        """Running jobs that gave no sign of life since `before`, and do not wait for a provider."""

    def touch(self, job_id: UUID, now: datetime, *, waiting_until: datetime | None = None) -> None: ...

    def restart(self, job: SyncJob, now: datetime) -> bool:
        """Count a restart and begin a new run of a running job."""

    def steps(self, job_id: UUID) -> list[Step]:
        """In order."""

    def add_steps(self, steps: Sequence[Step]) -> None: ...

    def advance(self, progress: BatchProgress) -> None:
        """Store the step, if its version is still `step.version`, counted up, and add the counts to its job, if
        that still runs the same run. Raises Superseded."""

    def log_errors(self, tenant_id: UUID, errors: Sequence[RecordError]) -> None: ...

    def synced(self, integration_id: UUID, at: datetime) -> None:
        """Integrations.LastSyncTime."""

    def delete_before(self, cutoff: datetime, limit: int) -> int:
        """Remove up to `limit` jobs that ended before `cutoff`, with their steps and errors."""


class SyncRecords(Protocol):
    """All see one tenant but the last two, which serve the product itself."""

    def known(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_ids: Sequence[str]
    ) -> dict[str, StoredVersion]: ...

    def store(
        self, tenant_id: UUID, integration_id: UUID, stream: str, merge: Merge, *, run: RunMark
    ) -> None:
        """Write what a batch brought. Raises RecordsRefused."""

    def unseen(
        self, tenant_id: UUID, integration_id: UUID, stream: str, *, generation: int, after: str, limit: int
    ) -> list[str]:
        """Live records of the provider that the run of that generation did not see, in order, beyond `after`."""

    def bury(
        self, tenant_id: UUID, integration_id: UUID, stream: str, external_ids: Sequence[str], *, run: RunMark
    ) -> int:
        """Make tombstones of those still unseen; returns how many."""

    def page(self, tenant_id: UUID, integration_id: UUID, filter_: RecordFilter) -> list[SyncedRecord]:
        """In the order of their change."""

    def of_job(self, tenant_id: UUID, job_id: UUID, page: PageRequest) -> Page[SyncedRecord]:
        """What a job wrote and no later one did."""

    def to_export(
        self,
        tenant_id: UUID,
        integration_id: UUID,
        stream: str,
        *,
        after: str,
        limit: int,
        everything: bool,
    ) -> list[SyncedRecord]:
        """Records whose last change was the tenant's, pending or all, in order, beyond `after`."""

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
        """Record what was pushed; a record that the tenant changed again meanwhile stays pending."""

    def change(
        self, tenant_id: UUID, integration_id: UUID, changes: Sequence[LocalChange], now: datetime
    ) -> int:
        """Store a tenant's own changes, those that are the latest; returns how many."""

    def forget_disconnected(self, limit: int) -> int:
        """Remove up to `limit` records of disconnected integrations."""

    def delete_tombstones(self, cutoff: datetime, limit: int) -> int: ...


@dataclass(frozen=True, slots=True)
class RunMark:
    """What a run leaves on the rows it touches."""

    job_id: UUID
    now: datetime
    generation: int = 0


@dataclass(frozen=True, slots=True)
class StoredMapping:
    """`mapping` is JSON text; `version` 0: there is none."""

    mapping: str
    version: int = 0


class SyncSettings(Protocol):
    """Mappings, schedules and stream states. `due` and `move_on` serve the product itself and see all tenants."""

    def mapping(self, tenant_id: UUID, integration_id: UUID) -> StoredMapping: ...

    def set_mapping(
        self, tenant_id: UUID, integration_id: UUID, mapping: StoredMapping, *, by: UUID, now: datetime
    ) -> None:
        """Store it if `mapping.version` is still current. Raises PreconditionFailed."""

    def schedule(self, tenant_id: UUID, integration_id: UUID) -> SyncSchedule:
        """Raises NotFound."""

    def set_schedule(self, tenant_id: UUID, schedule: SyncSchedule) -> None:
        """Store it if `schedule.version` is still current, 0: if there is none. Raises PreconditionFailed."""

    def due(self, until: datetime, limit: int) -> list[SyncSchedule]:
        """Enabled schedules whose next run is before `until`."""

    def move_on(self, schedule: SyncSchedule, next_run_at: datetime | None) -> bool:
        """False when someone else did."""

    def stream(self, tenant_id: UUID, integration_id: UUID, stream: str) -> StreamState: ...

    def set_stream(self, tenant_id: UUID, state: StreamState) -> None: ...


class SyncTransaction(IntegrationTransaction, Protocol):
    """What a sync job may touch."""

    @property
    def sync_jobs(self) -> SyncJobs: ...
    @property
    def sync_records(self) -> SyncRecords: ...
    @property
    def sync_settings(self) -> SyncSettings: ...


class SuppressionFilter(Protocol):
    """The people whom one tenant's imports leave out."""

    def without(
        self, integration_id: UUID, stream: str, records: Sequence[IncomingRecord]
    ) -> tuple[list[IncomingRecord], int]:
        """Return a batch without these people, and how many of its records that changed."""

    def shown_id(self, integration_id: UUID, stream: str, external_id: str) -> str:
        """Return the id as a log may keep it: of a record about one of them not even the id."""


class Suppression(Protocol):
    """Who asked to be erased and is not to be imported again (GDPR article 17). `privacy` implements it."""

    def of_tenant(self, tenant_id: UUID) -> SuppressionFilter | None:
        """Return None when nobody is left out. Raises Unavailable: no batch is better than one with an erased
        person."""
