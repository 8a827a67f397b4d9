"""Rules about when and what an integration synchronises, by the load that its provider showed. Facts in, advice out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from domain.journal.signals import Tally
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
from domain.sync.model import SyncDirection, SyncJob, SyncType
from domain.sync.schedules import SyncSchedule

#: The latest days on which the schedule ran that are compared; and the fewest that it takes.
DAYS = 28
_DAYS_AT_LEAST = 10


@dataclass(frozen=True, slots=True)
class _Hour:
    hour: int
    ratio: float
    better: int
    days: int


def better_time(facts: ScheduleFacts) -> Advice | None:
    """Advise another hour of the day in which the provider answers in at most 70 % of the time.

    It must be better on nine days in ten, so that the best of 23 hours is not chance. The time to an answer
    is the median of the health checks over the share that succeed."""
    schedule = facts.schedule
    at = fixed_hour(schedule.expression)
    if at is None or not schedule.is_enabled:
        return None
    costs = _costs(facts)
    days = run_days(schedule, facts.period)[-DAYS:]
    compared = [found for hour in range(24) if hour != at and (found := _compare(costs, days, at, hour))]
    good = [hour for hour in compared if hour.ratio <= 0.7 and hour.better >= 0.9 * hour.days]
    if not good:
        return None
    best = min(good, key=lambda hour: (hour.ratio, hour.hour))
    known = [day for day in days if (day, at) in costs and (day, best.hour) in costs]
    now, then = (median(costs[day, hour] for day in known) for hour in (at, best.hour))
    first_day = facts.period.since + timedelta(days=(known[0] - facts.period.since.date()).days)
    period = Period(first_day, facts.period.until)
    return Advice(
        RecommendationKind.SyncBetterTime,
        Priority.Later,
        f"Synchronise at {best.hour:02d} hours UTC instead of {at:02d}",
        f"On {best.better} of {best.days} days on which the schedule ran, the provider answered sooner in the hour "
        f"from {best.hour:02d}:00 than in that from {at:02d}:00: {then:,.0f} ms to an answer instead of {now:,.0f} ms "
        "in the median, failures counted in.",
        (
            Figure("timeToAnswerAtPresent", round(now), "ms", period),
            Figure("timeToAnswerThen", round(then), "ms", period),
            Figure("daysCompared", best.days, "days", period),
            Figure("daysBetter", best.better, "days", period),
        ),
        _confidence(best),
        (Figure("timeToAnswerLess", round(100 * (1 - then / now), 1), "%"),),
        _change(schedule, schedule.sync_type, {"expression": moved_to(schedule.expression or "", best.hour)}),
    )


def fixed_hour(expression: str | None) -> int | None:
    """Return the hour of an NCRONTAB expression with one minute, one hour and any day of month, or None."""
    fields = (expression or "").split()
    if len(fields) not in (5, 6):
        return None
    minute, hour, day, month = fields[-5:-1]
    if not (minute.isdecimal() and hour.isdecimal() and day == month == "*"):
        return None
    return int(hour)


def moved_to(expression: str, hour: int) -> str:
    fields = expression.split()
    fields[-4] = str(hour)
    return " ".join(fields)


def run_days(schedule: SyncSchedule, period: Period) -> list[date]:
    days, moment = [], schedule.after(period.since - timedelta(seconds=1))
    while moment < period.until:
        days.append(moment.date())
        moment = schedule.after(moment)
    return days


def _costs(facts: ScheduleFacts) -> dict[tuple[date, int], float]:
    return {
        (hour.hour.date(), hour.hour.hour): _cost(hour.tally) for hour in facts.hours if hour.tally.total >= 6
    }


def _cost(tally: Tally) -> float:
    # Where none succeeded, half of one is taken to have.
    share = max(tally.succeeded, 0.5) / tally.total
    return max(1, tally.latency.percentile(0.5) or 0) / share


def _compare(
    costs: Mapping[tuple[date, int], float], days: Sequence[date], at: int, hour: int
) -> _Hour | None:
    known = [day for day in days if (day, at) in costs and (day, hour) in costs]
    pairs = [(costs[day, at], costs[day, hour]) for day in known]
    if len(pairs) < _DAYS_AT_LEAST:
        return None
    ratio = median(other for _, other in pairs) / median(present for present, _ in pairs)
    return _Hour(hour, ratio, sum(other < present for present, other in pairs), len(pairs))


def _confidence(best: _Hour) -> Confidence:
    """Return High when better on all of 21 days or more, Medium for 14 days."""
    if best.better == best.days and best.days >= 21:
        return Confidence.High
    return Confidence.Medium if best.days >= 14 else Confidence.Low


#: The latest runs that are compared.
RUNS = 10


def incremental(facts: ScheduleFacts) -> Advice | None:
    """Advise incremental runs where the median full import changed at most a tenth of what it read."""
    schedule, runs, streams = facts.schedule, facts.runs, facts.streams
    if not reads_in_vain(schedule, runs) or not streams:
        return None
    if any(stream.incremental is None for stream in streams):
        return None
    deleted = sum(run.records_deleted for run in runs)
    # An absence is only seen by a run that lists everything.
    misses_deletions = any(stream.complete_history and not stream.lists_deletions for stream in streams)
    if misses_deletions and deleted:
        return None
    read, changed = sum(run.records_processed for run in runs), sum(_changed(run) for run in runs)
    minutes = sum(_minutes(run) for run in runs)
    period = Period(runs[0].scheduled_at, facts.period.until)
    saved = 1 - changed / read
    caution = (
        " What is deleted there, as nothing was in these runs, only a full sync notices: run one by hand now and then."
        if misses_deletions
        else ""
    )
    confidence = confidence_of(read, [run.scheduled_at.date() for run in runs])
    when: dict[str, object] = {"intervalMinutes": schedule.interval_minutes}
    if schedule.expression is not None:
        when = {"expression": schedule.expression}
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
        _change(schedule, SyncType.Incremental, when),
    )


def reads_in_vain(schedule: SyncSchedule, runs: Sequence[SyncJob]) -> bool:
    """Return whether the median of several full imports found what was there; the first changes all."""
    if not (schedule.is_enabled and is_full_import(schedule)) or len(runs) < 3:
        return False
    if sum(run.records_processed for run in runs) < 100:
        return False
    return median(_changed(run) / max(1, run.records_processed) for run in runs) <= 0.1


def is_full_import(schedule: SyncSchedule) -> bool:
    """Return whether it imports everything; of a full export the other side may have changed."""
    return schedule.sync_type == SyncType.Full and schedule.direction == SyncDirection.Import


def _changed(run: SyncJob) -> int:
    return run.records_written + run.records_deleted


def _minutes(run: SyncJob) -> float:
    if run.completed_at is None or run.run_started_at is None:
        return 0.0
    return max(0.0, (run.completed_at - run.run_started_at) / timedelta(minutes=1))


def _change(schedule: SyncSchedule, sync_type: SyncType, when: Mapping[str, object]) -> Change:
    what = {"syncType": sync_type.name, "direction": schedule.direction.name, "isEnabled": True}
    return Change(Operation.PutSyncSchedule, {**when, **what})
