"""Events in iCalendar format (RFC 5545), read and written with the `icalendar` library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from domain.core.wire import rfc3339
from domain.providers.contract import ProviderFailure
from domain.providers.records import SourceRecord
from domain.sync.records import EventRecord
from infra.providers._kit.pushing import has_times
from infra.providers._kit.recurrence import original, told

if TYPE_CHECKING:
    from infra.providers.ical.reading import Zones

_NAMELESS = "unnamed-"
_PRODUCT = "-//Integration Hub//Synchronisation//EN"
_RULES = ("RRULE", "RDATE", "EXDATE")
# Both change without the event having changed: some servers write them anew for every request.
_STAMPS = ("DTSTAMP", "CREATED")
#: What an event may not change without another SEQUENCE.
_TIMES = ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE")


def parse_feed(body: bytes) -> list[SourceRecord]:
    """Read the events of a published calendar. Raises ProviderFailure (malformed) when it is no calendar.

    - An event's identity is its UID, with its RECURRENCE-ID where it is an altered occurrence of a series (section
      3.8.4.4). Of several with one identity the latest revision stands, and says how many others there were.
    - A series names its occurrences that do not take place, also those that are records of their own.
    - An event that cannot be read still comes, so that it is counted."""
    from infra.providers.ical.reading import Zones, calendars_in  # here: the library takes long to import

    found: dict[str, list[_Read]] = {}
    for calendar in calendars_in(body):
        zones, is_cancelled = Zones(calendar), str(calendar.get("METHOD") or "").upper() == "CANCEL"
        for event in calendar.walk("VEVENT"):
            read = _read_event(event, zones, is_cancelled=is_cancelled)
            found.setdefault(read.record.external_id, []).append(read)
    records = [_latest(revisions) for revisions in found.values()]
    cancelled: dict[str, list[SourceRecord]] = {}
    for record in records:
        if record.data.get("status") == "cancelled" and "seriesId" in record.data:
            cancelled.setdefault(record.data["seriesId"], []).append(record)
    return [_without(record, cancelled.get(record.external_id, ())) for record in records]


def is_nameless(record: SourceRecord) -> bool:
    """Return whether the event's identity could not be read: it may be any of those known before."""
    return record.external_id.startswith(_NAMELESS)


def parse_resource(name: str, etag: str | None, body: bytes) -> SourceRecord | None:
    """Read a calendar object resource (RFC 4791 section 4.1) as one record; None when it holds no event (a task).

    Altered and cancelled occurrences of a series share its resource and are part of it."""
    from infra.providers.ical.reading import Zones

    try:
        calendar = _parsed(body)
    except ProviderFailure:
        return SourceRecord(name, {"problem": "no calendar"}, version=etag)
    zones = Zones(calendar)
    revisions: dict[str, list[_Read]] = {}
    for event in calendar.walk("VEVENT"):
        read = _read_event(event, zones)
        revisions.setdefault(read.record.external_id if "RECURRENCE-ID" in event else "", []).append(read)
    if not revisions:
        return None
    series = _latest(revisions.pop("" if "" in revisions else next(iter(revisions))))
    altered = [_latest(found) for found in revisions.values()]
    cancelled = [found for found in altered if found.data.get("status") == "cancelled"]
    data = {**_without(series, cancelled).data, "alteredOccurrences": len(altered)}
    occurrences = [found.data for found in altered if found not in cancelled and "problem" not in found.data]
    if occurrences:
        data["occurrences"] = sorted(occurrences, key=lambda found: str(found["recurrenceId"]))
    moments = [found.modified_at for found in (series, *altered) if found.modified_at is not None]
    return replace(
        series,
        external_id=name,
        data=data,
        modified_at=max(moments, default=None),
        version=etag,
        sequence=None,
    )


def to_internal(record: SourceRecord) -> Mapping[str, Any]:
    """Return an event in the shape of EventRecord. Raises ValueError for one that could not be read.

    Whole days end on the day after the last one (DTEND excludes itself)."""
    row = record.data
    if "problem" in row:
        raise ValueError(row["problem"])
    occurrences = [_occurrence(found) for found in row.get("occurrences") or ()]
    return {
        **_span_of(row),
        "title": row.get("summary") or "",
        "description": row.get("description"),
        "location": row.get("location"),
        "organizer": row.get("organizer"),
        "attendees": row.get("attendees") or [],
        "status": row.get("status"),
        "recurrence": row.get("recurrence") or [],
        "timeZone": row.get("timeZone"),
        "seriesId": row.get("seriesId"),
        **original(row.get("recurrenceId")),
        "thisAndFuture": row.get("thisAndFuture"),
        "cancelledOccurrences": row.get("cancelledOccurrences"),
        "occurrences": occurrences or None,
        "url": row.get("url"),
    }


