"""Ranges of whole hours, or whole days in UTC, that statistics are read over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from domain.errors import FieldError, ValidationFailed
from domain.insights.model import hour_of

By = Literal["hour", "day"]

STEP: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_UNLESS_TOLD: Final = {"hour": timedelta(hours=23), "day": timedelta(days=29)}
_MOST: Final = timedelta(days=92)
#: Statistics know no moments outside, and near the ends of the calendar there is nothing to reckon with.
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 1, 1, tzinfo=UTC)


def range_of(
    by: By, since: datetime | None, until: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    """The last 24 hours, or 30 days, unless told; from the beginning of the first hour (day) that it touches. Raises
    ValidationFailed for one that is empty, too long or out of reach."""
    for pointer, moment in (("/from", since), ("/to", until)):
        if moment is not None and not _FIRST <= moment < _LAST:
            raise _refused(pointer, "Must be between the years 1970 and 9998.")
    until = until or now
    since = begin(since or until - _UNLESS_TOLD[by], by)
    if until <= since:
        raise _refused("/from", "`from` must be before `to`.")
    if until - since > _MOST:
        raise _refused("/from", f"A range has at most {_MOST.days} days.")
    return since, until


def begin(moment: datetime, by: By) -> datetime:
    """The beginning of its hour, or of its day in UTC."""
    hour = hour_of(moment)
    return hour if by == "hour" else hour.replace(hour=0)


def _refused(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(detail, [FieldError(pointer, detail)])
