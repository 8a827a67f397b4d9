"""Events in iCalendar format (RFC 5545), read and written with the `icalendar` library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from domain.core.wire import rfc3339
from domain.providers.contract import ProviderFailure
from domain.providers.records import SourceRecord
from domain.sync.records import EventRecord

_PRODUCT = "-//Integration Hub//Synchronisation//EN"
_RULES = ("RRULE", "RDATE", "EXDATE")
# Both change without the event having changed: some servers write them anew for every request.
_STAMPS = ("DTSTAMP", "CREATED")


def parse_feed(body: bytes) -> list[SourceRecord]:
    """Read the events of a published calendar. Raises ProviderFailure (malformed) when it is no calendar.

    - An event's identity is its UID, with its RECURRENCE-ID where it is an altered occurrence of a series (section
      3.8.4.4). Of two with one identity the later stands.
    - An event that cannot be read still comes, so that it is counted."""
    calendar = _parsed(body)
    zone = _zone_of(calendar)
    found = (_record(event, zone) for event in calendar.walk("VEVENT"))
    return list({record.external_id: record for record in found}.values())


def parse_resource(name: str, etag: str | None, body: bytes) -> SourceRecord | None:
    """Read a calendar object resource (RFC 4791 section 4.1) as one record; None when it holds no event (a task).

    Altered occurrences of a series share its resource and count as part of it."""
    try:
        calendar = _parsed(body)
    except ProviderFailure:
        return SourceRecord(name, {"problem": "no calendar"}, version=etag)
    events = calendar.walk("VEVENT")
    if not events:
        return None
    record = _record(
        next((event for event in events if "RECURRENCE-ID" not in event), events[0]), _zone_of(calendar)
    )
    data = dict(record.data)
    data["alteredOccurrences"] = sum("RECURRENCE-ID" in event for event in events)
    return SourceRecord(name, data, record.modified_at, etag)


def to_internal(record: SourceRecord) -> Mapping[str, Any]:
    """Return an event in the shape of EventRecord. Raises ValueError for one that could not be read.

    Whole days end on the day after the last one (DTEND excludes itself)."""
    row = record.data
    if "problem" in row:
        raise ValueError(row["problem"])
    whole_days = bool(row.get("allDay"))
    return {
        "title": row.get("summary") or "",
        "startsAt": None if whole_days else row["start"],
        "endsAt": None if whole_days else row.get("end"),
        "startDate": row["start"] if whole_days else None,
        "endDate": row.get("end") if whole_days else None,
        "allDay": whole_days,
        "description": row.get("description"),
        "location": row.get("location"),
        "organizer": row.get("organizer"),
        "attendees": row.get("attendees") or [],
        "status": row.get("status"),
        "recurrence": row.get("recurrence") or [],
        "url": row.get("url"),
    }


def write_event(event: EventRecord, uid: str, now: datetime, existing: bytes | None = None) -> bytes:
    """Write the event as a calendar object resource; what `existing` has beyond it is kept.

    Raises ProviderFailure: malformed when `existing` cannot be read, rejected when a recurrence rule cannot."""
    from icalendar import Calendar, Event

    if existing is None:
        calendar, component = Calendar(), Event()
        calendar.add("PRODID", _PRODUCT)
        calendar.add("VERSION", "2.0")
        component.add("UID", uid)
        calendar.add_component(component)
    else:
        calendar = _parsed(existing)
        component = _own_event(calendar)
    _fill(component, event, now)
    body: bytes = calendar.to_ical()
    return body


def _own_event(calendar: Any) -> Any:
    for component in calendar.walk("VEVENT"):
        if "RECURRENCE-ID" not in component:
            return component
    raise ProviderFailure("rejected", "The resource at the server holds no event of its own.")


def _fill(component: Any, event: EventRecord, now: datetime) -> None:
    values: dict[str, Any] = {"SUMMARY": event.title, "DTSTAMP": now, "LAST-MODIFIED": now}
    values["DTSTART"], values["DTEND"] = (_as_before(component, moment) for moment in _span(event))
    for field, name in (("description", "DESCRIPTION"), ("location", "LOCATION")):
        if field in event.model_fields_set:
            values[name] = getattr(event, field)
    component.pop("DURATION", None)
    for name, value in values.items():
        component.pop(name, None)
        if value is not None:
            component.add(name, value)
    if "recurrence" in event.model_fields_set:
        _set_rules(component, event.recurrence)


def _span(event: EventRecord) -> tuple[date | None, date | None]:
    if event.all_day:
        return event.start_date, event.end_date
    return event.starts_at, event.ends_at


def _as_before(component: Any, value: date | None) -> date | None:
    """Keep the time zone the event began in: a weekly series told in UTC would move with the clocks."""
    before = component["DTSTART"].dt if "DTSTART" in component else None
    zone = before.tzinfo if isinstance(before, datetime) else None
    return value.astimezone(zone) if isinstance(value, datetime) and zone is not None else value


def _set_rules(component: Any, rules: Sequence[str]) -> None:
    """Set them from content lines such as `RRULE:FREQ=WEEKLY`."""
    from icalendar import Event

    lines = "".join(f"{rule}\r\n" for rule in rules if rule.partition(":")[0].partition(";")[0] in _RULES)
    try:
        read = Event.from_ical(f"BEGIN:VEVENT\r\n{lines}END:VEVENT\r\n")
        for name in _RULES:
            component.pop(name, None)
            if name in read:
                component[name] = read[name]
        component.to_ical()
    except ValueError:
        raise ProviderFailure("rejected", "A recurrence rule of the record cannot be read.") from None


def _parsed(body: bytes) -> Any:
    from icalendar import Calendar

    try:
        return Calendar.from_ical(body)
    except (ValueError, IndexError, KeyError, RecursionError):
        raise ProviderFailure("malformed", "The calendar cannot be read.") from None


def _record(event: Any, zone: tzinfo) -> SourceRecord:
    fallback = f"unnamed-{hashlib.sha256(event.to_ical()).hexdigest()[:40]}"
    identity = fallback
    try:
        uid = str(event.get("UID") or "").strip()
        if not uid:
            raise ValueError("the event has no UID")
        altered = _time(event, "RECURRENCE-ID", zone)
        identity = f"{uid}#{altered}" if altered else uid
        return SourceRecord(identity, _data(event, zone), _moment(event, "LAST-MODIFIED"), _version(event))
    except (ValueError, TypeError, AttributeError, OverflowError):
        return SourceRecord(identity, {"problem": "an event that cannot be read"}, version=fallback)


def _data(event: Any, zone: tzinfo) -> dict[str, Any]:
    start = event["DTSTART"].dt if "DTSTART" in event else None
    if start is None:
        raise ValueError("the event has no beginning")
    people = _many(event.get("ATTENDEE"))
    organizer = event.get("ORGANIZER")
    data = {
        "uid": str(event.get("UID")),
        "recurrenceId": _time(event, "RECURRENCE-ID", zone),
        "summary": _text(event, "SUMMARY"),
        "description": _text(event, "DESCRIPTION"),
        "location": _text(event, "LOCATION"),
        "status": (_text(event, "STATUS") or "").lower() or None,
        "url": _text(event, "URL"),
        "allDay": not isinstance(start, datetime),
        "start": _time(event, "DTSTART", zone),
        "end": _end(event, start, zone),
        "organizer": _person(organizer) if organizer is not None else None,
        "attendees": [_person(person) for person in people],
        "recurrence": [line for name in _RULES for line in _lines(event, name)],
    }
    return {name: value for name, value in data.items() if value not in (None, [])}


def _end(event: Any, start: date, zone: tzinfo) -> str | None:
    if "DTEND" in event:
        return _time(event, "DTEND", zone)
    if "DURATION" in event:
        return _shown(start + event["DURATION"].dt, zone)
    return None if isinstance(start, datetime) else _shown(start + timedelta(days=1), zone)


def _time(event: Any, name: str, zone: tzinfo) -> str | None:
    if name not in event:
        return None
    value = event[name]
    if isinstance(value.dt, datetime) and value.dt.tzinfo is None and value.params.get("TZID"):
        raise ValueError("a time zone that is not known")
    return _shown(value.dt, zone)


def _shown(value: date, zone: tzinfo) -> str:
    if not isinstance(value, datetime):
        return value.isoformat()
    return rfc3339(value if value.tzinfo is not None else value.replace(tzinfo=zone))


def _zone_of(calendar: Any) -> tzinfo:
    """Return the zone of times without one: X-WR-TIMEZONE, which the large calendars write."""
    try:
        return ZoneInfo(str(calendar.get("X-WR-TIMEZONE") or "UTC"))
    except (ValueError, OSError, KeyError):
        return UTC


def _moment(event: Any, name: str) -> datetime | None:
    value = event[name].dt if name in event else None
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else None


def _version(event: Any) -> str:
    """Digest all the event says but when it was written out."""
    lines = event.to_ical().splitlines()
    kept = b"\n".join(line for line in lines if not line.startswith(tuple(name.encode() for name in _STAMPS)))
    return hashlib.sha256(kept).hexdigest()[:40]


def _lines(event: Any, name: str) -> list[str]:
    lines = []
    for value in _many(event.get(name)):
        parameters = value.params.to_ical().decode() if getattr(value, "params", None) else ""
        lines.append(f"{name}{';' + parameters if parameters else ''}:{value.to_ical().decode()}")
    return lines


def _many(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(event: Any, name: str) -> str | None:
    value = event.get(name)
    return str(value) if value is not None else None


def _person(address: Any) -> dict[str, Any]:
    text = str(address)
    email = text[7:] if text.lower().startswith("mailto:") else None
    status = address.params.get("PARTSTAT")
    return {
        "name": str(address.params["CN"]) if "CN" in address.params else None,
        "email": email,
        "status": str(status).lower() if status else None,
    }
