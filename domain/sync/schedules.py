"""The schedule of an integration's synchronisation: an NCRONTAB expression in UTC, or an interval."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from domain.core.errors import FieldError, ValidationFailed
from domain.core.text_length import TextConstraints
from domain.core.wire import Command
from domain.sync.model import SyncDirection, SyncType
from domain.sync.rules import APART

SyncTypeName = Literal["Full", "Incremental", "Differential"]
DirectionName = Literal["Import", "Export", "Bidirectional"]
#: The interval of the scheduler itself (section 14.1); no schedule is denser.
LEAST_APART = timedelta(minutes=15)
_SECOND = timedelta(seconds=1)


class PutSchedule(Command):
    """Body of `PUT /api/integrations/{id}/sync-schedule`; replaces the whole schedule."""

    expression: Annotated[str, TextConstraints(max_length=120)] | None = Field(
        None, description="NCRONTAB in UTC, six fields with seconds first or five, such as `0 0 2 * * *`"
    )
    interval_minutes: int | None = Field(None, ge=15, le=43_200, description="Instead of an expression")
    sync_type: SyncTypeName = "Incremental"
    direction: DirectionName = "Import"
    is_enabled: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.expression is None) == (self.interval_minutes is None):
            raise ValueError("give either expression or intervalMinutes")
        return self


@dataclass(frozen=True, slots=True)
class SyncSchedule:
    """The schedule of one integration; `next_run_at` is None while it is disabled."""

    integration_id: UUID
    tenant_id: UUID
    sync_type: SyncType
    direction: SyncDirection
    expression: str | None
    interval_minutes: int | None
    is_enabled: bool
    next_run_at: datetime | None
    modified_at: datetime
    modified_by: UUID
    version: int = 0

    def after(self, moment: datetime) -> datetime:
        if self.interval_minutes is not None:
            return moment + timedelta(minutes=self.interval_minutes)
        assert self.expression is not None
        return next_occurrence(self.expression, moment)

    def missed_until(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the latest occurrence that is due, and the one after it; older missed ones are left out.

        However long ago the first of them was, they are not gone through."""
        assert self.next_run_at is not None
        due = self.next_run_at
        if self.interval_minutes is not None:
            apart = timedelta(minutes=self.interval_minutes)
            due += max(0, (now - due) // apart) * apart
        elif self.after(due) <= now:
            assert self.expression is not None
            due = next_occurrence(self.expression, now.replace(microsecond=0) + _SECOND, is_backward=True)
        return due, self.after(due)


def schedule_state(schedule: SyncSchedule) -> dict[str, Any]:
    """Return what the audit log shows of a schedule."""
    return {
        "syncType": schedule.sync_type.name,
        "direction": schedule.direction.name,
        "expression": schedule.expression,
        "intervalMinutes": schedule.interval_minutes,
        "isEnabled": schedule.is_enabled,
    }


def next_occurrence(expression: str, moment: datetime, *, is_backward: bool = False) -> datetime:
    """Return the first moment after `moment` that an NCRONTAB expression names, or raise ValueError.

    `is_backward`: the last one before it.

    As in Azure Functions, a day must match both the day of month and the day of week."""
    from croniter import CroniterError, croniter

    if len(expression.split()) not in (5, 6):
        raise ValueError("an NCRONTAB expression has five or six fields")
    try:
        occurrences = croniter(expression, moment, second_at_beginning=True, day_or=False)
        found: datetime = occurrences.get_prev(datetime) if is_backward else occurrences.get_next(datetime)
    except (CroniterError, KeyError, OverflowError) as error:
        raise ValueError("not an NCRONTAB expression") from error
    return found


def check_schedule(schedule: SyncSchedule, now: datetime) -> None:
    """Raise ValidationFailed when occurrences are nearer than `APART` or the scheduler allow."""
    pointer = "/expression" if schedule.expression is not None else "/intervalMinutes"
    code, apart = APART.get(schedule.sync_type, ("validation-failed", LEAST_APART))
    try:
        moments = [schedule.after(now)]
        for _ in range(60):
            moments.append(schedule.after(moments[-1]))
    except ValueError as error:
        detail = "This must be an NCRONTAB expression of five or six fields that occurs at some time."
        raise ValidationFailed(detail, [FieldError(pointer, detail)]) from error
    closest = min(later - earlier for earlier, later in pairwise(moments))
    if closest < apart:
        minutes = int(apart.total_seconds() // 60)
        detail = f"Occurrences of {schedule.sync_type.name} syncs must be at least {minutes:,} minutes apart."
        raise ValidationFailed(detail, [FieldError(pointer, detail)], code=code)