def _occurrence(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **original(row.get("recurrenceId")),
        "thisAndFuture": row.get("thisAndFuture"),
        **_span_of(row),
        "title": row.get("summary") or "",
        "description": row.get("description"),
        "location": row.get("location"),
        "status": row.get("status"),
    }


def _span_of(row: Mapping[str, Any]) -> dict[str, Any]:
    whole_days = bool(row.get("allDay"))
    return {
        "startsAt": None if whole_days else row["start"],
        "endsAt": None if whole_days else row.get("end"),
        "startDate": row["start"] if whole_days else None,
        "endDate": row.get("end") if whole_days else None,
        "allDay": whole_days,
    }


def _without(series: SourceRecord, cancelled: Sequence[SourceRecord]) -> SourceRecord:
    if not cancelled:
        return series
    known = series.data.get("cancelledOccurrences") or ()
    starts = {str(occurrence.data["recurrenceId"]).replace(".000000Z", "Z") for occurrence in cancelled}
    return replace(series, data={**series.data, "cancelledOccurrences": sorted({*known, *starts})})


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
    _fill(component, event, now, calendar)
    body: bytes = calendar.to_ical()
    return body


def _own_event(calendar: Any) -> Any:
    for component in calendar.walk("VEVENT"):
        if "RECURRENCE-ID" not in component:
            return component
    raise ProviderFailure("rejected", "The resource at the server holds no event of its own.")


def _fill(component: Any, event: EventRecord, now: datetime, calendar: Any) -> None:
    values: dict[str, Any] = {"DTSTAMP": now, "LAST-MODIFIED": now}
    before, start, end = component.get("DTSTART"), *_span(event)
    if "title" in event.model_fields_set:
        values["SUMMARY"] = event.title
    if has_times(event):
        values["DTSTART"], values["DTEND"] = (_as_before(before, moment, calendar) for moment in (start, end))
        component.pop("DURATION", None)
    for field, name in (("description", "DESCRIPTION"), ("location", "LOCATION")):
        if field in event.model_fields_set:
            values[name] = getattr(event, field)
    for name, value in values.items():
        component.pop(name, None)
        if value is not None:
            component.add(name, value, parameters=_named_zone(value, before))
    if "recurrence" in event.model_fields_set:
        _set_rules(component, event.recurrence)


def _span(event: EventRecord) -> tuple[date | None, date | None]:
    if event.all_day:
        return event.start_date, event.end_date
    return event.starts_at, event.ends_at


def _as_before(before: Any, value: date | None, calendar: Any) -> date | None:
    """Keep the time zone the event began in: a weekly series told in UTC would move with the clocks.

    A zone that only the calendar defines is left out of the time, and named beside it."""
    from infra.providers.ical.reading import Zones

    begun = _read(before)
    if not isinstance(value, datetime) or not isinstance(begun, datetime):
        return value
    if begun.tzinfo is not None:
        return value.astimezone(begun.tzinfo)
    try:
        local = Zones(calendar).located(before)
    except ValueError:
        return value
    if "TZID" not in before.params or not isinstance(local, datetime):
        return value
    return value.astimezone(local.tzinfo).replace(tzinfo=None)


def _named_zone(value: Any, before: Any) -> dict[str, str] | None:
    """Return the parameter of a time that `_as_before` freed of its zone."""
    is_free = isinstance(value, datetime) and value.tzinfo is None
    return {"TZID": str(before.params["TZID"])} if is_free else None


def _set_rules(component: Any, rules: Sequence[str]) -> None:
    """Set them from content lines such as `RRULE:FREQ=WEEKLY`."""
    from icalendar import Event

    lines = "".join(f"{rule}\r\n" for rule in rules if rule.partition(":")[0].partition(";")[0] in _RULES)
    if not all(rule.isprintable() for rule in rules):
        # Behind a line end a rule could be a time zone, which the library would remember for every other calendar.
        raise ProviderFailure("rejected", "A recurrence rule of the record holds a control character.")
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
    from infra.providers.ical.reading import calendars_in

    return calendars_in(body)[0]


@dataclass(frozen=True, slots=True)
class _Read:
    """An event, and what tells its revisions apart (RFC 5545 section 3.8.7.4, RFC 5546 section 2.1.5)."""

    record: SourceRecord
    sequence: int
    stamp: datetime
    times: tuple[str, ...]


def _latest(revisions: Sequence[_Read]) -> SourceRecord:
    """Return the latest of the events with one identity: by SEQUENCE, then DTSTAMP, then the place in the calendar.

    It shares its id by mistake with one that claims to be as late, or has other times without another SEQUENCE."""
    latest = max(revisions, key=lambda read: (read.sequence, read.stamp))
    latest = [read for read in revisions if (read.sequence, read.stamp) == (latest.sequence, latest.stamp)][
        -1
    ]
    shares_id = any(
        read.record.version != latest.record.version
        and read.sequence == latest.sequence
        and (read.stamp == latest.stamp or (read.times and latest.times and read.times != latest.times))
        for read in revisions
    )
    others = len(revisions) - 1
    return replace(latest.record, sequence=latest.sequence, repeats=others, shares_id=shares_id)


