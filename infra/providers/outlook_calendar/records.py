"""Events of an Outlook calendar through Microsoft Graph, in and out.

https://learn.microsoft.com/graph/delta-query-events (a calendar view's window is fixed by the first request; nextLink
and deltaLink are opaque; `@removed`), https://learn.microsoft.com/graph/delta-query-overview (410, syncStateNotFound)
https://learn.microsoft.com/graph/api/event-delta (occurrences come with their time only)
https://learn.microsoft.com/graph/api/user-post-events, https://learn.microsoft.com/graph/api/event-update
https://learn.microsoft.com/graph/api/resources/event (transactionId; originalStart, originalStartTimeZone;
cancelledOccurrences of a series that is read alone with $select)
https://learn.microsoft.com/graph/api/singlevaluelegacyextendedproperty-get (finding an event by a property of ours)
https://learn.microsoft.com/graph/api/resources/patternedrecurrence, RFC 5545 section 3.3.10
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from domain.core.wire import rfc3339
from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderRequest,
    ProviderResponse,
    RecordChanged,
    RecordStreams,
)
from domain.providers.records import (
    ListingRequest,
    ListPage,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StateExpired,
    StreamProfile,
)
from domain.sync.records import EventRecord
from infra.providers._kit.paging import (
    NOTHING_SAID,
    PAGE,
    check_stream,
    cut,
    linked,
    pack,
    page_body,
    rows_at,
    unpack,
    whole,
)
from infra.providers._kit.pushing import (
    EVENT_FIELDS,
    EVENT_PUSHES,
    digest,
    event_to_push,
    gone,
    has_times,
    holds,
)
from infra.providers._kit.recurrence import original, told, zone_name
from infra.providers._kit.refusal import failure_kind
from infra.providers._kit.wire import (
    at,
    bearer,
    document,
    items,
    moment,
    read_each,
    segment,
    text_at,
)
from infra.providers.outlook_calendar.recurrence import graph_recurrence

_PAGE_MAX = 200
_STREAMS = (
    StreamProfile(
        "events",
        RecordType.Event,
        "token",
        lists_deletions=True,
        exportable=True,
        page_size=_PAGE_MAX,
        complete_history=False,
        pushes=EVENT_PUSHES | {"timeZone"},
    ),
)
#: The window of a state moves on when it is this much behind.
_WINDOW_LAG = timedelta(days=30)
_STATE_CODES = frozenset(("syncstatenotfound", "syncstateinvalid", "resyncrequired"))
_SHARED = (
    *("subject", "body", "location", "organizer", "attendees", "webLink", "isAllDay"),
    "originalStartTimeZone",
)
#: The property of an event that carries its idempotency key's digest.
_KEY = "String {6b6d0f0e-6b2c-4c55-9d0e-2c8f7f5f1f3a} Name IntegrationHubKey"
_FREQUENCY = {
    "daily": "DAILY",
    "weekly": "WEEKLY",
    "absoluteMonthly": "MONTHLY",
    "relativeMonthly": "MONTHLY",
    "absoluteYearly": "YEARLY",
    "relativeYearly": "YEARLY",
}
#: What only a series that is read alone tells, and only when it is asked for.
_CANCELLED = "cancelledOccurrences"
#: Requests that a mailbox takes at a time.
_TOGETHER = 4
_POSITION = {"first": "1", "second": "2", "third": "3", "fourth": "4", "last": "-1"}


class OutlookEvents(RecordStreams):
    """The events of one calendar."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return _internal(record)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        """List the events of a window around today, occurrences of series included."""
        check_stream(_STREAMS, request.stream)
        here = _position(connection, request)
        asked = _page(connection, here, request.limit)
        response = await connection.http.expect(asked, *PAGE, 400, 404, 410)
        if response.status not in PAGE:
            raise _expired_or_refused(response)
        body = page_body(response)
        if body is None:
            return NOTHING_SAID
        found = rows_at(body, "value", marks=("@odata.nextLink", "@odata.deltaLink"))
        rows, again, rest = cut(found, whole(here.get("skip", 0)), request.limit)
        completed, unread = await _completed(connection, rows)
        records = [
            replace(record, unread=unread.get(record.external_id)) for record in read_each(completed, _record)
        ]
        if again is not None:
            return ListPage(records, pack(**{**here, "skip": again}))
        base, following = connection.configuration.base_url, body.get("@odata.nextLink")
        if following is not None:
            link = linked(base, following, asked.url)
            return ListPage(records, pack(**{**here, "link": link, "skip": rest}))
        link = linked(base, body.get("@odata.deltaLink"), asked.url)
        return ListPage(records, next_state=pack(**{**here, "link": link, "skip": 0}))

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """Push an event. A new one carries the digest of the idempotency key, by which a repeat finds it."""
        check_stream(_STREAMS, request.stream, push=True)
        if request.deleted:
            return await _remove(connection, request)
        event = event_to_push(request.data, request.fields)
        if request.external_id is not None:
            changed = await _change(connection, request.external_id, request.if_version, event)
            if changed is not None:
                return changed
            if not request.recreate:
                raise gone(request.external_id)
        found = await _find(connection, request.idempotency_key)
        if found is None:
            return await _create(connection, request.idempotency_key, event)
        return _already(event, _record(found))


def _internal(record: SourceRecord) -> Mapping[str, Any]:
    """Return an event in the shape of EventRecord; whole days end on the day after the last one, as at Graph."""
    row = record.data
    whole_days = bool(row.get("isAllDay"))
    start, end = _utc(row["start"]), _utc(row["end"])
    recurrence = _rule(row["recurrence"]) if row.get("recurrence") else None
    organizer = row.get("organizer")
    return {
        "title": row.get("subject") or "",
        "startsAt": None if whole_days else rfc3339(start),
        "endsAt": None if whole_days else rfc3339(end),
        "startDate": start.date().isoformat() if whole_days else None,
        "endDate": end.date().isoformat() if whole_days else None,
        "allDay": whole_days,
        "description": at(row, "body", "content"),
        "location": at(row, "location", "displayName") or None,
        "organizer": _person(organizer) if organizer else None,
        "attendees": [_person(attendee) for attendee in row.get("attendees") or ()],
        "status": "cancelled" if row.get("isCancelled") else row.get("showAs"),
        "recurrence": [recurrence] if recurrence else [],
        "timeZone": _zone(row),
        **_place_in_series(row, start, whole_days=whole_days),
        "cancelledOccurrences": _cancelled(row, start, whole_days=whole_days),
        "url": row.get("webLink"),
    }


def _position(connection: Connection, request: ListingRequest) -> dict[str, Any]:
    configuration = connection.configuration
    today = connection.now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=configuration.sync_window_past_days)
    end = today + timedelta(days=configuration.sync_window_future_days)
    fresh = {"of": configuration.calendar_id or "", "start": rfc3339(start), "end": rfc3339(end)}
    text = request.cursor or request.state
    if not text:
        return fresh
    here = unpack(text)
    begun, ended = moment(here.get("start")), moment(here.get("end"))
    if here.get("of") != fresh["of"] or begun is None or ended is None:
        raise StateExpired("Another calendar is configured now.")
    resized = ended - begun != end - start
    if request.cursor is None and (resized or start - begun > _WINDOW_LAG):
        raise StateExpired("The window of events has moved on.")
    return here


def _page(connection: Connection, here: Mapping[str, Any], limit: int) -> ProviderRequest:
    prefer = (
        f'odata.maxpagesize={min(limit, _PAGE_MAX)}, outlook.timezone="UTC", outlook.body-content-type="text"'
    )
    headers = bearer(connection) | {"prefer": prefer}
    if "link" in here:
        link = linked(connection.configuration.base_url, here["link"])
        return ProviderRequest("GET", link, headers=headers)
    params = {"startDateTime": str(here["start"]), "endDateTime": str(here["end"])}
    return ProviderRequest(
        "GET", f"{calendar_url(connection)}/calendarView/delta", headers=headers, params=params
    )


def _expired_or_refused(response: ProviderResponse) -> Exception:
    try:
        code = str(at(response.json(), "error", "code") or "")
    except ProviderFailure:
        code = ""
    if response.status == 410 or code.lower() in _STATE_CODES:
        return StateExpired("Outlook no longer knows the sync state.")
    shown = code if code.isidentifier() else "no reason given"
    return ProviderFailure(
        failure_kind(response),
        f"The provider answered {response.status}: {shown}.",
        status=response.status,
    )


async def _completed(connection: Connection, rows: Sequence[Any]) -> tuple[list[Any], dict[str, str]]:
    """Fill occurrences up from their series, and series by what only they tell when they are read alone.

    Graph sends little more than the time of an occurrence. Also returns why rows are unread, by their ids: a series
    that cannot be read costs its own occurrences alone."""
    events = [row for row in rows if isinstance(row, dict) and "@removed" not in row]
    series: dict[str, Mapping[str, Any]] = {}
    unread: dict[str, str] = {}
    masters = {str(row.get("id")): row for row in events if row.get("type") == "seriesMaster"}
    others = {
        str(row["seriesMasterId"])
        for row in events
        if isinstance(row.get("seriesMasterId"), str) and "subject" not in row
    }
    wanted = [(name, True) for name in masters] + [(name, False) for name in sorted(others - set(masters))]
    for start in range(0, len(wanted), _TOGETHER):
        group = wanted[start : start + _TOGETHER]
        found = await asyncio.gather(*(_series(connection, name, alone=alone) for name, alone in group))
        for (name, alone), answer in zip(group, found, strict=True):
            if isinstance(answer, str):
                unread[name] = answer
            else:
                series[name] = {**masters[name], _CANCELLED: answer.get(_CANCELLED)} if alone else answer
    completed = []
    for row in rows:
        if not isinstance(row, dict) or "@removed" in row:
            completed.append(row)
            continue
        name, master = str(row.get("id")), str(row.get("seriesMasterId"))
        if master in unread and master not in masters and "subject" not in row:
            unread[name] = unread[master]
        filled = _filled(row, masters.get(master) or series.get(master) or {})
        completed.append(series.get(name, filled) if name in masters else filled)
    return completed, unread


async def _series(connection: Connection, event_id: str, *, alone: bool) -> Mapping[str, Any] | str:
    """Read a series, or why it cannot be read; nothing of one that is gone. `alone`: only what a list does not tell.

    Raises ProviderFailure for what concerns every request."""
    try:
        return await _read_event(connection, event_id, {"$select": _CANCELLED} if alone else {}) or {}
    except ProviderFailure as failure:
        if failure.kind in ("rate_limited", "unauthorized"):
            raise
        if alone and failure.kind in ("rejected", "forbidden"):
            return {}
        return f"The series of this event cannot be read. {failure.detail}"


def _filled(row: Mapping[str, Any], master: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**{name: master[name] for name in _SHARED if name in master}, **row} if master else row


async def _read_event(
    connection: Connection, event_id: str, params: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """Read an event, None when it is gone."""
    url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
    request = ProviderRequest("GET", url, headers=_preferring(connection), params=params or {})
    response = await connection.http.expect(request, 200, 404, 410)
    return document(response) if response.status == 200 else None


def _preferring(connection: Connection) -> dict[str, str]:
    """Return the headers of a request whose answer is an event as it is read here."""
    return bearer(connection) | {"prefer": 'outlook.timezone="UTC", outlook.body-content-type="text"'}


def calendar_url(connection: Connection) -> str:
    """Return the address of the configured calendar."""
    configuration = connection.configuration
    calendar = f"/calendars/{segment(configuration.calendar_id)}" if configuration.calendar_id else ""
    return f"{configuration.base_url}/me{calendar}"


def _record(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord(
        external_id=text_at(row, "id"),
        data=row,
        modified_at=moment(row.get("lastModifiedDateTime")),
        version=row.get("@odata.etag"),
        deleted="@removed" in row,
    )


def _utc(value: Mapping[str, Any]) -> datetime:
    if value.get("timeZone") not in ("UTC", "Etc/UTC", None):
        raise ValueError("a time that is not in UTC")
    return datetime.fromisoformat(value["dateTime"]).replace(tzinfo=UTC)


def _zone(row: Mapping[str, Any]) -> str | None:
    return zone_name(row.get("originalStartTimeZone") or at(row, "recurrence", "range", "recurrenceTimeZone"))


def _place_in_series(row: Mapping[str, Any], start: datetime, *, whole_days: bool) -> dict[str, Any]:
    """Return which occurrence of which series the event is, nothing for one of its own."""
    if not isinstance(row.get("seriesMasterId"), str):
        return {}
    begun = moment(row.get("originalStart")) or (start if row.get("type") == "occurrence" else None)
    named = original(told(begun.date() if whole_days else begun)) if begun is not None else {}
    return {"seriesId": row["seriesMasterId"], **named}


def _cancelled(row: Mapping[str, Any], start: datetime, *, whole_days: bool) -> list[str] | None:
    """Return the original starts of a series' cancelled occurrences, which Graph tells as `OID.<id>.<day>`."""
    days = []
    for name in row.get(_CANCELLED) or ():
        try:
            days.append(date.fromisoformat(str(name).rpartition(".")[2]))
        except ValueError:
            continue
    zone = _zone(row)
    try:
        place = None if whole_days or zone is None else ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        place = None
    if place is None:
        return [told(day) for day in sorted(days)] or None
    time = start.astimezone(place).time()
    return [told(datetime.combine(day, time, place)) for day in sorted(days)] or None


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": at(person, "emailAddress", "name"),
        "email": at(person, "emailAddress", "address"),
        "status": at(person, "status", "response"),
    }


