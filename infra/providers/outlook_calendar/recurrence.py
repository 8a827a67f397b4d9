"""Microsoft Graph's recurrence of a series as an iCalendar rule.

https://learn.microsoft.com/graph/api/resources/patternedrecurrence, RFC 5545 section 3.3.10
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FREQUENCY = {
    "daily": "DAILY",
    "weekly": "WEEKLY",
    "absoluteMonthly": "MONTHLY",
    "relativeMonthly": "MONTHLY",
    "absoluteYearly": "YEARLY",
    "relativeYearly": "YEARLY",
}
_POSITION = {"first": "1", "second": "2", "third": "3", "fourth": "4", "last": "-1"}


def rule(recurrence: Mapping[str, Any]) -> str:
    """Such as `RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=10`. Raises ValueError, KeyError for what Graph does not document."""
    pattern, span = recurrence["pattern"], recurrence.get("range") or {}
    kind = pattern["type"]
    parts = {"FREQ": _FREQUENCY[kind], "INTERVAL": str(int(pattern.get("interval") or 1))}
    days = ",".join(str(day)[:2].upper() for day in pattern.get("daysOfWeek") or ())
    if kind == "weekly" and days:
        parts["BYDAY"] = days
        parts["WKST"] = str(pattern.get("firstDayOfWeek") or "sunday")[:2].upper()
    if kind.startswith("relative"):
        parts["BYDAY"] = days
        parts["BYSETPOS"] = _POSITION[pattern.get("index") or "first"]
    if kind.startswith("absolute"):
        parts["BYMONTHDAY"] = str(int(pattern["dayOfMonth"]))
    if kind.endswith("Yearly"):
        parts["BYMONTH"] = str(int(pattern["month"]))
    if span.get("type") == "numbered":
        parts["COUNT"] = str(int(span["numberOfOccurrences"]))
    elif span.get("type") == "endDate":
        parts["UNTIL"] = str(span["endDate"]).replace("-", "")
    return "RRULE:" + ";".join(f"{name}={value}" for name, value in parts.items())
