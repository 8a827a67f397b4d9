"""What tests have done in another process, which loads this module and no more than it needs."""

from __future__ import annotations


def repeated(text: str, times: int) -> str:
    return text * times


def refused(text: str) -> None:
    raise ValueError(text)


def remembered_zone(name: str, define: bool) -> bool:
    """Return whether the library knows a zone; with `define`, teach it one first."""
    from icalendar import Calendar
    from icalendar.timezone import tzp

    if define:
        period = "BEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0700\r\nEND:STANDARD"
        zone = f"BEGIN:VTIMEZONE\r\nTZID:{name}\r\n{period}\r\nEND:VTIMEZONE"
        Calendar.from_ical(f"BEGIN:VCALENDAR\r\n{zone}\r\nEND:VCALENDAR\r\n")
    return tzp.timezone(name) is not None