async def _find(connection: Connection, key: str) -> dict[str, Any] | None:
    match = f"singleValueExtendedProperties/Any(ep: ep/id eq '{_KEY}' and ep/value eq '{digest(key)}')"
    request = ProviderRequest(
        "GET",
        f"{calendar_url(connection)}/events",
        headers=_preferring(connection),
        params={"$filter": match},
    )
    found = items(document(await connection.http.expect(request, 200)), "value")
    return found[0] if found else None


async def _create(connection: Connection, key: str, event: EventRecord) -> PushResult:
    body = {
        **_body(event),
        "transactionId": str(uuid5(NAMESPACE_URL, key)),
        "singleValueExtendedProperties": [{"id": _KEY, "value": digest(key)}],
    }
    request = ProviderRequest(
        "POST",
        f"{calendar_url(connection)}/events",
        headers=_preferring(connection),
        json=body,
        idempotent=True,
    )
    return _result(document(await connection.http.expect(request, 200, 201)))


async def _change(
    connection: Connection, event_id: str, version: str | None, event: EventRecord
) -> PushResult | None:
    """Change an event, None when it is gone."""
    headers = _preferring(connection) | ({"if-match": version} if version else {})
    url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
    patch = ProviderRequest("PATCH", url, headers=headers, json=_body(event), idempotent=True)
    response = await connection.http.expect(patch, 200, 404, 409, 410, 412)
    if response.status in (404, 410):
        return None
    if response.status == 200:
        return _result(document(response))
    current = await _read_event(connection, event_id)
    return _already(event, _record(current)) if current is not None else None


