"""What calendars say of series beside their rules: zones by name, and occurrences that are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo

_EXCLUSION = re.compile(r"EXDATE(?P<parameters>(?:;[^:;=]+=[^:;]+)*):(?P<values>[0-9TZ,]+)", re.IGNORECASE)
_ZONE = re.compile(r";TZID=\"?([^;\"]+)", re.IGNORECASE)
_CUSTOM = "tzone://"


def excluded(lines: Iterable[str], zone: str | None) -> list[str]:
    """Return the occurrences that `EXDATE` lines (RFC 5545 section 3.8.5.1) leave out, as days or moments in UTC.

    Times without a zone of their own are in `zone`. What cannot be read is left out."""
    found = []
    for line in lines:
        exclusion = _EXCLUSION.fullmatch(line.strip())
        if exclusion is None:
            continue
        own = _ZONE.search(exclusion["parameters"])
        place = _zone((own[1] if own else zone) or "UTC")
        values = exclusion["values"].upper().split(",")
        found += [shown for value in values if (shown := _shown(value, place)) is not None]
    return sorted(set(found))


def zone_name(name: object) -> str | None:
    """Return a time zone's name of the IANA database, where it or Windows has one; else the name as it is."""
    if not isinstance(name, str) or not name.strip() or name.startswith(_CUSTOM):
        return None
    if _zone(name) is not None:
        return name
    from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON  # here: the library takes long to import

    return WINDOWS_TO_OLSON.get(name, name)


def told(value: date) -> str:
    """Return a day, or a moment with its zone, as text; moments are told in UTC, as in a record."""
    if not isinstance(value, datetime):
        return value.isoformat()
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def original(value: str | None) -> dict[str, str | None]:
    """Return the fields of EventRecord that say which occurrence of its series a record is; None: it is none."""
    is_moment = value is not None and "T" in value
    return {
        "originalStartsAt": value if is_moment else None,
        "originalStartDate": None if is_moment else value,
    }


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None


def _shown(value: str, zone: tzinfo | None) -> str | None:
    try:
        if "T" not in value:
            return datetime.strptime(value, "%Y%m%d").date().isoformat()  # noqa: DTZ007 - a day
        if value.endswith("Z"):
            return told(datetime.strptime(value, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
        return told(datetime.strptime(value, "%Y%m%dT%H%M%S").replace(tzinfo=zone)) if zone else None
    except ValueError:
        return None
