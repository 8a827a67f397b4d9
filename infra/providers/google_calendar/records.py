"""Events of a Google calendar, in and out.

https://developers.google.com/workspace/calendar/api/guides/sync (nextSyncToken on the last page only, 410)
https://developers.google.com/workspace/calendar/api/v3/reference/events/list (at most 2,500 a page; a sync token
excludes timeMin, timeMax, updatedMin, orderBy, q and iCalUID, and asks for the parameters of the first listing)
https://developers.google.com/workspace/calendar/api/v3/reference/events/insert (ids of a client's own, 409)
https://developers.google.com/workspace/calendar/api/guides/version-resources (If-Match, 412)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from domain.core.wire import rfc3339
from domain.providers.contract import (
    Connection,
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
from infra.providers._kit.recurrence import excluded, zone_name
from infra.providers._kit.wire import (
    ErrorCodes,
    at,
    bearer,
    document,
    json_or_none,
    moment,
    read_each,
    segment,
    text_at,
)

_PAGE_MAX = 2500
_STREAMS = (
    StreamProfile(
        "events",
        RecordType.Event,
        "token",
        lists_deletions=True,
        exportable=True,
        page_size=_PAGE_MAX,
        pushes=EVENT_PUSHES | {"timeZone"},
    ),
)


def _reason(response: ProviderResponse) -> str:
    return str(at(json_or_none(response), "error", "errors", 0, "reason") or "")


#: A 403 may mean a spent quota.
API = ErrorCodes(
    _reason,
    rate_limited=frozenset(
        (
            "rateLimitExceeded",
            "userRateLimitExceeded",
            "quotaExceeded",
            "dailyLimitExceeded",
            "calendarUsageLimits",
        )
    ),
)


class GoogleEvents(RecordStreams):
    """The events of one calendar. Series are listed as such: expanded, one without an end would never end."""

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _STREAMS

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        return _internal(record)

    async def list_records(self, connection: Connection, request: ListingRequest) -> ListPage:
        check_stream(_STREAMS, request.stream)
        here = _position(connection, request)
        response = await API.expect(connection, _page(connection, request.limit, here), *PAGE, 410)
        if response.status == 410:
            raise StateExpired("The calendar's sync token has expired.")
        body = page_body(response)
        if body is None:
            return NOTHING_SAID
        found = rows_at(body, "items", marks=("nextPageToken", "nextSyncToken"))
        rows, again, rest = cut(found, whole(here.get("skip", 0)), request.limit)
        records = read_each(rows, _record)
        following = at(body, "nextPageToken")
        if again is not None:
            return ListPage(records, pack(**{**here, "skip": again}))
        if following:
            return ListPage(records, pack(**{**here, "page": text_at(body, "nextPageToken"), "skip": rest}))
        token = at(body, "nextSyncToken")
        state = pack(of=here["of"], sync=token) if isinstance(token, str) and token else None
        return ListPage(records, next_state=state)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        """Push an event. A new one's id follows from the idempotency key, so that a repeat finds it."""
        check_stream(_STREAMS, request.stream, push=True)
        if request.deleted:
            return await self._remove(connection, request)
        event = event_to_push(request.data, request.fields)
        if request.external_id is not None:
            changed = await self._change(
                connection, request.external_id, event, request.if_version, is_revived=request.recreate
            )
            if changed is not None:
                return changed
            if not request.recreate:
                current = await self._read(connection, f"/{segment(request.external_id)}")
                raise gone(request.external_id, current.modified_at if current is not None else None)
        event_id = f"hub{digest(request.idempotency_key)}"
        insert = events_request(
            connection, "POST", "", {"id": event_id, **_zoned(_body(event))}, idempotent=True
        )
        response = await API.expect(connection, insert, 200, 409)
        if response.status == 200:
            return _result(document(response))
        # An earlier try came through, or the event was deleted since: Google keeps its id for good.
        current = await self._read(connection, f"/{segment(event_id)}")
        if current is not None and not current.deleted:
            return _already(event, current)
        changed = await self._change(connection, event_id, event, None, is_revived=True)
        if changed is None:
            raise gone(event_id)
        return changed

    async def _change(
        self,
        connection: Connection,
        event_id: str,
        event: EventRecord,
        version: str | None,
        *,
        is_revived: bool,
    ) -> PushResult | None:
        """Change an event, None when it is deleted; one to be revived is an event again then."""
        path, revived = f"/{segment(event_id)}", {"status": "confirmed"} if is_revived else {}
        body = _zoned(_body(event)) | revived
        patch = events_request(connection, "PATCH", path, body, version=version, idempotent=True)
        response = await API.expect(connection, patch, 200, 404, 410, 412)
        if response.status == 412:
            current = await self._read(connection, path)
            return _already(event, current) if current is not None else None
        if response.status != 200:
            return None
        row = document(response)
        return None if _record(row).deleted else _result(row)

    async def _read(self, connection: Connection, path: str) -> SourceRecord | None:
        response = await API.expect(connection, events_request(connection, "GET", path), 200, 404, 410)
        return _record(document(response)) if response.status == 200 else None

    async def _remove(self, connection: Connection, request: PushRequest) -> PushResult:
        event_id = request.external_id or f"hub{digest(request.idempotency_key)}"
        delete = events_request(connection, "DELETE", f"/{segment(event_id)}", version=request.if_version)
        response = await API.expect(connection, delete, 200, 204, 404, 410, 412)
        if response.status == 412:
            current = await self._read(connection, f"/{segment(event_id)}")
            if current is not None and not current.deleted:
                raise RecordChanged(current)
        return PushResult(event_id)


