"""Recurrence rules (RFC 5545 section 3.3.10) as Microsoft Graph has them.

https://learn.microsoft.com/graph/api/resources/recurrencepattern, https://learn.microsoft.com/graph/api/resources/recurrencerange
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from domain.providers.contract import ProviderFailure

_DAYS = {
    "MO": "monday",
    "TU": "tuesday",
    "WE": "wednesday",
    "TH": "thursday",
    "FR": "friday",
    "SA": "saturday",
    "SU": "sunday",
}
#: All days, months and numbers together come to less.
_RULE_MAX = 1_000
_INDEXES = {1: "first", 2: "second", 3: "third", 4: "fourth", -1: "last"}
_COMMON = frozenset(("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST"))
_PARTS = {
    "DAILY": _COMMON | {"BYDAY"},
    "WEEKLY": _COMMON | {"BYDAY"},
    "MONTHLY": _COMMON | {"BYDAY", "BYMONTHDAY", "BYSETPOS"},
    "YEARLY": _COMMON | {"BYDAY", "BYMONTHDAY", "BYSETPOS", "BYMONTH"},
}


def graph_recurrence(rules: Sequence[str], start: date, zone: tzinfo) -> dict[str, Any] | None:
    """Return `recurrence` of a Graph event that begins at `start`, None for an event that does not repeat.

    Raises ProviderFailure (rejected) for what Graph cannot express: it would take place at other times."""
    if not rules:
        return None
    if len(rules) > 1 or not rules[0].upper().startswith("RRULE:"):
        raise _beyond("more than one rule, or single dates beside it (RDATE, EXDATE)")
    rule = _read(rules[0][len("RRULE:") :])
    local = start.astimezone(zone) if isinstance(start, datetime) else start
    begins = local.date() if isinstance(local, datetime) else local
    pattern = {"interval": _number(rule, "INTERVAL", 1), **_pattern(rule, begins)}
    return {"pattern": pattern, "range": _range(rule, local, begins, zone)}


def _read(text: str) -> Mapping[str, list[Any]]:
    from icalendar import vRecur  # here: the library takes long to import

    if len(text) > _RULE_MAX:
        raise _beyond(f"a rule of more than {_RULE_MAX:,} characters")
    try:
        rule = {str(name).upper(): _many(value) for name, value in vRecur.from_ical(text).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ProviderFailure("rejected", "A recurrence rule of the record cannot be read.") from None
    frequency = str(rule.get("FREQ", [""])[0]).upper()
    if frequency not in _PARTS:
        raise _beyond(f"FREQ={frequency or 'nothing'}")
    others = sorted(name for name in rule if name not in _PARTS[frequency])
    if others:
        raise _beyond(f"{others[0]} with FREQ={frequency}")
    return {**rule, "FREQ": [frequency]}


def _pattern(rule: Mapping[str, list[Any]], begins: date) -> dict[str, Any]:
    frequency, days = rule["FREQ"][0], [_day(value) for value in rule.get("BYDAY", ())]
    if frequency in ("DAILY", "WEEKLY"):
        return _by_day(rule, days, begins)
    month = {"month": _month(rule, begins)} if frequency == "YEARLY" else {}
    suffix = "Yearly" if frequency == "YEARLY" else "Monthly"
    if days:
        if "BYMONTHDAY" in rule or (frequency == "YEARLY" and "BYMONTH" not in rule):
            raise _beyond("weekdays counted otherwise than within one month")
        named = {"daysOfWeek": [name for _, name in days], "index": _index(rule, days)}
        return {"type": f"relative{suffix}", **named, **month}
    if "BYSETPOS" in rule:
        raise _beyond("BYSETPOS without weekdays")
    day = _number(rule, "BYMONTHDAY", begins.day)
    if day < 1 or (day > 28 and (frequency == "MONTHLY" or month["month"] == 2)):
        raise _beyond("a day that some months do not have: it moves the event to their last day")
    return {"type": f"absolute{suffix}", "dayOfMonth": day, **month}


def _by_day(rule: Mapping[str, list[Any]], days: Sequence[tuple[int, str]], begins: date) -> dict[str, Any]:
    if any(position for position, _ in days):
        raise _beyond("numbered weekdays within a week")
    if rule["FREQ"][0] == "DAILY":
        if not days:
            return {"type": "daily"}
        if _number(rule, "INTERVAL", 1) != 1:
            raise _beyond("weekdays of every few days")
    first = str(rule.get("WKST", ["MO"])[0]).upper()
    named = [name for _, name in days] or [list(_DAYS.values())[begins.weekday()]]
    return {"type": "weekly", "daysOfWeek": named, "firstDayOfWeek": _DAYS.get(first, "monday")}


def _index(rule: Mapping[str, list[Any]], days: Sequence[tuple[int, str]]) -> str:
    positions = {position for position, _ in days}
    if positions == {0}:
        positions = {_number(rule, "BYSETPOS", 0)}
    elif len(days) > 1 or "BYSETPOS" in rule:
        raise _beyond("several numbered weekdays")
    index = _INDEXES.get(positions.pop())
    if index is None:
        raise _beyond("a weekday other than the first to fourth or the last of a month")
    return index


def _range(rule: Mapping[str, list[Any]], start: date, begins: date, zone: tzinfo) -> dict[str, Any]:
    """Return how long it repeats. Graph ends on a day, a rule at a moment, which may be before that day's event."""
    span: dict[str, Any] = {"startDate": begins.isoformat()}
    if "COUNT" in rule and "UNTIL" in rule:
        raise _beyond("both COUNT and UNTIL")
    if "COUNT" in rule:
        return {"type": "numbered", **span, "numberOfOccurrences": _number(rule, "COUNT", 1)}
    if "UNTIL" not in rule:
        return {"type": "noEnd", **span}
    until = rule["UNTIL"][0]
    last = until
    if isinstance(until, datetime):
        moment = (until if until.tzinfo is not None else until.replace(tzinfo=UTC)).astimezone(zone)
        last = moment.date()
        if isinstance(start, datetime) and moment.timetz() < start.timetz():
            last -= timedelta(days=1)
    return {"type": "endDate", **span, "endDate": last.isoformat()}


def _day(value: Any) -> tuple[int, str]:
    """Return position (0: none) and name of a weekday such as `-1FR`."""
    text = str(value).upper()
    number = text[:-2] or "0"
    if text[-2:] not in _DAYS or not number.lstrip("+-").isdecimal():
        raise _beyond(f"the weekday {text}")
    return int(number), _DAYS[text[-2:]]


def _month(rule: Mapping[str, list[Any]], begins: date) -> int:
    return _number(rule, "BYMONTH", begins.month)


def _number(rule: Mapping[str, list[Any]], name: str, otherwise: int) -> int:
    values = rule.get(name, [otherwise])
    if len(values) != 1:
        raise _beyond(f"several values of {name}")
    try:
        return int(values[0])
    except (ValueError, TypeError):
        raise _beyond(f"{name}={values[0]}") from None


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _beyond(what: str) -> ProviderFailure:
    return ProviderFailure("rejected", f"Outlook cannot express this recurrence: {what}. It was not pushed.")
