"""The composition of synchronisation, each part built on first use."""

from __future__ import annotations

from datetime import timedelta

from domain.core.ports import Cipher, Clock, IdGenerator, QueueSender
from domain.core.realtime import NOBODY, Realtime
from domain.core.tracing import UNTRACED, Tracer
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher
from domain.sync.exporting import Exporter
from domain.sync.importing import Importer
from domain.sync.job_runs import JobRuns
from domain.sync.ports import Suppression
from domain.sync.progress import LiveProgress
from domain.sync.record_service import RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.service import SyncService
from domain.sync.sources import Sources
from infra.app.integrations import IntegrationParts
from infra.app.once import once
from infra.app.settings import Settings
from infra.sql.transaction import SqlTransactions


class SyncParts:
    def __init__(
        self,
        settings: Settings,
        transactions: SqlTransactions,
        queue: QueueSender,
        cipher: Cipher,
        clock: Clock,
        ids: IdGenerator,
        integrations: IntegrationParts,
        realtime: Realtime = NOBODY,
        *,
        suppression: Suppression,
        tracer: Tracer = UNTRACED,
    ) -> None:
        self._settings = settings
        self._transactions = transactions
        self._queue = queue
        self._cipher = cipher
        self._clock = clock
        self._ids = ids
        self._integrations = integrations
        self._suppression = suppression
        self._tracer = tracer
        self._live = LiveProgress(transactions, realtime, clock)

    @once
    def sources(self) -> Sources:
        return Sources(self._integrations.connector, self._integrations.catalogue, self._clock)

    @once
    def runs(self) -> JobRuns:
        parts = self._integrations
        return JobRuns(
            self._transactions,
            self.sources,
            lifecycle=parts.lifecycle,
            occurrences=parts.occurrences,
            cipher=self._cipher,
            clock=self._clock,
            ids=self._ids,
            live=self._live,
            tracer=self._tracer,
        )

    @once
    def batches(self) -> BatchRunner:
        return BatchRunner(
            self._transactions,
            self.sources,
            lifecycle=self._integrations.lifecycle,
            cipher=self._cipher,
            clock=self._clock,
            importer=Importer(self._transactions, self._clock, self._ids, self._suppression),
            exporter=Exporter(self._transactions, self._clock, self._ids),
            size=self._settings.sync_batch_records,
            live=self._live,
            tracer=self._tracer,
        )

    @once
    def dispatcher(self) -> Dispatcher:
        most = self._settings.sync_concurrency
        return Dispatcher(self._transactions, self._queue, self.runs, self._clock, most=most)

    @once
    def service(self) -> SyncService:
        return SyncService(
            self._transactions,
            self.sources,
            runs=self.runs,
            queue=self._queue,
            clock=self._clock,
            ids=self._ids,
        )

    @once
    def schedules(self) -> ScheduleService:
        return ScheduleService(
            self._transactions,
            self.service,
            self.dispatcher,
            clock=self._clock,
            ids=self._ids,
            tracer=self._tracer,
        )

    @once
    def records(self) -> RecordService:
        retention = timedelta(days=self._settings.sync_log_days)
        return RecordService(self._transactions, self.sources, self._clock, retention=retention)
