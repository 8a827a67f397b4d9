"""Business rules of synchronisation as pure functions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeGuard

from domain.core.errors import FieldError, RuleViolation, ValidationFailed
from domain.core.postponing import doubled
from domain.core.text_length import cut, utf16_units
from domain.core.wire import rfc3339
from domain.integrations.model import Integration, IntegrationStatus
from domain.providers.records import MAX_PAGE_RECORDS
from domain.sync.model import BatchResult, JobOrigin, SyncDirection, SyncJob, SyncStatus, SyncType

#: The longest time of a run (BR-DS-05).
TIMEOUT = timedelta(minutes=60)
TIMED_OUT = BatchResult.failed("timeout", "The job ran for 60 minutes.")
NOT_ACTIVE = BatchResult.failed("integration-not-active", "The integration is not active any more.")
#: The oldest `scheduledAt` of a new job (section 7.4).
OLDEST_SCHEDULE = timedelta(days=30)
#: An incremental listing starts this much before the newest change seen, because providers publish late.
OVERLAP = timedelta(minutes=5)
#: The least time between two jobs of a type, with the rule's code. Only jobs of a status in `COUNTED` count.
APART: dict[SyncType, tuple[str, timedelta]] = {
    SyncType.Full: ("BR-DS-01", timedelta(days=1)),
    SyncType.Incremental: ("BR-DS-02", timedelta(hours=1)),
}
COUNTED = (SyncStatus.Scheduled, SyncStatus.Running, SyncStatus.Completed, SyncStatus.PartialSuccess)
#: The most jobs of a chain.
MOST_RUNS = 24
#: The least time between two jobs that pushes of the provider start.
PUSHES_APART = timedelta(minutes=1)
#: Failures of one batch in a row before its job gives up.
MOST_TRIES = 8


def is_usable(integration: Integration | None) -> TypeGuard[Integration]:
    return (
        integration is not None and integration.status == IntegrationStatus.Active and integration.is_enabled
    )


def check_integration(integration: Integration | None) -> Integration:
    """Return the integration, or raise ValidationFailed when it is not active and enabled (section 7.4)."""
    if not is_usable(integration):
        detail = "The integration must exist, be active and be enabled."
        raise ValidationFailed(detail, [FieldError("/integrationId", detail)], code="integration-not-active")
    return integration


def check_scheduled_at(scheduled_at: datetime, now: datetime) -> None:
    """Raise ValidationFailed when the moment is more than 30 days in the past (section 7.4)."""
    if scheduled_at < now - OLDEST_SCHEDULE:
        detail = "This cannot be more than 30 days in the past."
        raise ValidationFailed(detail, [FieldError("/scheduledAt", detail)])


def runs_at(origin: JobOrigin, scheduled_at: datetime, created_at: datetime) -> datetime:
    """Return the moment by which a job counts for the distance between jobs.

    - A job of a person with a moment in the past counts when it was created.
    - A missed occurrence of a schedule keeps its own moment; otherwise the next occurrence would be left out."""
    return scheduled_at if origin == JobOrigin.Schedule else max(scheduled_at, created_at)


def why_chain_ends(job: SyncJob, *, was_lost: bool) -> str | None:
    """Return why no job follows one whose time is up, or None when one does (section 11.4).

    `was_lost`: its orchestration was gone, so that a run without a batch proves nothing."""
    if job.run_batches == 0 and not was_lost:
        return "The job ran for 60 minutes and stored no batch, so it is not resumed by itself."
    if job.chain_run >= MOST_RUNS:
        return (
            f"The job ran for 60 minutes, {MOST_RUNS} times in a row; it is not resumed by itself any more."
        )
    return None


def is_bounded(origin: JobOrigin) -> bool:
    """Return whether a job has to keep the distance: all but one of a push, which continues what a schedule began."""
    return origin != JobOrigin.Push


def uncounted(origin: JobOrigin) -> tuple[JobOrigin, ...]:
    """Return the origins of jobs that do not count for the distance of a job of `origin`.

    The distance is about what a person, key or schedule asks for: neither pushes nor the first import of a
    calendar, which the hub starts by itself, take anything from them. First imports keep the distance among each other
    and to the others."""
    return (
        (JobOrigin.Push,) if origin == JobOrigin.Authorization else (JobOrigin.Push, JobOrigin.Authorization)
    )


def push_moment(now: datetime, last: datetime | None) -> datetime:
    """Return when the job of a push runs, given the moment of the last such job: now, or a minute after that."""
    return now if last is None else max(now, last + PUSHES_APART)


def check_apart(sync_type: SyncType, scheduled_at: datetime, others: Sequence[datetime]) -> None:
    """Raise RuleViolation when a job of the type that counts is too near, by their `runs_at`."""
    if sync_type not in APART:
        return
    code, apart = APART[sync_type]
    near = [other for other in others if abs(other - scheduled_at) < apart]
    if near:
        often = "once a day" if sync_type == SyncType.Full else "once an hour"
        raise RuleViolation(
            f"A {sync_type.name} sync of an integration runs at most {often}; another one is at "
            f"{rfc3339(max(near))}, and the next is possible at {rfc3339(max(near) + apart)}.",
            code=code,
        )


def batch_size(wanted: int) -> int:
    """Return the size within BR-DS-03."""
    return max(1, min(wanted, MAX_PAGE_RECORDS))


def after_failure(size: int) -> int:
    """Return half the size, with which a failed batch is tried again (section 11.4)."""
    return max(1, size // 2)


def after_success(size: int, full: int) -> int:
    return min(full, size * 2)


def backoff_seconds(tries: int) -> float:
    """Return the seconds before the next try after `tries` failures in a row: 1, 2, 4, ... at most 60."""
    return doubled(timedelta(seconds=1), max(0, tries - 1), timedelta(minutes=1)).total_seconds()


def since_of(newest: datetime | None, began_at: datetime) -> datetime:
    """Return where the next incremental listing starts: before the newest change or this run's begin.

    Rows of the same moment, and rows that were published late, are listed then."""
    return (min(newest, began_at) if newest is not None else began_at) - OVERLAP


def exports_everything(job: SyncJob) -> bool:
    """Return whether an export pushes all that the tenant made, instead of what waits.

    In both directions the import has just shown what the provider has, so that only what waits is to be pushed."""
    return job.sync_type == SyncType.Full and job.direction == SyncDirection.Export


def stored_id(external_id: str) -> str:
    """Return the external id as the key of a row; an id that is too long ends in its digest.

    So does one that ends in the noncharacter which stands for a blank at the end of a stored key."""
    if utf16_units(external_id) <= 300 and not external_id.endswith("\uffff"):
        return external_id
    digest = hashlib.sha256(external_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{cut(external_id, 200)}~{digest}"


def final_status(processed: int, failed: int) -> SyncStatus:
    """Return the status of a job that went through to its end; one that could take no record has failed."""
    if failed:
        return SyncStatus.PartialSuccess if processed else SyncStatus.Failed
    return SyncStatus.Completed


def is_logged(number: int) -> bool:
    """Return whether the log tells of the batch, or interruption, of this number, counted from 1.

    Of all below 100, of every tenth below 1,000, of every hundredth below 10,000 and so on."""
    step: int = 10 ** max(0, len(str(number)) - 2)
    return number % step == 0
