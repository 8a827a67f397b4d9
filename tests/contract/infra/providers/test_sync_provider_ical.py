"""Published calendars, and events in iCalendar format."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from domain.providers.contract import ProviderFailure
from domain.providers.records import PushRequest, StateExpired
from domain.sync.records import EventRecord
from infra.providers.ical.events import parse_feed, parse_resource, to_internal, write_event
from tests.fixtures.providers.ical import PRIVATE_PART
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, world
from tests.worlds.sync_drain import drain, streams

ICAL = streams("iCal")

FEED = f"GET /ical/{PRIVATE_PART}/basic.ics"
EVENT = {
    "title": "Doors, and more",
    "startsAt": "2026-03-05T18:00:00Z",
    "endsAt": "2026-03-05T19:00:00Z",
    "location": "Hall 2",
    "recurrence": ["RRULE:FREQ=WEEKLY;COUNT=3"],
}


def vevent(uid: str, *lines: str) -> str:
    given = (
        lines if any(line.startswith("DTSTART") for line in lines) else ("DTSTART:20260305T180000Z", *lines)
    )
    return "\r\n".join(("BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20260301T120000Z", *given, "END:VEVENT"))


def calendar(*events: str, zone: str = "") -> bytes:
    named = [f"X-WR-TIMEZONE:{zone}"] if zone else []
    lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", *named, *events, "END:VCALENDAR", "")
    return "\r\n".join(lines).encode()


def feed(*events: str, etag: str = '"1"') -> Answer:
    return Answer(200, calendar(*events), {"content-type": "text/calendar", "etag": etag})


async def test_an_unchanged_feed_is_an_empty_page_that_keeps_the_state() -> None:
    async with world(CASES["iCal"]) as here:
        last = {"etag": '"1"', "last-modified": "Fri, 27 Feb 2026 10:00:00 GMT"}
        here.server.add(
            route(FEED, Answer(200, calendar(vevent("a"), vevent("b")), last), Answer(304, b"", last))
        )
        full = await drain(ICAL, here.connection, "events")
        again = await drain(ICAL, here.connection, "events", state=full.state)
        assert here.server.requests[1].headers["if-none-match"] == '"1"'
        assert here.server.requests[1].headers["if-modified-since"] == "Fri, 27 Feb 2026 10:00:00 GMT"
    assert full.ids == ["a", "b"]
    assert (again.ids, again.state) == ([], full.state)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_feed_that_gives_nothing_where_nothing_was_known_does_not_say_that_there_is_nothing(
    status: int,
) -> None:
    async with world(CASES["iCal"]) as here:
        here.server.add(route(FEED, Answer(status)))
        (page,) = (await drain(ICAL, here.connection, "events")).pages
    assert (page.records, page.is_complete, page.next_state) == ((), False, None)


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_a_changed_feed_comes_whole_and_tells_what_is_gone(limit: int) -> None:
    async with world(CASES["iCal"]) as here:
        here.server.add(route(FEED, feed(vevent("a"), vevent("b"), vevent("c"))))
        full = await drain(ICAL, here.connection, "events", limit)
        here.server.add(route(FEED, feed(vevent("a", "SUMMARY:New"), vevent("d"), etag='"2"')))
        changes = await drain(ICAL, here.connection, "events", limit, state=full.state)
        here.server.add(route(FEED, feed(vevent("d"), etag='"3"')))
        last = await drain(ICAL, here.connection, "events", limit, state=changes.state)
    assert full.ids == ["a", "b", "c"]
    assert (sorted(changes.ids), changes.deleted) == (["a", "b", "c", "d"], ["b", "c"])
    assert last.deleted == ["a"]


async def test_a_feed_that_changes_while_it_is_paged_is_read_again_by_the_next_run() -> None:
    async with world(CASES["iCal"]) as here:
        here.server.add(
            route(
                FEED, feed(vevent("b"), vevent("c")), feed(vevent("a"), vevent("b"), vevent("c"), etag='"2"')
            )
        )
        full = await drain(ICAL, here.connection, "events", 1)
        await drain(ICAL, here.connection, "events", state=full.state)
        assert here.server.requests[-1].headers["if-none-match"] == '"1"'


async def test_state_of_another_feed_is_not_used() -> None:
    async with world(CASES["iCal"]) as here:
        here.server.add(route(FEED, feed(vevent("a"))))
        full = await drain(ICAL, here.connection, "events")
        configuration = CASES["iCal"].provider.profile.configuration.model_validate(
            {"feedUrl": f"{here.server.address}/other.ics"}
        )
        with pytest.raises(StateExpired):
            await drain(
                ICAL, replace(here.connection, configuration=configuration), "events", state=full.state
            )
        assert PRIVATE_PART not in (full.state or "")


async def test_a_feed_takes_no_records() -> None:
    async with world(CASES["iCal"]) as here:
        with pytest.raises(ProviderFailure, match="takes no records"):
            await ICAL.push_record(here.connection, PushRequest("events", "k", EVENT))


@pytest.mark.parametrize("body", [b"BEGIN:VCALENDAR\r\n", calendar(vevent("a"))[:-30]])
async def test_a_feed_that_is_cut_off_is_malformed(body: bytes) -> None:
    async with world(CASES["iCal"]) as here:
        here.server.add(route(FEED, Answer(200, body)))
        with pytest.raises(ProviderFailure) as caught:
            await drain(ICAL, here.connection, "events")
    assert caught.value.kind == "malformed"


GOOD = vevent("good", "SUMMARY:good")


def block(name: str, *lines: str) -> str:
    return "\r\n".join((f"BEGIN:{name}", *lines, f"END:{name}"))


@pytest.mark.parametrize(
    "odd",
    [
        vevent("other", block("VALARM", "TRIGGER;RELATED=END:", "ACTION:AUDIO")),
        vevent("other", block("VALARM", "TRIGGER:P1H", "DURATION:5 minutes", "REPEAT:x")),
        vevent("other", "LAST-MODIFIED:never", "ORGANIZER:", "GEO:here", "SEQUENCE:one"),
        vevent("other", block("VALARM", "no colon in here", "ATTACH;VALUE=BINARY:***")),
        vevent("other", block("VALARM", "TRIGGER:-PT5M")).replace("END:VALARM\r\n", ""),
        block("VTODO", "UID:t", "PERCENT-COMPLETE:half", "DTSTART:sometime", "RRULE:FREQ=NEVER"),
        block("VJOURNAL", "UID:j", "DTSTART;VALUE=DATE:99999999"),
        block("VFREEBUSY", "UID:f", "FREEBUSY:20260101T000000Z/never"),
        block("VAVAILABILITY", "UID:v", block("AVAILABLE", "DTSTART:x")),
        block("VTIMEZONE", "TZID:Z", block("STANDARD", "DTSTART:x", "TZOFFSETFROM:+99", "TZOFFSETTO:y")),
        block("VTIMEZONE", "LAST-MODIFIED:x"),
        "METHOD",
        "REFRESH-INTERVAL;VALUE=DURATION:daily",
        "END:VALARM",
        "END:X-UNKNOWN",
    ],
)
def test_what_is_wrong_beside_an_event_costs_no_event(odd: str) -> None:
    for events in ((odd, GOOD), (GOOD, odd)):
        records = {record.external_id: record for record in parse_feed(calendar(*events))}
        assert records.pop("good").data["summary"] == "good"
        assert all("problem" not in record.data for record in records.values())
        assert list(records) == (["other"] if "UID:other" in odd else [])


@pytest.mark.parametrize("around", ["<!-- made by x -->", "\r\n\r\nhello", "X-Y:z"])
def test_text_after_the_calendar_is_no_part_of_it(around: str) -> None:
    assert [found.external_id for found in parse_feed(calendar(GOOD) + around.encode())] == ["good"]


def test_calendars_one_after_the_other_are_all_read() -> None:
    both = calendar(vevent("a", "DTSTART:20260305T190000"), zone="Asia/Tokyo") + calendar(
        vevent("b", "DTSTART:20260305T190000"), zone="Europe/Berlin"
    )
    assert [found.data["start"] for found in parse_feed(both)] == [
        "2026-03-05T10:00:00.000000Z",
        "2026-03-05T18:00:00.000000Z",
    ]


@pytest.mark.parametrize("line", ["RECURRENCE-ID:someday", "RECURRENCE-ID;TZID=Nowhere:20260312T180000"])
async def test_an_event_that_cannot_be_named_passes_for_no_other_and_deletes_none(line: str) -> None:
    async with world(CASES["iCal"]) as here:
        series = vevent("a", "RRULE:FREQ=WEEKLY", "SUMMARY:series")
        here.server.add(route(FEED, feed(series, vevent("b"))))
        full = await drain(ICAL, here.connection, "events")
        here.server.add(route(FEED, feed(series, vevent("a", line), etag='"2"')))
        odd = await drain(ICAL, here.connection, "events", state=full.state)
        here.server.add(route(FEED, feed(series, etag='"3"')))
        last = await drain(ICAL, here.connection, "events", state=odd.state)
    assert (odd.deleted, odd.pages[-1].is_complete) == ([], False)
    assert next(record for record in odd.records if record.external_id == "a").data["summary"] == "series"
    assert last.deleted == ["b", *[name for name in odd.ids if name.startswith("unnamed-")]]


def zoned(offset: str | None, name: str = "Our own zone", start: str = "20260701T140000") -> bytes:
    defined = (
        []
        if offset is None
        else [
            block(
                "VTIMEZONE",
                f"TZID:{name}",
                block(
                    "STANDARD", "DTSTART:19700101T000000", f"TZOFFSETFROM:{offset}", f"TZOFFSETTO:{offset}"
                ),
            )
        ]
    )
    return calendar(vevent("a", f"DTSTART;TZID={name}:{start}", "DURATION:PT1H"), *defined)


def test_a_time_zone_means_something_in_its_own_calendar_only() -> None:
    hours = {"+0500": "09", "-0300": "17", "+1100": "03"}
    for offset, hour in hours.items():
        (found,) = parse_feed(zoned(offset))
        assert found.data["start"] == f"2026-07-01T{hour}:00:00.000000Z"
        assert found.data["end"] == f"2026-07-01T{int(hour) + 1:02}:00:00.000000Z"
    (nowhere,) = parse_feed(zoned(None))
    assert "problem" in nowhere.data


def test_an_event_changed_here_keeps_the_zone_that_only_its_calendar_defines() -> None:
    event = EventRecord.model_validate(EVENT | {"recurrence": []})
    written = write_event(event, "a", NOW, zoned("+0500")).decode()
    write_event(event, "a", NOW, zoned("-0300"))
    assert "DTSTART;TZID=Our own zone:20260305T230000\r\n" in written
    assert "DTEND;TZID=Our own zone:20260306T000000\r\n" in written
    assert "TZOFFSETTO:+0500" in written


LETTERS = "Žluťoučký kůň — 🎪"


@pytest.mark.parametrize(
    ("charset", "mark"),
    [
        ("utf-8", b""),
        ("UTF-8", b"\xef\xbb\xbf"),
        ("utf-16", b""),
        ("iso-8859-2", b""),
        ("windows-1250", b""),
        ("unheard-of", b""),
    ],
)
async def test_letters_come_as_the_declared_charset_says(charset: str, mark: bytes) -> None:
    text = (
        LETTERS
        if charset.lower().startswith("utf")
        else "Žluťoučký kůň"
        if charset != "unheard-of"
        else "plain"
    )
    body = mark + calendar(vevent("a", f"SUMMARY:{text}")).decode().encode(
        charset if charset != "unheard-of" else "ascii"
    )
    async with world(CASES["iCal"]) as here:
        answer = Answer(200, body, {"content-type": f'text/calendar; charset="{charset}"'})
        here.server.add(route(FEED, answer))
        (found,) = (await drain(ICAL, here.connection, "events")).records
    assert found.data["summary"] == text


@pytest.mark.parametrize("fold", [b"\r\n ", b"\n\t"])
def test_a_line_may_be_folded_within_a_letter(fold: bytes) -> None:
    text = f"SUMMARY:{LETTERS}".encode()
    for cut in range(9, len(text)):
        body = calendar(vevent("a", "PLACE:")).replace(b"PLACE:", text[:cut] + fold + text[cut:])
        assert parse_feed(body)[0].data["summary"] == LETTERS


@pytest.mark.parametrize(
    ("line", "summary"),
    [
        ("SUMMARY;ENCODING=QUOTED-PRINTABLE:J=C3=BCrgen, Chor; 7=3D=5C", "Jürgen, Chor; 7=\\"),
        ("SUMMARY;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:J=FCrgen", "Jürgen"),
        ('SUMMARY;X-A="b:c";QUOTED-PRINTABLE;CHARSET=utf-8:=E2=82=AC=0D=0Afee', "€\nfee"),
        ("SUMMARY;encoding=quoted-printable:J=C3=\r\n=BCr=\r\ngen", "Jürgen"),
        ("SUMMARY;ENCODING=QUOTED-PRINTABLE:=ED=A0=BD=ZZ", "\ufffd\ufffd\ufffd=ZZ"),
        ("SUMMARY:a=C3=BC;ENCODING=QUOTED-PRINTABLE:b", "a=C3=BC;ENCODING=QUOTED-PRINTABLE:b"),
    ],
)
def test_values_that_are_quoted_printable_are_written_out(line: str, summary: str) -> None:
    (found,) = parse_feed(calendar(vevent("a", line, "LOCATION:Hall =", "DESCRIPTION:a\u2028b")))
    assert (found.data["summary"], found.data["location"]) == (summary, "Hall =")
    assert found.data["description"] == "a\u2028b"


def test_altered_occurrences_are_records_of_their_own() -> None:
    body = calendar(
        vevent("a", "RRULE:FREQ=WEEKLY;COUNT=3", "EXDATE:20260312T180000Z"),
        vevent("a", "RECURRENCE-ID:20260319T180000Z", "DTSTART:20260319T190000Z"),
    )
    series, altered = parse_feed(body)
    assert (series.external_id, altered.external_id) == ("a", "a#2026-03-19T18:00:00.000000Z")
    record = EventRecord.model_validate(to_internal(series))
    assert record.recurrence == ["RRULE:FREQ=WEEKLY;COUNT=3", "EXDATE:20260312T180000Z"]


@pytest.mark.parametrize(
    ("lines", "starts", "ends"),
    [
        (["DTSTART;TZID=Europe/Berlin:20260305T190000", "DURATION:PT90M"], (18, 0), (19, 30)),
        (["DTSTART;TZID=W. Europe Standard Time:20260305T190000"], (18, 0), None),
        (["DTSTART:20260305T190000"], (0, 0), None),  # floating: in the calendar's zone, which is Tokyo
    ],
)
def test_times_are_told_in_utc(
    lines: list[str], starts: tuple[int, int], ends: tuple[int, int] | None
) -> None:
    (found,) = parse_feed(calendar(vevent("a", *lines), zone="Asia/Tokyo"))
    record = EventRecord.model_validate(to_internal(found))
    expected = (
        datetime(2026, 3, 5, *starts, tzinfo=UTC)
        if starts != (0, 0)
        else datetime(2026, 3, 5, 10, tzinfo=UTC)
    )
    assert record.starts_at == expected
    assert record.ends_at == (datetime(2026, 3, 5, *ends, tzinfo=UTC) if ends else None)


def test_whole_days_and_people_are_told() -> None:
    (found,) = parse_feed(
        calendar(
            vevent(
                "a",
                "DTSTART;VALUE=DATE:20260305",
                "ORGANIZER;CN=Ada:mailto:ada@example.com",
                "ATTENDEE;CN=Bo;PARTSTAT=ACCEPTED:MAILTO:bo@example.com",
                "LAST-MODIFIED:20260227T100000Z",
            )
        )
    )
    record = EventRecord.model_validate(to_internal(found))
    assert (record.start_date, record.end_date) == (date(2026, 3, 5), date(2026, 3, 6))
    assert record.organizer is not None
    assert (record.organizer.name, record.attendees[0].email) == ("Ada", "bo@example.com")
    assert found.modified_at == datetime(2026, 2, 27, 10, tzinfo=UTC)


def test_events_that_cannot_be_read_are_counted_and_hide_no_other() -> None:
    body = calendar(
        vevent("a"), vevent("b", "DTSTART:garbage"), vevent("c", "DTSTART;TZID=Nowhere/X:20260305T190000"),
        vevent("", "SUMMARY:No identity"), "BEGIN:VEVENT\r\nUID:e\r\nEND:VEVENT",
    )  # fmt: skip
    found = parse_feed(body)
    assert len(found) == 5
    for record in found[1:]:
        with pytest.raises(ValueError, match="cannot be read"):
            to_internal(record)
    assert to_internal(found[0])["allDay"] is False


def test_the_version_tells_a_change_from_a_new_copy() -> None:
    (first,) = parse_feed(calendar(vevent("a")))
    (copied,) = parse_feed(calendar(vevent("a")).replace(b"DTSTAMP:20260301", b"DTSTAMP:20260302"))
    (changed,) = parse_feed(calendar(vevent("a", "SUMMARY:x")))
    assert first.version == copied.version != changed.version
    assert first.data == copied.data


def test_changing_an_event_keeps_its_zone_and_what_is_not_ours() -> None:
    there = calendar(
        vevent("a", "DTSTART;TZID=Europe/Berlin:20260305T190000", "X-KEPT:yes", "RRULE:FREQ=WEEKLY;COUNT=9"),
        vevent("a", "RECURRENCE-ID;TZID=Europe/Berlin:20260312T190000", "DTSTART:20260312T200000Z"),
    )
    event = EventRecord.model_validate(EVENT | {"startsAt": "2026-03-05T20:00:00Z"})
    text = write_event(event, "unused", NOW, there).decode()
    assert "DTSTART;TZID=Europe/Berlin:20260305T210000" in text
    assert "X-KEPT:yes" in text
    assert text.count("BEGIN:VEVENT") == 2
    assert "COUNT=9" not in text
    assert "unused" not in text


SERIES = vevent("s", "SUMMARY:Choir", "DTSTART;TZID=Europe/Berlin:20260706T140000", "RRULE:FREQ=WEEKLY")
MOVED = vevent("s", "RECURRENCE-ID;TZID=Europe/Berlin:20260720T140000", "DTSTART:20260722T070000Z")
CANCELLED = vevent("s", "RECURRENCE-ID:20260803T120000Z", "STATUS:CANCELLED", "DTSTART:20260803T120000Z")


def events(*components: str, **head: str) -> dict[str, EventRecord]:
    return {
        record.external_id: EventRecord.model_validate(to_internal(record))
        for record in parse_feed(calendar(*components, **head))
    }


def test_a_series_tells_its_zone_and_what_is_cancelled_and_a_moved_occurrence_its_series() -> None:
    excluded = SERIES.replace("END:VEVENT", "EXDATE;TZID=Europe/Berlin:20260713T140000\r\nEND:VEVENT")
    told = events(excluded, MOVED, CANCELLED)
    series, moved, cancelled = told.values()
    assert series.time_zone == "Europe/Berlin"
    assert series.cancelled_occurrences == ["2026-07-13T12:00:00Z", "2026-08-03T12:00:00Z"]
    assert (series.series_id, series.original_starts_at) == (None, None)
    assert (moved.series_id, moved.original_starts_at) == ("s", datetime(2026, 7, 20, 12, tzinfo=UTC))
    assert (cancelled.series_id, cancelled.status) == ("s", "cancelled")


def test_a_series_of_whole_days_tells_its_occurrences_as_days() -> None:
    series, moved = events(
        vevent("d", "DTSTART;VALUE=DATE:20260706", "RRULE:FREQ=DAILY", "EXDATE;VALUE=DATE:20260707,20260709"),
        vevent("d", "RECURRENCE-ID;VALUE=DATE:20260708", "DTSTART;VALUE=DATE:20260718"),
    ).values()
    assert (series.time_zone, series.cancelled_occurrences) == (None, ["2026-07-07", "2026-07-09"])
    assert (moved.original_start_date, moved.original_starts_at) == (date(2026, 7, 8), None)


@pytest.mark.parametrize(
    ("start", "zone", "name"),
    [
        ("DTSTART;TZID=America/New_York:20260706T140000", "", "America/New_York"),
        ("DTSTART;TZID=W. Europe Standard Time:20260706T140000", "", "Europe/Berlin"),
        ("DTSTART:20260706T140000", "Asia/Tokyo", "Asia/Tokyo"),
        ("DTSTART:20260706T140000", "", None),
        ("DTSTART:20260706T140000Z", "Asia/Tokyo", None),
        ("DTSTART;VALUE=DATE:20260706", "Asia/Tokyo", None),
    ],
)
def test_the_zone_that_an_event_is_meant_in_is_told(start: str, zone: str, name: str | None) -> None:
    (event,) = events(vevent("a", start), **({"zone": zone} if zone else {})).values()
    assert event.time_zone == name


def resource(*components: str) -> EventRecord:
    record = parse_resource("s.ics", '"1"', calendar(*components))
    assert record is not None
    return EventRecord.model_validate(to_internal(record))


def test_a_resource_is_one_record_with_its_moved_and_cancelled_occurrences() -> None:
    later = MOVED.replace("END:VEVENT", "LAST-MODIFIED:20260701T000000Z\r\nSUMMARY:Later\r\nEND:VEVENT")
    stale = CANCELLED.replace("STATUS:CANCELLED", "STATUS:CONFIRMED\r\nSEQUENCE:0").replace(
        "DTSTAMP:2026", "DTSTAMP:2025"
    )
    record = parse_resource("s.ics", '"1"', calendar(stale, later, CANCELLED, SERIES))
    assert record is not None
    assert record.modified_at == datetime(2026, 7, 1, tzinfo=UTC)
    event = EventRecord.model_validate(to_internal(record))
    assert (event.title, event.time_zone, event.series_id) == ("Choir", "Europe/Berlin", None)
    assert event.cancelled_occurrences == ["2026-08-03T12:00:00Z"]
    assert event.occurrences is not None
    (moved,) = event.occurrences
    assert (moved.original_starts_at, moved.starts_at, moved.title) == (
        datetime(2026, 7, 20, 12, tzinfo=UTC),
        datetime(2026, 7, 22, 7, tzinfo=UTC),
        "Later",
    )


def test_an_invitation_to_single_occurrences_names_their_series() -> None:
    event = resource(MOVED, CANCELLED)
    assert (event.series_id, event.original_starts_at) == ("s", datetime(2026, 7, 20, 12, tzinfo=UTC))
    assert event.cancelled_occurrences == ["2026-08-03T12:00:00Z"]


def test_an_occurrence_that_stands_for_those_after_it_says_so() -> None:
    lasting = MOVED.replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    assert events(SERIES, lasting)["s#2026-07-20T12:00:00.000000Z"].this_and_future is True
    (altered,) = resource(SERIES, lasting).occurrences or ()
    assert altered.this_and_future is True


def test_an_event_without_occurrences_says_nothing_of_them() -> None:
    told = resource(vevent("a")).model_dump(exclude_none=True)
    assert not {"cancelled_occurrences", "occurrences", "series_id", "time_zone"} & set(told)


def test_a_calendar_that_cancels_is_understood() -> None:
    body = calendar(vevent("a")).replace(b"VERSION:2.0", b"VERSION:2.0\r\nMETHOD:CANCEL")
    assert to_internal(parse_feed(body)[0])["status"] == "cancelled"


def revision(sequence: int | None, stamp: str, *more: str, uid: str = "a") -> str:
    numbered = [f"SEQUENCE:{sequence}"] if sequence is not None else []
    return vevent(uid, *numbered, *more).replace("DTSTAMP:20260301", f"DTSTAMP:{stamp}")


@pytest.mark.parametrize(
    ("revisions", "title", "shares_id"),
    [
        # Another SEQUENCE: the higher one stands, whatever was written later.
        ((revision(2, "20260301", "SUMMARY:x"), revision(1, "20260302", "SUMMARY:y")), "x", False),
        ((revision(1, "20260302", "SUMMARY:y"), revision(2, "20260301", "SUMMARY:x")), "x", False),
        ((revision(None, "20260302", "SUMMARY:y"), revision(1, "20260301", "SUMMARY:x")), "x", False),
        # The same: the later DTSTAMP, where the times are those of before.
        ((revision(1, "20260302", "SUMMARY:x"), revision(1, "20260301", "SUMMARY:y")), "x", False),
        # A copy is no other record.
        ((revision(1, "20260301", "SUMMARY:x"), revision(1, "20260301", "SUMMARY:x")), "x", False),
        # Neither tells them apart, or the times changed without another SEQUENCE.
        ((revision(1, "20260301", "SUMMARY:y"), revision(1, "20260301", "SUMMARY:x")), "x", True),
        (
            (revision(0, "20260301", "DTSTART:20260101T100000Z"), revision(0, "20260302", "SUMMARY:x")),
            "x",
            True,
        ),
    ],
)
def test_revisions_are_told_apart_and_others_with_one_id_are_noticed(
    revisions: Sequence[str], title: str, shares_id: bool
) -> None:
    (found,) = parse_feed(calendar(*revisions))
    assert (to_internal(found)["title"], found.repeats, found.shares_id) == (title, 1, shares_id)
    sequences = [text.partition("SEQUENCE:")[2].partition("\r")[0] for text in revisions]
    assert found.sequence == max(int(number or 0) for number in sequences)
    kept = parse_resource("a.ics", '"1"', calendar(*revisions))
    assert kept is not None
    assert (kept.sequence, kept.repeats, kept.shares_id) == (None, 1, shares_id)