def _already(event: EventRecord, current: SourceRecord) -> PushResult:
    """Return the result of a push that came through before. Raises RecordChanged when the event is another one."""
    if current.deleted or not holds(event, _internal(current), EVENT_FIELDS):
        raise RecordChanged(current)
    return _result(current.data)


def _internal(record: SourceRecord) -> Mapping[str, Any]:
    """Return an event in the shape of EventRecord; whole days end on the day after the last one, as at Google."""
    row = record.data
    start, end = _object(row.get("start")), _object(row.get("end"))
    replaced = _object(row.get("originalStartTime"))
    if (
        row.get("status") == "cancelled"
    ):  # little more is told of an occurrence that is taken out of its series
        start = start or replaced
    if not (start.get("date") or start.get("dateTime")):
        raise ValueError("the event has no beginning")
    organizer = row.get("organizer")
    return {
        "title": row.get("summary") or "",
        "startsAt": start.get("dateTime"),
        "endsAt": end.get("dateTime"),
        "startDate": start.get("date"),
        "endDate": end.get("date"),
        "allDay": bool(start.get("date")),
        "description": row.get("description"),
        "location": row.get("location"),
        "organizer": _person(organizer) if organizer else None,
        "attendees": [_person(attendee) for attendee in row.get("attendees") or ()],
        "status": row.get("status"),
        "recurrence": list(row.get("recurrence") or ()),
        "timeZone": zone_name(start.get("timeZone")),
        "seriesId": row.get("recurringEventId"),
        "originalStartsAt": replaced.get("dateTime"),
        "originalStartDate": replaced.get("date"),
        "cancelledOccurrences": excluded(row.get("recurrence") or (), start.get("timeZone")) or None,
        "url": row.get("htmlLink"),
    }


def _position(connection: Connection, request: ListingRequest) -> dict[str, Any]:
    calendar = connection.configuration.calendar_id
    text = request.cursor or request.state
    here = unpack(text) if text else {"of": calendar}
    if here.get("of") != calendar:
        raise StateExpired("Another calendar is configured now.")
    return here


def _page(connection: Connection, limit: int, here: Mapping[str, Any]) -> ProviderRequest:
    params = {"singleEvents": "false", "showDeleted": "true", "maxResults": str(min(limit, _PAGE_MAX))}
    if here.get("sync"):
        params["syncToken"] = str(here["sync"])
    if here.get("page"):
        params["pageToken"] = str(here["page"])
    return ProviderRequest("GET", _url(connection), headers=bearer(connection), params=params)


def _url(connection: Connection) -> str:
    configuration = connection.configuration
    return f"{configuration.base_url}/calendars/{segment(configuration.calendar_id)}/events"


def events_request(
    connection: Connection,
    method: str,
    path: str,
    json: Any = None,
    *,
    version: str | None = None,
    idempotent: bool | None = None,
) -> ProviderRequest:
    """Return a request to the configured calendar's events."""
    headers = bearer(connection) | ({"if-match": version} if version else {})
    # Nobody gets mail because records are kept in step.
    params = {} if method == "GET" else {"sendUpdates": "none"}
    url = f"{_url(connection)}{path}"
    return ProviderRequest(method, url, headers=headers, params=params, json=json, idempotent=idempotent)


def _record(row: Any) -> SourceRecord:
    return SourceRecord(
        external_id=text_at(row, "id"),
        data=row,
        modified_at=moment(row.get("updated")),
        version=row.get("etag"),
        # An occurrence that is taken out of its series says so as long as the series lasts.
        deleted=row.get("status") == "cancelled" and not row.get("recurringEventId"),
    )


def _result(row: Mapping[str, Any]) -> PushResult:
    record = _record(row)
    return PushResult(record.external_id, record.modified_at, record.version, record=record)


def _body(event: EventRecord) -> dict[str, Any]:
    """Return what of the event is set, as Google writes it."""
    body: dict[str, Any] = {"summary": event.title} if "title" in event.model_fields_set else {}
    if has_times(event):
        zone = {"timeZone": event.time_zone} if event.time_zone and not event.all_day else {}
        body |= {"start": _start(event) | zone, "end": _end(event) | zone}
    for name in ("description", "location"):
        if name in event.model_fields_set:
            body[name] = getattr(event, name) or ""
    if "recurrence" in event.model_fields_set:
        body["recurrence"] = event.recurrence
    return body


def _zoned(body: dict[str, Any]) -> dict[str, Any]:
    """Add the time zone that a series needs; one that is named stays."""
    if not body.get("recurrence") or body["start"]["dateTime"] is None or "timeZone" in body["start"]:
        return body
    return {**body, **{name: {**body[name], "timeZone": "UTC"} for name in ("start", "end")}}


def _start(event: EventRecord) -> dict[str, Any]:
    return _when(event.start_date if event.all_day else event.starts_at)


def _end(event: EventRecord) -> dict[str, Any]:
    if not event.all_day:
        return _when(event.ends_at or event.starts_at)
    assert event.start_date is not None
    return _when(event.end_date or event.start_date + timedelta(days=1))


def _when(value: datetime | date | None) -> dict[str, Any]:
    # The other form is emptied by name: a patch that leaves it alone would keep both.
    if isinstance(value, datetime):
        return {"dateTime": rfc3339(value), "date": None}
    return {"date": value.isoformat() if value is not None else None, "dateTime": None}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": person.get("displayName"),
        "email": person.get("email"),
        "status": person.get("responseStatus"),
    }
