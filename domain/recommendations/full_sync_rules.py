"""The rule about syncs that read everything again although little of it changes. Facts in, advice out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from statistics import median

from domain.recommendations.facts import ScheduleFacts
from domain.recommendations.model import (
    Advice,
    Change,
    Confidence,
    Figure,
    Operation,
    Period,
    Priority,
    RecommendationKind,
    confidence_of,
)
from domain.sync.jobs import SyncJob
from domain.sync.model import SyncDirection, SyncType
from domain.sync.schedules import SyncSchedule

#: Runs that are looked at, the latest; and how many it takes.
RUNS = 10
_RUNS_AT_LEAST = 3
_RECORDS_AT_LEAST = 100
_CHANGED_AT_MOST = 0.1


def incremental(facts: ScheduleFacts) -> Advice | None:
    """A schedule of full imports of which each run but a few changed at most a tenth of what it read, from a provider
    that can be asked for changes alone."""
    schedule, runs, streams = facts.schedule, facts.runs, facts.streams
    if not reads_in_vain(schedule, runs) or not streams or any(one.incremental is None for one in streams):
        return None
    deleted = sum(one.records_deleted for one in runs)
    # An absence is only seen by a run that lists everything.
    misses_deletions = any(one.complete_history and not one.lists_deletions for one in streams)
    if misses_deletions and deleted:
        return None
    read, changed = sum(one.records_processed for one in runs), sum(_changed(one) for one in runs)
    minutes = sum(_minutes(one) for one in runs)
    period = Period(runs[0].scheduled_at, facts.period.until)
    saved = 1 - changed / read
    caution = (
        " What is deleted there, as nothing was in these runs, only a full sync notices: run one by hand now and then."
        if misses_deletions
        else ""
    )
    confidence = confidence_of(read, [one.scheduled_at.date() for one in runs])
    return Advice(
        RecommendationKind.SyncIncremental,
        Priority.Soon,
        "Synchronise only what changed",
        f"The last {len(runs)} full syncs read {read:,} records in {minutes:,.1f} minutes, of which {changed:,} had "
        f"changed. The provider can be asked for the changes alone.{caution}",
        (
            Figure("runs", len(runs), "runs", period),
            Figure("recordsRead", read, "records", period),
            Figure("recordsChanged", changed, "records", period),
            Figure("recordsDeleted", deleted, "records", period),
            Figure("minutesTaken", round(minutes, 1), "minutes", period),
        ),
        min(confidence, Confidence.Medium) if misses_deletions else confidence,
        (
            Figure("recordsSavedPerDay", round((read - changed) / period.days, 1), "records/day"),
            Figure("minutesSavedPerDay", round(minutes * saved / period.days, 2), "minutes/day"),
        ),
        Change(Operation.PutSyncSchedule, _incremental(schedule)),
    )


def reads_in_vain(schedule: SyncSchedule, runs: Sequence[SyncJob]) -> bool:
    """Whether full imports, several of them, mostly found what was there already. The median run decides: the first
    one changes everything."""
    if not (schedule.is_enabled and is_full_import(schedule)) or len(runs) < _RUNS_AT_LEAST:
        return False
    if sum(one.records_processed for one in runs) < _RECORDS_AT_LEAST:
        return False
    return median(_changed(one) / max(1, one.records_processed) for one in runs) <= _CHANGED_AT_MOST


def is_full_import(schedule: SyncSchedule) -> bool:
    """What a full export sends is another matter: the other side may have changed."""
    return schedule.sync_type == SyncType.Full and schedule.direction == SyncDirection.Import


def _changed(run: SyncJob) -> int:
    return run.records_written + run.records_deleted


def _minutes(run: SyncJob) -> float:
    if run.completed_at is None or run.run_started_at is None:
        return 0.0
    return max(0.0, (run.completed_at - run.run_started_at) / timedelta(minutes=1))


def _incremental(schedule: SyncSchedule) -> dict[str, object]:
    when: dict[str, object] = (
        {"expression": schedule.expression}
        if schedule.expression is not None
        else {"intervalMinutes": schedule.interval_minutes}
    )
    return {
        **when,
        "syncType": SyncType.Incremental.name,
        "direction": schedule.direction.name,
        "isEnabled": True,
    }