def _already(event: EventRecord, current: SourceRecord) -> PushResult:
    """Return the result of a push that came through before. Raises RecordChanged when the event is another one."""
    if not holds(event, _internal(current), EVENT_FIELDS):
        raise RecordChanged(current)
    return _result(current.data)


async def _remove(connection: Connection, request: PushRequest) -> PushResult:
    event_id = request.external_id
    if event_id is None:
        found = await _find(connection, request.idempotency_key)
        if found is None:
            return PushResult(digest(request.idempotency_key))
        event_id = text_at(found, "id")
    headers = bearer(connection) | ({"if-match": request.if_version} if request.if_version else {})
    url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
    delete = ProviderRequest("DELETE", url, headers=headers)
    if (await connection.http.expect(delete, 204, 404, 410, 412)).status == 412:
        current = await _read_event(connection, event_id)
        if current is not None:
            raise RecordChanged(_record(current))
    return PushResult(event_id)


def _result(row: Mapping[str, Any]) -> PushResult:
    record = _record(row)
    return PushResult(record.external_id, record.modified_at, record.version, record=record)


def _body(event: EventRecord) -> dict[str, Any]:
    """Return what of the event is set, as Graph writes it. Raises ProviderFailure (rejected)."""
    body: dict[str, Any] = {"subject": event.title} if "title" in event.model_fields_set else {}
    zone = _own_zone(event)
    if has_times(event):
        start, end = _span(event)
        body |= {"isAllDay": event.all_day, "start": _when(start, zone), "end": _when(end, zone)}
    if "recurrence" in event.model_fields_set:
        body["recurrence"] = graph_recurrence(event.recurrence, _span(event)[0], zone)
    if "description" in event.model_fields_set:
        body["body"] = {"contentType": "text", "content": event.description or ""}
    if "location" in event.model_fields_set:
        body["location"] = {"displayName": event.location or ""}
    return body


def _span(event: EventRecord) -> tuple[datetime | date, datetime | date]:
    if event.all_day:
        assert event.start_date is not None
        return event.start_date, event.end_date or event.start_date + timedelta(days=1)
    assert event.starts_at is not None
    return event.starts_at, event.ends_at or event.starts_at


def _own_zone(event: EventRecord) -> ZoneInfo:
    """Return the zone that the event is meant in: a series told in UTC would move with the clocks."""
    try:
        return ZoneInfo((None if event.all_day else event.time_zone) or "UTC")
    except (ValueError, OSError, KeyError):
        return ZoneInfo("UTC")


def _when(value: datetime | date, zone: ZoneInfo) -> dict[str, str]:
    local = value.astimezone(zone) if isinstance(value, datetime) else value
    return {"dateTime": f"{local:%Y-%m-%dT%H:%M:%S}", "timeZone": zone.key}


def _rule(recurrence: Mapping[str, Any]) -> str:
    """Write Graph's recurrence of a series as an iCalendar rule, such as `RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=10`.

    Raises ValueError, KeyError for what Graph does not document."""
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
