"""Business rules BR-DS-01..07 and section 7.4, as decisions without a clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeGuard

from domain.core.errors import FieldError, RuleViolation, ValidationFailed
from domain.core.postponing import doubled
from domain.core.wire import rfc3339
from domain.integrations.model import Integration, IntegrationStatus
from domain.providers.records import MAX_PAGE_RECORDS
from domain.sync.model import JobOrigin, SyncStatus, SyncType

#: BR-DS-05
TIMEOUT = timedelta(minutes=60)
#: Section 7.4.
OLDEST_SCHEDULE = timedelta(days=30)
#: How much earlier than the newest change seen an incremental listing begins again: providers publish late.
OVERLAP = timedelta(minutes=5)
#: BR-DS-01 and BR-DS-02: how far apart two jobs of a type are. A job that failed or was cancelled does not count.
APART: dict[SyncType, tuple[str, timedelta]] = {
    SyncType.Full: ("BR-DS-01", timedelta(days=1)),
    SyncType.Incremental: ("BR-DS-02", timedelta(hours=1)),
}
COUNTED = (SyncStatus.Scheduled, SyncStatus.Running, SyncStatus.Completed, SyncStatus.PartialSuccess)
#: Failures of one batch in a row before its job gives up.
MOST_TRIES = 8
_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=1)
_ID_MAX = 300
_ID_KEPT = 200


def is_usable(integration: Integration | None) -> TypeGuard[Integration]:
    """Active and enabled."""
    return (
        integration is not None and integration.status == IntegrationStatus.Active and integration.is_enabled
    )


def check_integration(integration: Integration | None) -> Integration:
    """Section 7.4: it must be an active one. Raises ValidationFailed."""
    if not is_usable(integration):
        detail = "This must name an active integration that is enabled."
        raise ValidationFailed(detail, [FieldError("/integrationId", detail)], code="integration-not-active")
    return integration


def check_scheduled_at(scheduled_at: datetime, now: datetime) -> None:
    """Section 7.4. Raises ValidationFailed."""
    if scheduled_at < now - OLDEST_SCHEDULE:
        detail = "This cannot be more than 30 days in the past."
        raise ValidationFailed(detail, [FieldError("/scheduledAt", detail)])


def runs_at(origin: JobOrigin, scheduled_at: datetime, created_at: datetime) -> datetime:
    """The moment by which a job counts: one that is asked for with a moment of the past runs when it is made. A
    schedule's occurrence that was missed keeps its own, or the next one would be left out."""
    return scheduled_at if origin == JobOrigin.Schedule else max(scheduled_at, created_at)


def check_apart(sync_type: SyncType, scheduled_at: datetime, others: Sequence[datetime]) -> None:
    """BR-DS-01, BR-DS-02. `others` are the moments (`runs_at`) of the integration's jobs of that type that count.
    Raises RuleViolation."""
    if sync_type not in APART:
        return
    code, apart = APART[sync_type]
    near = [other for other in others if abs(other - scheduled_at) < apart]
    if near:
        often = "once a day" if sync_type == SyncType.Full else "once an hour"
        raise RuleViolation(
            f"A {sync_type.name} sync of an integration runs at most {often}; there is one at "
            f"{rfc3339(max(near))}, the next may be at {rfc3339(max(near) + apart)}.",
            code=code,
        )


def batch_size(wanted: int) -> int:
    """BR-DS-03."""
    return max(1, min(wanted, MAX_PAGE_RECORDS))


def after_failure(size: int) -> int:
    """Section 11.4: a failing batch is tried again at half its size."""
    return max(1, size // 2)


def after_success(size: int, full: int) -> int:
    """A size that was reduced grows back."""
    return min(full, size * 2)


def backoff_seconds(tries: int) -> float:
    """Seconds before the next try after so many failures in a row: 1, 2, 4, ... at most a minute."""
    return doubled(_FIRST_WAIT, max(0, tries - 1), _LONGEST_WAIT).total_seconds()


def since_of(newest: datetime | None, began_at: datetime) -> datetime:
    """Where the next incremental listing begins: at the newest change seen, never after this run began, and a
    little earlier, so that rows sharing that moment, or published late, are seen (again)."""
    return (min(newest, began_at) if newest is not None else began_at) - OVERLAP


def stored_id(external_id: str) -> str:
    """The external id as the key of a row (BR-DS-06): ids that are too long end in their digest."""
    if len(external_id) <= _ID_MAX:
        return external_id
    digest = hashlib.sha256(external_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{external_id[:_ID_KEPT]}~{digest}"


def final_status(failed: int) -> SyncStatus:
    """What a job that went through to its end is."""
    return SyncStatus.PartialSuccess if failed else SyncStatus.Completed
