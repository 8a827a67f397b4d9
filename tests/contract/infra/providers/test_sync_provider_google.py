"""Google calendars, in and out, against the documented answers; and what pushes to calendars share."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure
from domain.providers.records import ListingRequest, PushRequest, SourceRecord, StateExpired
from domain.sync.records import EventRecord
from tests.fixtures.providers import google_calendar
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.sync_drain import drain, internal, streams

GOOGLE = streams("Google")
EVENTS = "/calendar/v3/calendars/primary/events"
EVENT = {
    "title": "Doors",
    "startsAt": "2026-03-05T18:00:00Z",
    "endsAt": "2026-03-05T19:00:00Z",
    "allDay": False,
    "location": "Hall 2",
}


def google_event(event_id: str, **changes: Any) -> dict[str, Any]:
    """https://developers.google.com/workspace/calendar/api/v3/reference/events#resource"""
    return {
        "kind": "calendar#event",
        "etag": f'"{event_id}-1"',
        "id": event_id,
        "status": "confirmed",
        "htmlLink": f"https://www.google.com/calendar/event?eid={event_id}",
        "updated": "2026-02-27T10:00:00.000Z",
        "summary": f"Event {event_id}",
        "organizer": {"email": "ada@example.com", "self": True},
        "start": {"dateTime": "2026-03-05T19:00:00+01:00", "timeZone": "Europe/Berlin"},
        "end": {"dateTime": "2026-03-05T20:00:00+01:00", "timeZone": "Europe/Berlin"},
        "attendees": [{"email": "bo@example.com", "displayName": "Bo", "responseStatus": "accepted"}],
    } | changes


def google_page(*rows: dict[str, Any], **more: str) -> Answer:
    return Answer(200, {"kind": "calendar#events", "items": list(rows), **more})


def outlook_event(event_id: str, **changes: Any) -> dict[str, Any]:
    """https://learn.microsoft.com/graph/delta-query-events"""
    return {
        "@odata.etag": f'W/"{event_id}1"',
        "id": event_id,
        "type": "singleInstance",
        "lastModifiedDateTime": "2026-02-27T10:00:00.1234567Z",
        "subject": f"Event {event_id}",
        "isAllDay": False,
        "isCancelled": False,
        "showAs": "busy",
        "webLink": f"https://outlook.office365.com/owa/?itemid={event_id}",
        "body": {"contentType": "text", "content": "Bring boots"},
        "start": {"dateTime": "2026-03-05T18:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-03-05T19:00:00.0000000", "timeZone": "UTC"},
        "location": {"displayName": "Hall 2"},
        "organizer": {"emailAddress": {"name": "Ada", "address": "ada@example.com"}},
        "attendees": [
            {"status": {"response": "accepted"}, "emailAddress": {"name": "Bo", "address": "bo@example.com"}}
        ],
    } | changes


async def test_google_lists_all_pages_and_keeps_the_last_pages_token() -> None:
    async with world(CASES["Google"]) as here:
        first = google_page(google_event("a"), google_event("b"), nextPageToken="p2")
        last = google_page(google_event("c"), nextSyncToken="s1")
        here.server.add(route(f"GET {EVENTS}", first, last))
        listing = await drain(GOOGLE, here.connection, "events", 2)
        assert listing.ids == ["a", "b", "c"]
        asked = [request.query for request in here.server.requests]
        same = {"singleEvents": "false", "showDeleted": "true", "maxResults": "2"}
        assert asked == [same, same | {"pageToken": "p2"}]
        record = internal(GOOGLE, here.connection, "events", listing.records[0])
    assert isinstance(record, EventRecord)
    assert (record.title, record.starts_at) == ("Event a", datetime(2026, 3, 5, 18, tzinfo=UTC))
    assert (record.attendees[0].email, record.attendees[0].status) == ("bo@example.com", "accepted")
    assert listing.state is not None


