"""What a VTIMEZONE may ask for before the library writes out every moment at which its clocks change.

Apart from the reading, because it says why each number is what it is. The library makes a list of the changes until
2038 and looks back through it for each of them: a rule for every second, or one that never comes true, would keep it
for hours. RFC 5545 section 3.6.5; zones in use repeat by the year, the oldest of them since 1601."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

#: Periods (STANDARD, DAYLIGHT) of a zone; the longest of the IANA database have some 200.
OBSERVANCES_AT_MOST: Final = 400
#: Changes of one zone, and of all zones of one calendar. Two rules by the year since 1601 come to 876.
CHANGES_AT_MOST: Final = 2_000
CHANGES_OF_CALENDAR_AT_MOST: Final = 20_000
_PARTS: Final = frozenset(("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY"))
_LAST_YEAR = 2038
_DAYS_OF_MONTH = 31
_WEEKS_OF_MONTH = 5


def changes_of(zone: Any) -> int:
    """Return how many changes a zone has at most. Raises ValueError for one that is not made."""
    observances = [part for part in zone.walk() if part is not zone]
    if len(observances) > OBSERVANCES_AT_MOST:
        raise ValueError("a time zone of too many periods")
    changes = sum(_changes(observance) for observance in observances)
    if changes > CHANGES_AT_MOST:
        raise ValueError("a time zone that changes too often")
    return changes


def _changes(observance: Any) -> int:
    begin = observance["DTSTART"].dt
    if not isinstance(begin, datetime):
        raise ValueError("a period of a time zone without a beginning")
    rule = observance.get("RRULE")
    if rule is not None:
        return _repetitions(rule, begin.year)
    dates = observance.get("RDATE")
    trees = dates if isinstance(dates, list) else [dates] if dates is not None else []
    return 1 + sum(len(tree.dts) for tree in trees)


def _repetitions(rule: Mapping[str, Any], first_year: int) -> int:
    """Return how often a rule comes true at most. Raises ValueError for one that zones in use do not have."""
    if (
        set(rule) - _PARTS
        or _texts(rule, "FREQ") != ["YEARLY"]
        or _texts(rule, "INTERVAL") not in ([], ["1"])
    ):
        raise ValueError("a time zone whose rule is not by the year")
    days, in_month = _texts(rule, "BYDAY"), _texts(rule, "BYMONTHDAY")
    months = len(_texts(rule, "BYMONTH")) or (12 if days or in_month else 1)
    of_month = min(_DAYS_OF_MONTH, len(in_month)) if in_month else 1
    if days:
        by_day = sum(_WEEKS_OF_MONTH if day[:1].isalpha() else 1 for day in days)
        of_month = min(of_month, by_day) if in_month else by_day
    if "COUNT" in rule and "UNTIL" not in rule:
        # Counted are those that come true, and it is searched until year 9999 for them.
        years = min(int(_texts(rule, "COUNT")[0]), 9999) if not in_month else 9999 - first_year
        return max(1, years)
    until = rule.get("UNTIL")
    last = until[0] if isinstance(until, list | tuple) and until else until
    last_year = getattr(last, "year", _LAST_YEAR)
    return max(1, last_year - first_year + 1) * months * of_month


def _texts(rule: Mapping[str, Any], name: str) -> list[str]:
    value = rule.get(name)
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return [str(part).upper() for part in values]