def _read_event(event: Any, zones: Zones, *, is_cancelled: bool = False) -> _Read:
    """Read an event. An occurrence whose RECURRENCE-ID cannot be read must not pass for its series."""
    record = _record(event, zones)
    if is_cancelled and "problem" not in record.data:
        record = replace(record, data={**record.data, "status": "cancelled"})
    try:
        sequence = int(event.get("SEQUENCE") or 0)
    except (ValueError, TypeError):
        sequence = 0
    stamp = _moment(event, "DTSTAMP") or datetime.min.replace(tzinfo=UTC)
    times = tuple(str(_lines(event, name)) for name in _TIMES) if "problem" not in record.data else ()
    return _Read(record, sequence, stamp, times)


def _record(event: Any, zones: Zones) -> SourceRecord:
    """Read an event. An occurrence whose RECURRENCE-ID cannot be read must not pass for its series."""
    fallback = f"{_NAMELESS}{hashlib.sha256(_written(event)).hexdigest()[:40]}"
    identity = fallback
    try:
        uid = str(event.get("UID") or "").strip()
        if not uid:
            raise ValueError("the event has no UID")
        altered = _time(event, "RECURRENCE-ID", zones)
        identity = f"{uid}#{altered}" if altered else uid
        return SourceRecord(identity, _data(event, zones), _moment(event, "LAST-MODIFIED"), _version(event))
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
        return SourceRecord(identity, {"problem": "an event that cannot be read"}, version=fallback)


def _written(event: Any) -> bytes:
    try:
        written: bytes = event.to_ical()
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
        return str(sorted(event.items(), key=str)).encode("utf-8", "replace")
    return written


def _data(event: Any, zones: Zones) -> dict[str, Any]:
    start = event["DTSTART"].dt if "DTSTART" in event else None
    if start is None:
        raise ValueError("the event has no beginning")
    people = _many(event.get("ATTENDEE"))
    organizer = event.get("ORGANIZER")
    data = {
        "uid": str(event.get("UID")),
        "recurrenceId": _time(event, "RECURRENCE-ID", zones),
        "summary": _text(event, "SUMMARY"),
        "description": _text(event, "DESCRIPTION"),
        "location": _text(event, "LOCATION"),
        "status": (_text(event, "STATUS") or "").lower() or None,
        "url": _text(event, "URL"),
        "allDay": not isinstance(start, datetime),
        "start": _time(event, "DTSTART", zones),
        "end": _end(event, zones),
        "organizer": _person(organizer) if organizer is not None else None,
        "attendees": [_person(person) for person in people],
        "recurrence": [line for name in _RULES for line in _lines(event, name)],
        "timeZone": zones.name_of(event["DTSTART"]),
        "thisAndFuture": _is_lasting(event) or None,
        "seriesId": str(event.get("UID")).strip() if "RECURRENCE-ID" in event else None,
        "cancelledOccurrences": sorted(
            {told(day) for dates in _many(event.get("EXDATE")) for day in zones.each_located(dates)}
        ),
    }
    return {name: value for name, value in data.items() if value not in (None, [])}


def _is_lasting(event: Any) -> bool:
    """Return whether an altered occurrence stands for those after it too (RFC 5545 section 3.2.13)."""
    return (
        "RECURRENCE-ID" in event and event["RECURRENCE-ID"].params.get("RANGE", "").upper() == "THISANDFUTURE"
    )


def _end(event: Any, zones: Zones) -> str | None:
    if "DTEND" in event:
        return _time(event, "DTEND", zones)
    start = zones.located(event["DTSTART"])
    if "DURATION" in event:
        return _shown(start + event["DURATION"].dt)
    return None if isinstance(start, datetime) else _shown(start + timedelta(days=1))


def _time(event: Any, name: str, zones: Zones) -> str | None:
    return _shown(zones.located(event[name])) if name in event else None


def _shown(value: date) -> str:
    return rfc3339(value) if isinstance(value, datetime) else value.isoformat()


def _moment(event: Any, name: str) -> datetime | None:
    value = _read(event.get(name))
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else None


def _read(value: Any) -> Any:
    """Return the time of a property, None where it cannot be read."""
    try:
        return value.dt
    except (AttributeError, ValueError):
        return None


def _version(event: Any) -> str:
    """Digest all the event says but when it was written out."""
    lines = _written(event).splitlines()
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
    value = next(iter(_many(event.get(name))), None)
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