async def test_google_series_tell_their_zone_and_occurrences_their_series_and_whether_they_take_place() -> (
    None
):
    lines = ["RRULE:FREQ=DAILY", "EXDATE;TZID=Europe/Berlin:20260307T190000,20260707T190000", "EXDATE:odd"]
    moved = {"recurringEventId": "s", "originalStartTime": {"dateTime": "2026-03-08T19:00:00+01:00"}}
    day = {"start": {"date": "2026-03-05"}, "end": {"date": "2026-03-06"}}
    rows = [
        google_event("s", recurrence=lines),
        google_event("s_1", **moved),
        {"id": "s_2", "status": "cancelled", **moved},
        {"id": "gone", "status": "cancelled"},
        google_event("d", recurrence=["RRULE:FREQ=DAILY", "EXDATE;VALUE=DATE:20260307"], **day),
        {
            "id": "d_1",
            "status": "cancelled",
            "recurringEventId": "d",
            "originalStartTime": {"date": "2026-03-09"},
        },
    ]
    async with world(CASES["Google"]) as here:
        here.server.add(route(f"GET {EVENTS}", google_page(*rows, nextSyncToken="s1")))
        listing = await drain(GOOGLE, here.connection, "events")
    assert listing.deleted == ["gone"]
    series, exception, cancelled, days, cancelled_day = (
        EventRecord.model_validate(GOOGLE.to_internal("events", record))
        for record in listing.records
        if not record.deleted
    )
    original = datetime(2026, 3, 8, 18, tzinfo=UTC)
    assert series.time_zone == "Europe/Berlin"
    assert series.cancelled_occurrences == ["2026-03-07T18:00:00Z", "2026-07-07T17:00:00Z"]
    assert (exception.series_id, exception.original_starts_at) == ("s", original)
    assert exception.starts_at == datetime(2026, 3, 5, 18, tzinfo=UTC)
    assert (cancelled.series_id, cancelled.original_starts_at, cancelled.starts_at, cancelled.status) == (
        "s",
        original,
        original,
        "cancelled",
    )
    assert (days.time_zone, days.cancelled_occurrences) == (None, ["2026-03-07"])
    assert (cancelled_day.original_start_date, cancelled_day.all_day) == (date(2026, 3, 9), True)


async def test_google_asks_for_changes_with_the_token_and_none_of_the_filters_it_excludes() -> None:
    async with world(CASES["Google"]) as here:
        gone = {"id": "b", "status": "cancelled", "etag": '"b-2"', "kind": "calendar#event"}
        here.server.add(
            route(
                f"GET {EVENTS}",
                google_page(google_event("a"), nextSyncToken="s1"),
                google_page(google_event("a", summary="Moved"), nextPageToken="p2"),
                google_page(gone, nextSyncToken="s2"),
                google_page(nextSyncToken="s3"),
            )
        )
        full = await drain(GOOGLE, here.connection, "events")
        changes = await drain(GOOGLE, here.connection, "events", since=NOW, state=full.state)
        await drain(GOOGLE, here.connection, "events", since=NOW, state=changes.state)
        tokens = [request.query.get("syncToken") for request in here.server.requests]
        assert tokens == [None, "s1", "s1", "s2"]
        forbidden = {"timeMin", "timeMax", "updatedMin", "orderBy", "q", "iCalUID"}
        assert not any(forbidden & set(request.query) for request in here.server.requests)
    assert (changes.ids, changes.deleted) == (["a", "b"], ["b"])


async def test_google_token_that_expired_is_said_to_have() -> None:
    async with world(CASES["Google"]) as here:
        expired = google_calendar.error(410, "fullSyncRequired", "Sync token is no longer valid")
        here.server.add(route(f"GET {EVENTS}", google_page(nextSyncToken="s1"), expired))
        full = await drain(GOOGLE, here.connection, "events")
        with pytest.raises(StateExpired):
            await drain(GOOGLE, here.connection, "events", state=full.state)


async def test_state_of_another_calendar_is_not_used() -> None:
    async with world(CASES["Google"]) as here:
        here.server.add(route(f"GET {EVENTS}", google_page(nextSyncToken="s1")))
        full = await drain(GOOGLE, here.connection, "events")
    async with world(CASES["Google"], changes={"calendarId": "team@group.calendar.google.com"}) as other:
        with pytest.raises(StateExpired):
            await drain(GOOGLE, other.connection, "events", state=full.state)
        assert other.server.requests == []


async def test_a_page_larger_than_asked_for_comes_in_parts() -> None:
    async with world(CASES["Google"]) as here:
        rows = [google_event(name) for name in "abcde"]
        here.server.add(route(f"GET {EVENTS}", google_page(*rows, nextSyncToken="s1")))
        listing = await drain(GOOGLE, here.connection, "events", 2)
    assert listing.ids == list("abcde")
    assert [len(page.records) for page in listing.pages] == [2, 2, 1]


async def test_google_whole_days_and_series_keep_their_shape() -> None:
    series = google_event(
        "a",
        start={"date": "2026-03-05"},
        end={"date": "2026-03-07"},
        recurrence=["RRULE:FREQ=WEEKLY;COUNT=3"],
    )
    async with world(CASES["Google"]) as here:
        record = internal(GOOGLE, here.connection, "events", SourceRecord("a", series))
    assert isinstance(record, EventRecord)
    assert (record.all_day, record.start_date, record.end_date) == (True, date(2026, 3, 5), date(2026, 3, 7))
    assert record.recurrence == ["RRULE:FREQ=WEEKLY;COUNT=3"]


