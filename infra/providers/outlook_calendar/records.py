"""Events of an Outlook calendar, as Microsoft Graph lists them.

https://learn.microsoft.com/graph/delta-query-events (a calendar view's window is fixed by the first request; nextLink
and deltaLink are opaque; `@removed`), https://learn.microsoft.com/graph/delta-query-overview (410, syncStateNotFound)
https://learn.microsoft.com/graph/api/event-delta (occurrences come with their time only)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.core.wire import rfc3339
from domain.providers.contract import Connection, ProviderFailure, ProviderRequest, ProviderResponse
from domain.providers.records import (
    ListPage,
    ListRequest,
    RecordType,
    SourceRecord,
    StateExpired,
    StreamProfile,
)
from infra.providers._kit.paging import check_stream, cut, own_link, pack, unpack, whole
from infra.providers._kit.refusal import failure_kind
from infra.providers._kit.wire import at, bearer, document, items, moment, segment, text_at
from infra.providers.outlook_calendar.recurrence import rule

PAGE_MAX = 200
STREAMS = (
    StreamProfile(
        "events",
        RecordType.Event,
        "token",
        lists_deletions=True,
        exportable=True,
        page_size=PAGE_MAX,
        complete_history=False,
    ),
)
#: The window of a state moves on when it is this much behind.
WINDOW_LAG = timedelta(days=30)
_STATE_CODES = frozenset(("syncstatenotfound", "syncstateinvalid", "resyncrequired"))
_SHARED = ("subject", "body", "location", "organizer", "attendees", "webLink", "isAllDay")


async def list_records(connection: Connection, request: ListRequest) -> ListPage:
    """As the port says. The events are those of a window around today, occurrences of series included."""
    check_stream(STREAMS, request.stream)
    here = _position(connection, request)
    response = await connection.http.expect(_page(connection, here, request.limit), 200, 400, 404, 410)
    if response.status != 200:
        raise _expired_or_refused(response)
    body = document(response)
    rows, again, rest = cut(items(body, "value"), whole(here.get("skip", 0)), request.limit)
    records = [record_of(row) for row in await _completed(connection, rows)]
    if again is not None:
        return ListPage(records, pack(**{**here, "skip": again}))
    base, following = connection.configuration.base_url, body.get("@odata.nextLink")
    if following is not None:
        return ListPage(records, pack(**{**here, "link": own_link(base, following), "skip": rest}))
    link = own_link(base, text_at(body, "@odata.deltaLink"))
    return ListPage(records, next_state=pack(**{**here, "link": link, "skip": 0}))


def to_internal(record: SourceRecord) -> Mapping[str, Any]:
    """An event in the shape of EventRecord; the end of whole days is the day after the last one, as at Graph."""
    row = record.data
    whole_days = bool(row.get("isAllDay"))
    start, end = _utc(row["start"]), _utc(row["end"])
    recurrence = rule(row["recurrence"]) if row.get("recurrence") else None
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
        "attendees": [_person(one) for one in row.get("attendees") or ()],
        "status": "cancelled" if row.get("isCancelled") else row.get("showAs"),
        "recurrence": [recurrence] if recurrence else [],
        "url": row.get("webLink"),
    }


def _position(connection: Connection, request: ListRequest) -> dict[str, Any]:
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
    if request.cursor is None and (resized or start - begun > WINDOW_LAG):
        raise StateExpired("The window of events has moved on.")
    return here


def _page(connection: Connection, here: Mapping[str, Any], limit: int) -> ProviderRequest:
    prefer = (
        f'odata.maxpagesize={min(limit, PAGE_MAX)}, outlook.timezone="UTC", outlook.body-content-type="text"'
    )
    headers = bearer(connection) | {"prefer": prefer}
    if "link" in here:
        link = own_link(connection.configuration.base_url, here["link"])
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
        failure_kind(response.status),
        f"The provider answered {response.status}: {shown}.",
        status=response.status,
    )


async def _completed(connection: Connection, rows: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The rows, occurrences filled up from their series: Graph sends little more than their time."""
    if not all(isinstance(row, dict) for row in rows):
        raise ProviderFailure("malformed", "The provider's answer lists something that is no event.")
    series = {row.get("id"): row for row in rows if row.get("type") == "seriesMaster"}
    for row in rows:
        master = row.get("seriesMasterId")
        if (
            isinstance(master, str)
            and "subject" not in row
            and "@removed" not in row
            and master not in series
        ):
            series[master] = await read_event(connection, master) or {}
    return [_filled(row, series.get(row.get("seriesMasterId"), {})) for row in rows]


def _filled(row: Mapping[str, Any], master: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**{name: master[name] for name in _SHARED if name in master}, **row} if master else row


async def read_event(connection: Connection, event_id: str) -> dict[str, Any] | None:
    """One event, None when it is gone."""
    url = f"{connection.configuration.base_url}/me/events/{segment(event_id)}"
    prefer = 'outlook.timezone="UTC", outlook.body-content-type="text"'
    headers = bearer(connection) | {"prefer": prefer}
    response = await connection.http.expect(ProviderRequest("GET", url, headers=headers), 200, 404, 410)
    return document(response) if response.status == 200 else None


def calendar_url(connection: Connection) -> str:
    """Address of the configured calendar."""
    configuration = connection.configuration
    calendar = f"/calendars/{segment(configuration.calendar_id)}" if configuration.calendar_id else ""
    return f"{configuration.base_url}/me{calendar}"


def record_of(row: Mapping[str, Any]) -> SourceRecord:
    """An event of Graph's as a record."""
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


def _person(person: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": at(person, "emailAddress", "name"),
        "email": at(person, "emailAddress", "address"),
        "status": at(person, "status", "response"),
    }
