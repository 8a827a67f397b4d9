"""Outlook calendars, in and out, against Microsoft Graph's documented answers."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure
from domain.providers.records import PushRequest, SourceRecord, StateExpired
from domain.sync.records import EventRecord
from infra.providers.outlook_calendar.records import _rule as rule
from tests.fixtures.providers import outlook_calendar
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, World, world
from tests.worlds.sync_drain import drain, internal, streams

OUTLOOK = streams("Outlook")
DELTA = "/v1.0/me/calendarView/delta"
EVENT = {
    "title": "Doors",
    "startsAt": "2026-03-05T18:00:00Z",
    "endsAt": "2026-03-05T19:00:00Z",
    "allDay": False,
    "location": "Hall 2",
}


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


def outlook_page(here: World, *rows: dict[str, Any], next_: str = "", delta: str = "") -> Answer:
    body: dict[str, Any] = {"value": list(rows)}
    if next_:
        body["@odata.nextLink"] = f"{here.server.address}{DELTA}?$skiptoken={next_}"
    if delta:
        body["@odata.deltaLink"] = f"{here.server.address}{DELTA}?$deltatoken={delta}"
    return Answer(200, body)


async def test_outlook_lists_a_window_and_keeps_the_delta_link() -> None:
    async with world(CASES["Outlook"]) as here:
        here.server.add(
            route(
                f"GET {DELTA}",
                outlook_page(here, outlook_event("a"), outlook_event("b"), next_="p2"),
                outlook_page(here, outlook_event("c"), delta="d1"),
                outlook_page(here, {"id": "b", "@removed": {"reason": "deleted"}}, delta="d2"),
            )
        )
        full = await drain(OUTLOOK, here.connection, "events", 2)
        changes = await drain(OUTLOOK, here.connection, "events", 2, state=full.state)
        assert [request.query for request in here.server.requests] == [
            {
                "startDateTime": "2026-01-30T00:00:00.000000Z",
                "endDateTime": "2027-03-01T00:00:00.000000Z",
            },
            {"$skiptoken": "p2"},
            {"$deltatoken": "d1"},
        ]
        assert all("odata.maxpagesize=2" in request.headers["prefer"] for request in here.server.requests)
        record = internal(OUTLOOK, here.connection, "events", full.records[0])
    assert (full.ids, changes.ids, changes.deleted) == (["a", "b", "c"], ["b"], ["b"])
    assert isinstance(record, EventRecord)
    assert (record.starts_at, record.description) == (datetime(2026, 3, 5, 18, tzinfo=UTC), "Bring boots")
    assert full.records[0].modified_at == datetime(2026, 2, 27, 10, 0, 0, 123456, tzinfo=UTC)


async def test_outlook_window_moves_on_after_a_month() -> None:
    async with world(CASES["Outlook"]) as here:
        here.server.add(route(f"GET {DELTA}", outlook_page(here, delta="d1")))
        full = await drain(OUTLOOK, here.connection, "events")

        def later(days: int) -> Any:
            return replace(here.connection, now=NOW + timedelta(days=days))

        await drain(OUTLOOK, later(30), "events", state=full.state)
        with pytest.raises(StateExpired):
            await drain(OUTLOOK, later(31), "events", state=full.state)


@pytest.mark.parametrize(
    ("status", "code"), [(410, "resyncRequired"), (410, "SyncStateNotFound"), (400, "syncStateNotFound")]
)
async def test_outlook_state_that_expired_is_said_to_have(status: int, code: str) -> None:
    async with world(CASES["Outlook"]) as here:
        expired = outlook_calendar.error(status, code, "The sync state generation is not found")
        here.server.add(route(f"GET {DELTA}", outlook_page(here, delta="d1"), expired))
        full = await drain(OUTLOOK, here.connection, "events")
        with pytest.raises(StateExpired):
            await drain(OUTLOOK, here.connection, "events", state=full.state)


@pytest.mark.parametrize("link", ["https://evil.example.org/v1.0/me", "//evil.example.org/", "\\\\evil", 7])
@pytest.mark.parametrize("name", ["@odata.nextLink", "@odata.deltaLink"])
async def test_outlook_link_to_a_foreign_host_is_refused(name: str, link: Any) -> None:
    async with world(CASES["Outlook"]) as here:
        here.server.add(route(f"GET {DELTA}", Answer(200, {"value": [outlook_event("a")], name: link})))
        with pytest.raises(ProviderFailure, match=r"foreign host|not an address") as caught:
            await drain(OUTLOOK, here.connection, "events")
    assert caught.value.kind == "malformed"


async def test_outlook_link_with_the_hosts_name_as_user_is_refused() -> None:
    async with world(CASES["Outlook"]) as here:
        link = f"{here.server.address}@evil.example.org/v1.0/me"
        here.server.add(route(f"GET {DELTA}", Answer(200, {"value": [], "@odata.nextLink": link})))
        with pytest.raises(ProviderFailure, match="foreign host"):
            await drain(OUTLOOK, here.connection, "events")


async def test_outlook_occurrences_are_filled_up_from_their_series() -> None:
    """Graph sends the time of an occurrence only; its series may be on another page, or gone."""
    partial = {name: outlook_event("x")[name] for name in ("start", "end")}
    master = outlook_event("m", type="seriesMaster", subject="Rehearsal")
    rows = [
        {"id": "m1", "type": "occurrence", "seriesMasterId": "m", **partial},
        master,
        {"id": "n1", "type": "occurrence", "seriesMasterId": "n", **partial},
        {"id": "n2", "type": "occurrence", "seriesMasterId": "n", **partial},
        {"id": "o1", "type": "occurrence", "seriesMasterId": "o", **partial},
    ]
    async with world(CASES["Outlook"]) as here:
        here.server.add(
            route(f"GET {DELTA}", outlook_page(here, *rows, delta="d1")),
            route("GET /v1.0/me/events/n", Answer(200, outlook_event("n", subject="Setup"))),
            route("GET /v1.0/me/events/o", Answer(404, {})),
        )
        listing = await drain(OUTLOOK, here.connection, "events")
        assert here.server.lines.count("GET /v1.0/me/events/n") == 1
        titles = {
            record.external_id: OUTLOOK.to_internal("events", record)["title"] for record in listing.records
        }
    assert titles == {"m1": "Rehearsal", "m": "Rehearsal", "n1": "Setup", "n2": "Setup", "o1": ""}


ZONED = {"originalStartTimeZone": "W. Europe Standard Time"}
RULE = {"pattern": {"type": "daily", "interval": 1}, "range": {"type": "noEnd"}}


async def listed_outlook(*rows: dict[str, Any], **reads: Answer) -> list[SourceRecord]:
    async with world(CASES["Outlook"]) as here:
        here.server.add(
            route(f"GET {DELTA}", outlook_page(here, *rows, delta="d1")),
            *(route(f"GET /v1.0/me/events/{name}", answer) for name, answer in reads.items()),
        )
        return list((await drain(OUTLOOK, here.connection, "events")).records)


def told(record: SourceRecord) -> EventRecord:
    return EventRecord.model_validate(OUTLOOK.to_internal("events", record))


async def test_outlook_series_tell_their_zone_and_what_is_cancelled_and_occurrences_their_series() -> None:
    """The series is at 18:00 in UTC and 19:00 in Berlin; in summer 19:00 there is another hour in UTC."""
    times = {name: outlook_event("x")[name] for name in ("start", "end")}
    moved = {"seriesMasterId": "m", "type": "exception", "originalStart": "2026-03-06T18:00:00Z"}
    series, exception, occurrence = await listed_outlook(
        outlook_event("m", type="seriesMaster", recurrence=RULE, **ZONED),
        outlook_event("m1", **moved),
        {"id": "m2", "type": "occurrence", "seriesMasterId": "m", **times},
        m=Answer(200, {"id": "m", "cancelledOccurrences": ["OID.m.2026-03-07", "OID.m.2026-07-07", "odd"]}),
    )
    assert told(series).time_zone == "Europe/Berlin"
    assert told(series).cancelled_occurrences == [
        "2026-03-07T18:00:00Z",
        "2026-07-07T17:00:00Z",
    ]
    assert told(series).recurrence == ["RRULE:FREQ=DAILY;INTERVAL=1"]
    assert (told(exception).series_id, told(exception).original_starts_at) == (
        "m",
        datetime(2026, 3, 6, 18, tzinfo=UTC),
    )
    assert told(exception).starts_at == datetime(2026, 3, 5, 18, tzinfo=UTC)
    assert (told(occurrence).series_id, told(occurrence).original_starts_at) == (
        "m",
        datetime(2026, 3, 5, 18, tzinfo=UTC),
    )
    assert told(occurrence).time_zone == "Europe/Berlin"


async def test_outlook_occurrences_of_whole_days_are_told_as_days() -> None:
    day = {"isAllDay": True, "start": {"dateTime": "2026-03-06T00:00:00.0000000", "timeZone": "UTC"}}
    day["end"] = {"dateTime": "2026-03-07T00:00:00.0000000", "timeZone": "UTC"}
    series, occurrence = await listed_outlook(
        outlook_event("m", type="seriesMaster", recurrence=RULE, **ZONED, **day),
        outlook_event(
            "m1", type="occurrence", seriesMasterId="m", originalStart="2026-03-05T00:00:00Z", **day
        ),
        m=Answer(200, {"cancelledOccurrences": ["OID.m.2026-03-08"]}),
    )
    assert told(series).cancelled_occurrences == ["2026-03-08"]
    assert (told(occurrence).original_start_date, told(occurrence).original_starts_at) == (
        date(2026, 3, 5),
        None,
    )


@pytest.mark.parametrize("status", [403, 500, 503])
async def test_an_outlook_series_that_cannot_be_read_costs_its_occurrences_alone(status: int) -> None:
    times = {name: outlook_event("x")[name] for name in ("start", "end")}
    first, lone = await listed_outlook(
        {"id": "n1", "type": "occurrence", "seriesMasterId": "n", **times},
        outlook_event("a"),
        n=Answer(status, {}),
    )
    assert (first.external_id, lone.unread) == ("n1", None)
    assert first.unread is not None
    assert f"The provider answered {status}" in first.unread


@pytest.mark.parametrize(("status", "is_unread"), [(400, False), (403, False), (404, False), (503, True)])
async def test_an_outlook_series_without_what_is_cancelled_is_read_unless_that_may_come_yet(
    status: int, is_unread: bool
) -> None:
    series, exception = await listed_outlook(
        outlook_event("m", type="seriesMaster", recurrence=RULE),
        outlook_event("m1", type="exception", seriesMasterId="m", originalStart="2026-03-06T18:00:00Z"),
        m=Answer(status, {}),
    )
    assert (series.unread is not None, exception.unread) == (is_unread, None)
    assert told(series).cancelled_occurrences is None


async def test_an_outlook_mailbox_that_asks_to_wait_is_waited_for() -> None:
    with pytest.raises(ProviderFailure) as failure:
        await listed_outlook(
            outlook_event("m", type="seriesMaster"), m=Answer(429, {}, {"retry-after": "30"})
        )
    assert failure.value.kind == "rate_limited"


def test_outlook_lists_a_window_whose_edges_are_no_deletions() -> None:
    (profile,) = OUTLOOK.streams_of(CASES["Outlook"].configuration)
    assert not profile.complete_history


async def test_outlook_push_twice_makes_one_event() -> None:
    async with world(CASES["Outlook"]) as here:
        made = outlook_event("new", subject="Doors")
        here.server.add(
            route("GET /v1.0/me/events", Answer(200, {"value": []}), Answer(200, {"value": [made]})),
            route("POST /v1.0/me/events", Answer(201, made)),
        )
        request = PushRequest("events", "job-1/7", EVENT)
        results = [await OUTLOOK.push_record(here.connection, request) for _ in range(2)]
        assert here.server.lines == [
            "GET /v1.0/me/events",
            "POST /v1.0/me/events",
            "GET /v1.0/me/events",
        ]
        created = here.server.requests[1].json
        (marked,) = created["singleValueExtendedProperties"]
        assert created["transactionId"]
        assert marked["value"] in here.server.requests[2].query["$filter"]
        assert "attendees" not in created
    assert [result.external_id for result in results] == ["new", "new"]


@pytest.mark.parametrize(
    ("pattern", "span", "expected"),
    [
        (
            {"type": "weekly", "interval": 2, "daysOfWeek": ["monday", "friday"], "firstDayOfWeek": "monday"},
            {"type": "numbered", "numberOfOccurrences": 4},
            "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;WKST=MO;COUNT=4",
        ),
        (
            {"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["tuesday"], "index": "last"},
            {"type": "endDate", "endDate": "2026-12-31"},
            "RRULE:FREQ=MONTHLY;INTERVAL=1;BYDAY=TU;BYSETPOS=-1;UNTIL=20261231",
        ),
        (
            {"type": "absoluteYearly", "interval": 1, "dayOfMonth": 24, "month": 12},
            {"type": "noEnd"},
            "RRULE:FREQ=YEARLY;INTERVAL=1;BYMONTHDAY=24;BYMONTH=12",
        ),
        ({"type": "daily", "interval": 3}, {"type": "noEnd"}, "RRULE:FREQ=DAILY;INTERVAL=3"),
    ],
)
def test_outlook_series_have_an_icalendar_rule(
    pattern: dict[str, Any], span: dict[str, Any], expected: str
) -> None:
    assert rule({"pattern": pattern, "range": span}) == expected
