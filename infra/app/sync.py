"""Builds the use cases of synchronisation."""

from __future__ import annotations

from datetime import timedelta

from domain.integrations.connection import Connector
from domain.integrations.lifecycle import Lifecycle
from domain.journal.occurrences import OccurrenceSender
from domain.privacy.suppression import SuppressionList
from domain.sync.batches import BatchRunner
from domain.sync.dispatch import Dispatcher, PushedSyncs
from domain.sync.event_exporting import EventExporter
from domain.sync.exporting import Exporter
from domain.sync.importing import Importer
from domain.sync.job_runs import JobRuns
from domain.sync.progress import LiveProgress
from domain.sync.record_service import RecordService
from domain.sync.schedule_service import ScheduleService
from domain.sync.service import SyncService
from domain.sync.sources import Sources
from domain.sync.standing import StandingSyncs
from infra.app.hub import Hub, builds


@builds
def live_progress(hub: Hub) -> LiveProgress:
    return LiveProgress(hub.transactions, hub.realtime, hub.clock)


@builds
def sources(hub: Hub) -> Sources:
    return Sources(hub.use(Connector), hub.catalogue, hub.clock)


@builds
def job_runs(hub: Hub) -> JobRuns:
    return JobRuns(
        hub.transactions,
        hub.use(Sources),
        lifecycle=hub.use(Lifecycle),
        occurrences=hub.use(OccurrenceSender),
        cipher=hub.cipher,
        clock=hub.clock,
        ids=hub.ids,
        live=hub.use(LiveProgress),
        tracer=hub.tracer,
    )


@builds
def batch_runner(hub: Hub) -> BatchRunner:
    return BatchRunner(
        hub.transactions,
        hub.use(Sources),
        lifecycle=hub.use(Lifecycle),
        cipher=hub.cipher,
        clock=hub.clock,
        ids=hub.ids,
        importer=Importer(hub.transactions, hub.clock, hub.ids, hub.use(SuppressionList)),
        exporter=Exporter(hub.transactions, hub.clock, hub.ids),
        events=EventExporter(hub.transactions, hub.clock, hub.ids, hub.use(SuppressionList)),
        size=hub.settings.sync_batch_records,
        live=hub.use(LiveProgress),
        tracer=hub.tracer,
    )


@builds
def dispatcher(hub: Hub) -> Dispatcher:
    most = hub.settings.sync_concurrency
    runs = hub.use(JobRuns)
    return Dispatcher(hub.transactions, hub.queue, runs, clock=hub.clock, ids=hub.ids, most=most)


@builds
def sync_service(hub: Hub) -> SyncService:
    return SyncService(
        hub.transactions,
        hub.use(Sources),
        runs=hub.use(JobRuns),
        queue=hub.queue,
        clock=hub.clock,
        ids=hub.ids,
    )


@builds
def schedule_service(hub: Hub) -> ScheduleService:
    return ScheduleService(
        hub.transactions,
        hub.use(SyncService),
        hub.use(Dispatcher),
        clock=hub.clock,
        ids=hub.ids,
        tracer=hub.tracer,
    )


@builds
def standing_syncs(hub: Hub) -> StandingSyncs:
    return StandingSyncs(
        hub.transactions,
        hub.use(SyncService),
        hub.use(Dispatcher),
        hub.catalogue,
        clock=hub.clock,
        ids=hub.ids,
    )


@builds
def pushed_syncs(hub: Hub) -> PushedSyncs:
    return PushedSyncs(hub.queue)


@builds
def record_service(hub: Hub) -> RecordService:
    retention = timedelta(days=hub.settings.sync_log_days)
    return RecordService(hub.transactions, hub.use(Sources), hub.clock, retention=retention)
