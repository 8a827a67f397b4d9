"""Synchronisation wired for tests: a scripted provider, SQLite, a clock that is moved, activities called in turn as
the orchestrations do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from domain.providers.contract import (
    Connection,
    IntegrationType,
    ProviderFailure,
    RecordChanged,
    RecordStreams,
)
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StreamProfile,
)
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher
from domain.sync.job_runs import JobRuns
from domain.sync.model import BatchResult, BatchState, SyncedRecord, SyncJob
from domain.sync.ports import RecordFilter
from domain.sync.record_service import RecordService
from domain.sync.rules import MOST_TRIES, after_failure, after_success
from domain.sync.service import StartSync, SyncService
from tests.worlds.integration_world import IntegrationWorld, Vendor


class Crm(Vendor, RecordStreams):
    """A provider that lists its `records` in pages of `page`, raises what `failures` hold for the next calls, and
    takes pushes to the version that it has."""

    def __init__(self) -> None:
        super().__init__("Crm", IntegrationType.CustomAPI)
        self.records: dict[str, SourceRecord] = {}
        self.versions = 0
        self.page = 3
        self.failures: list[Exception] = []
        self.requests: list[ListingRequest] = []
        self.pushes: list[PushRequest] = []
        self.incremental: str | None = "since"
        self.complete_history = True
        self.exportable = True
        self.refuses: Callable[[PushRequest], bool] = lambda request: False
        self.next_state: str | None = None
        self.before_page: Callable[[], object] = lambda: None
        self.shape: Callable[[ListPage], ListPage] = lambda page: page

    @property
    def streams(self) -> RecordStreams:
        return self

    def put(self, key: str, modified: datetime | None = None, **data: Any) -> None:
        self._keep(key, {"email": f"{key}@example.com", **data}, modified)

    def _keep(self, key: str, data: Mapping[str, Any], modified: datetime | None) -> SourceRecord:
        self.versions += 1
        self.records[key] = SourceRecord(key, data, modified, f"v{self.versions}")
        return self.records[key]

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return [
            StreamProfile(
                "contacts",
                RecordType.Contact,
                self.incremental,
                True,
                exportable=self.exportable,
                page_size=self.page,
                complete_history=self.complete_history,
            )
        ]

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return dict(record.data)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        self.requests.append(request)
        self.before_page()
        if self.failures:
            raise self.failures.pop(0)
        rows = [record for key, record in sorted(self.records.items()) if key >= (request.cursor or "")]
        if request.since is not None:
            rows = [row for row in rows if row.modified_at is None or row.modified_at >= request.since]
        size = min(request.limit, self.page)
        following = rows[size].external_id if len(rows) > size else None
        state = None if following else self.next_state
        return self.shape(ListPage(rows[:size], following, state, total=len(self.records)))

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        self.pushes.append(request)
        if self.refuses(request):
            raise ProviderFailure("rejected", "No such field.")
        if self.failures:
            raise self.failures.pop(0)
        key = request.external_id or f"crm-{request.idempotency_key[:8]}"
        known = self.records.get(key)
        if known is not None and known.version != request.if_version and known.data != request.data:
            raise RecordChanged(known)
        if request.deleted:
            self.records.pop(key, None)
            return PushResult(key)
        if known is None and request.external_id is not None and not request.recreate:
            raise RecordChanged(SourceRecord(key, {}, deleted=True))
        kept = self._keep(key, {**(known.data if known else {}), **request.data}, connection.now)
        return PushResult(key, kept.modified_at, kept.version, record=kept)


class SyncWorld(IntegrationWorld):
    def __init__(self, home: Path, *, concurrency: int = 50, size: int = 6, **adapters: Any) -> None:
        settings = {"sync_concurrency": concurrency, "sync_batch_records": size}
        super().__init__(home, settings=settings, **adapters)
        self.crm = Crm()
        self.providers["Crm"] = self.crm

    async def integration(self, name: str = "Guests", **options: Any) -> UUID:
        made = await self.create("Crm", name=name, **options)
        return made.integration.integration_id

    def start(self, integration_id: UUID, sync_type: str = "Full", **fields: Any) -> SyncJob:
        body = {"integrationId": str(integration_id), "syncType": sync_type, **fields}
        return self.hub.use(SyncService).start(
            self.principal, StartSync.model_validate_json(json.dumps(body))
        )

    async def run(self, job: SyncJob, *, batches: int = 1_000) -> SyncJob:
        """Dispatch, then the activities in the orchestrations' order; at most so many batches."""
        started = {start.data_sync_job_id: start.run_number for start in self.hub.use(Dispatcher).claim()}
        run = started.get(job.data_sync_job_id) or self.job(job).run_number
        result = await self.carry_out(job, run, batches=batches)
        if result.state in (BatchState.More, BatchState.Stopped):
            return self.job(job)
        self.hub.use(JobRuns).conclude(job.data_sync_job_id, run, result)
        return self.job(job)

    async def carry_out(self, job: SyncJob, run: int, *, batches: int = 1_000) -> BatchResult:
        """The steps of a job that runs."""
        plan = self.hub.use(JobRuns).plan(job.data_sync_job_id, run)
        result = plan.result or BatchResult(BatchState.Done)
        for position in plan.positions:
            result = await self._step(job, run, position, batches)
            if result.state != BatchState.Done:
                break
        return result

    async def _step(self, job: SyncJob, run: int, position: int, batches: int) -> BatchResult:
        size, tries, result = self.hub.use(BatchRunner).size, 0, BatchResult(BatchState.More)
        for _ in range(batches):
            result = await self.hub.use(BatchRunner).run_batch(job.data_sync_job_id, run, position, size)
            if result.state == BatchState.More:
                size, tries = after_success(size, self.hub.use(BatchRunner).size), 0
            elif result.state == BatchState.Wait:
                self.clock.advance(seconds=result.seconds)
            elif result.state == BatchState.Retry and tries + 1 < MOST_TRIES:
                size, tries = after_failure(size), tries + 1
            elif result.state == BatchState.Retry:
                return replace(result, state=BatchState.Failed)
            else:
                return result
        return result

    async def synced(self, integration_id: UUID, sync_type: str = "Full", **fields: Any) -> SyncJob:
        return await self.run(self.start(integration_id, sync_type, **fields))

    def job(self, job: SyncJob) -> SyncJob:
        return self.hub.use(SyncService).get(self.principal, job.data_sync_job_id)[0]

    def stored(self, integration_id: UUID) -> dict[str, SyncedRecord]:
        """Every record, tombstones included."""
        found = self.hub.use(RecordService).page(self.principal, integration_id, RecordFilter(limit=1_000))
        return {record.external_id: record for record in found}

    def live(self, integration_id: UUID) -> dict[str, dict[str, Any]]:
        """The content of what is not deleted."""
        return {
            key: json.loads(record.data)
            for key, record in self.stored(integration_id).items()
            if record.data is not None
        }