async def test_google_push_twice_makes_one_event() -> None:
    async with world(CASES["Google"]) as here:
        duplicate = google_calendar.error(409, "duplicate", "The requested identifier already exists.")
        made = google_event("hub1", summary="Doors", location="Hall 2")
        here.server.add(
            route(f"POST {EVENTS}", Answer(200, made), duplicate),
            route(f"GET {EVENTS}/*", Answer(200, made | {"etag": '"2"'})),
        )
        request = PushRequest("events", "job-1/7", EVENT)
        await GOOGLE.push_record(here.connection, request)
        again = await GOOGLE.push_record(here.connection, request)
        created, repeated, read = here.server.requests
        assert created.json["id"] == repeated.json["id"]
        assert read.path == f"{EVENTS}/{created.json['id']}"
        assert set(created.json["id"]) <= set("0123456789abcdefghijklmnopqrstuv")
        assert {request.query.get("sendUpdates") for request in here.server.requests[:2]} == {"none"}
        assert created.json["start"] == {"dateTime": "2026-03-05T18:00:00.000000Z", "date": None}
    assert (again.external_id, again.version) == ("hub1", '"2"')


@pytest.mark.parametrize("name", ["Google", "Outlook"])
async def test_push_does_not_overwrite_a_newer_event(name: str) -> None:
    source = streams(name)
    async with world(CASES[name]) as here:
        rows = {"Google": google_event("a"), "Outlook": outlook_event("a")}
        path = {"Google": f"{EVENTS}/a", "Outlook": "/v1.0/me/events/a"}[name]
        here.server.add(
            route(f"PATCH {path}", Answer(412, {})), route(f"GET {path}", Answer(200, rows[name]))
        )
        request = PushRequest("events", "k", EVENT, external_id="a", if_version='"old"')
        with pytest.raises(ProviderFailure, match="changed at the provider") as caught:
            await source.push_record(here.connection, request)
        assert here.server.requests[0].headers["if-match"] == '"old"'
    assert (caught.value.kind, caught.value.status) == ("rejected", 412)


@pytest.mark.parametrize("name", ["Google", "Outlook"])
async def test_push_whose_answer_was_lost_is_done(name: str) -> None:
    source = streams(name)
    rows = {
        "Google": google_event("a", summary="Doors", location="Hall 2"),
        "Outlook": outlook_event("a", subject="Doors"),
    }
    path = {"Google": f"{EVENTS}/a", "Outlook": "/v1.0/me/events/a"}[name]
    async with world(CASES[name]) as here:
        here.server.add(
            route(f"PATCH {path}", Answer(412, {})), route(f"GET {path}", Answer(200, rows[name]))
        )
        request = PushRequest("events", "k", EVENT, external_id="a", if_version='"old"')
        result = await source.push_record(here.connection, request)
    assert result.external_id == "a"


@pytest.mark.parametrize(("name", "status"), [("Google", 410), ("Outlook", 404)])
async def test_push_of_a_deletion_twice_is_done(name: str, status: int) -> None:
    source = streams(name)
    path = {"Google": f"{EVENTS}/a", "Outlook": "/v1.0/me/events/a"}[name]
    async with world(CASES[name]) as here:
        here.server.add(route(f"DELETE {path}", Answer(204), Answer(status, {})))
        request = PushRequest("events", "k", {}, external_id="a", deleted=True)
        for _ in range(2):
            assert (await source.push_record(here.connection, request)).external_id == "a"


@pytest.mark.parametrize(
    "data", [{"title": "No beginning"}, {"title": "x", "startsAt": "soon"}, {"colour": 1}]
)
@pytest.mark.parametrize("name", ["Google", "Outlook"])
async def test_push_of_what_is_no_event_is_refused(name: str, data: dict[str, Any]) -> None:
    async with world(CASES[name]) as here:
        with pytest.raises(ProviderFailure) as caught:
            await streams(name).push_record(here.connection, PushRequest("events", "k", data))
        assert here.server.requests == []
    assert caught.value.kind == "rejected"


@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "[]", '{"of":"primary","skip":-1}', '{"of":"primary","skip":"x"}']
)
async def test_positions_that_cannot_be_read_begin_anew(cursor: str) -> None:
    async with world(CASES["Google"]) as here:
        here.server.add(route(f"GET {EVENTS}", google_page(nextSyncToken="s1")))
        if cursor == "":
            assert (await drain(GOOGLE, here.connection, "events", state="")).ids == []
            return
        with pytest.raises(StateExpired):
            await GOOGLE.list_records(here.connection, ListingRequest("events", 10, cursor))
