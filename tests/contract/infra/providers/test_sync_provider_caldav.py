"""CalDAV calendars, in and out, against a real server, and against what such servers may answer."""

import http.client
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from domain.providers.contract import Connection, ProviderFailure
from domain.providers.records import ListingRequest, PushRequest, StateExpired
from domain.sync.records import EventRecord
from infra.providers.ical.adapter import PROVIDER as ICAL_PROVIDER
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.caldav_peer import PASSWORD, account, make_calendar
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_peers import connected, radicale
from tests.worlds.provider_world import world
from tests.worlds.sync_drain import drain, internal, streams

ICAL = streams("iCal")

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


@pytest.fixture
def caldav(tmp_path: Path) -> Iterator[str]:
    """A CalDAV server on which ada has the calendar `Shifts`."""
    with radicale(tmp_path, "ada", PASSWORD) as address:
        make_calendar(address, "ada", PASSWORD, "Shifts")
        yield address


def call(address: str, method: str, name: str, body: bytes = b"") -> None:
    """As another client of the server would."""
    server = http.client.HTTPConnection(urlsplit(address).netloc)
    token = b64encode(f"ada:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "text/calendar"}
    server.request(method, f"/ada/shifts/{name}", body, headers)
    assert server.getresponse().status in (200, 201, 204)
    server.close()


@pytest.mark.parametrize("limit", [2, 1000])
async def test_caldav_lists_everything_then_changes_and_deletions(caldav: str, limit: int) -> None:
    for name in ("a.ics", "b c.ics", "d.ics", "x+%.ics"):
        call(caldav, "PUT", quote(name), calendar(vevent(f"uid-{name}")))
    async with connected(ICAL_PROVIDER, account(caldav)) as connection:
        full = await drain(ICAL, connection, "events", limit)
        call(caldav, "PUT", "a.ics", calendar(vevent("uid-a.ics", "SUMMARY:Changed")))
        call(caldav, "DELETE", "d.ics")
        call(caldav, "PUT", "e.ics", calendar(vevent("uid-e")))
        changes = await drain(ICAL, connection, "events", limit, state=full.state)
        nothing = await drain(ICAL, connection, "events", limit, state=changes.state)
        record = internal(ICAL, connection, "events", changes.records[0])
    assert full.ids == ["a.ics", "b c.ics", "d.ics", "x+%.ics"]
    assert (changes.ids, changes.deleted) == (["a.ics", "d.ics", "e.ics"], ["d.ics"])
    assert nothing.ids == []
    assert isinstance(record, EventRecord)
    assert record.title == "Changed"
    assert full.records[0].version


async def test_caldav_change_while_listing_comes_with_the_next_run(caldav: str) -> None:
    for name in ("a.ics", "b.ics", "c.ics"):
        call(caldav, "PUT", name, calendar(vevent(f"uid-{name}")))
    async with connected(ICAL_PROVIDER, account(caldav)) as connection:
        cursor: str | None = None
        listed: list[str] = []
        while True:
            page = await ICAL.list_records(connection, ListingRequest("events", 1, cursor))
            listed += [record.external_id for record in page.records]
            if cursor is None:
                call(caldav, "PUT", "a.ics", calendar(vevent("uid-a.ics", "SUMMARY:Changed")))
            cursor = page.next_cursor
            if cursor is None:
                break
        changes = await drain(ICAL, connection, "events", state=page.next_state)
    assert listed == ["a.ics", "b.ics", "c.ics"]
    assert changes.ids == ["a.ics"]


async def test_caldav_token_that_is_no_longer_known_is_said_to_be_so(caldav: str) -> None:
    call(caldav, "PUT", "a.ics", calendar(vevent("a")))
    async with connected(ICAL_PROVIDER, account(caldav)) as connection:
        full = await drain(ICAL, connection, "events")
        assert full.state is not None
        unknown = full.state.replace(full.state.rpartition("/")[2][:20], "0" * 20)
        assert unknown != full.state
        with pytest.raises(StateExpired):
            await drain(ICAL, connection, "events", state=unknown)


async def test_caldav_push_twice_makes_one_event(caldav: str, tmp_path: Path) -> None:
    async with connected(ICAL_PROVIDER, account(caldav)) as connection:
        request = PushRequest("events", "job-1/7", EVENT)
        first = await ICAL.push_record(connection, request)
        again = await ICAL.push_record(connection, request)
        listing = await drain(ICAL, connection, "events")
        record = internal(ICAL, connection, "events", listing.records[0])
    assert again == replace(first, modified_at=again.modified_at)
    assert listing.ids == [first.external_id]
    assert listing.records[0].version == first.version
    assert isinstance(record, EventRecord)
    assert (record.title, record.location) == ("Doors, and more", "Hall 2")
    assert record.recurrence == ["RRULE:FREQ=WEEKLY;COUNT=3"]


async def test_caldav_push_changes_and_deletes_only_what_it_knows(caldav: str) -> None:
    async with connected(ICAL_PROVIDER, account(caldav)) as connection:
        made = await ICAL.push_record(connection, PushRequest("events", "k", EVENT))
        change = PushRequest(
            "events", "k2", EVENT | {"title": "Later"}, external_id=made.external_id, if_version=made.version
        )
        changed = await ICAL.push_record(connection, change)
        assert changed.version != made.version
        assert (await ICAL.push_record(connection, change)).version == changed.version  # its answer was lost
        stale = replace(change, data=EVENT | {"title": "Too late"})
        for request in (stale, replace(stale, deleted=True)):
            with pytest.raises(ProviderFailure, match="changed at the provider") as caught:
                await ICAL.push_record(connection, request)
            assert (caught.value.kind, caught.value.status) == ("rejected", 412)
        gone = replace(change, deleted=True, if_version=changed.version)
        for _ in range(2):
            assert (await ICAL.push_record(connection, gone)).external_id == made.external_id
        left = await drain(ICAL, connection, "events")
        assert left.ids == left.deleted
        with pytest.raises(ProviderFailure, match="no longer exists"):
            await ICAL.push_record(connection, replace(change, if_version=None))


def multistatus(*responses: str, token: str = "") -> Answer:
    tail = f"<D:sync-token>{token}</D:sync-token>" if token else ""
    text = f'<D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">{"".join(responses)}{tail}'
    return Answer(207, f"{text}</D:multistatus>".encode())


def member(href: str, properties: str = "<D:getetag>1</D:getetag>") -> str:
    ok = "<D:status>HTTP/1.1 200 OK</D:status>"
    return f"<D:response><D:href>{href}</D:href><D:propstat><D:prop>{properties}</D:prop>{ok}</D:propstat></D:response>"


def with_data(href: str, uid: str) -> str:
    return member(
        href, f"<D:getetag>1</D:getetag><C:calendar-data>{calendar(vevent(uid)).decode()}</C:calendar-data>"
    )


DISCOVERY = [
    route(
        "PROPFIND /",
        multistatus(
            member("/", "<D:current-user-principal><D:href>/ada/</D:href></D:current-user-principal>")
        ),
    ),
    route(
        "PROPFIND /ada/",
        multistatus(member("/ada/", "<C:calendar-home-set><D:href>/home/</D:href></C:calendar-home-set>")),
    ),
    route(
        "PROPFIND /home/",
        multistatus(
            member(
                "/home/c/",
                "<D:resourcetype><C:calendar/></D:resourcetype><D:displayname>C</D:displayname>"
                "<D:sync-token>t0</D:sync-token>",
            )
        ),
    ),
]


async def scripted(answers: list[Answer], check: Callable[[Connection], Any]) -> list[str]:
    """The bodies of the reports that the scripted CalDAV server was asked for."""
    changes = {"feedUrl": None, "username": "ada", "password": PASSWORD}
    async with world(CASES["iCal"]) as here:
        here.server.add(*DISCOVERY, route("REPORT /home/c/", *answers))
        given = changes | {"serverUrl": here.server.address}
        configuration = ICAL_PROVIDER.profile.configuration.model_validate(given)
        await check(replace(here.connection, configuration=configuration))
        return [request.body.decode() for request in here.server.requests if request.method == "REPORT"]


async def test_caldav_listing_that_the_server_cuts_goes_on_with_the_new_token() -> None:
    """RFC 6578 section 3.6."""
    more = "<D:response><D:href>/home/c/</D:href><D:status>HTTP/1.1 507 Insufficient Storage</D:status></D:response>"
    gone = (
        "<D:response><D:href>/home/c/b.ics</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>"
    )

    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        assert (listing.ids, listing.deleted) == (["a.ics", "b.ics"], ["b.ics"])
        assert "t2" in (listing.state or "")

    asked = await scripted(
        [
            multistatus(member("/home/c/a.ics"), more, token="t1"),
            multistatus(with_data("/home/c/a.ics", "a")),
            multistatus(gone, token="t2"),
        ],
        check,
    )
    assert len(asked) == 3  # what is gone is not fetched
    assert "<D:sync-token></D:sync-token>" in asked[0]
    assert "<D:sync-token>t1</D:sync-token>" in asked[2]


@pytest.mark.parametrize(
    "href", ["https://evil.example.org/home/c/a.ics", "/home/other/a.ics", "../c2/a.ics"]
)
async def test_caldav_resource_outside_of_the_calendar_is_refused(href: str) -> None:
    async def check(connection: Connection) -> None:
        with pytest.raises(ProviderFailure, match="outside of the calendar") as caught:
            await drain(ICAL, connection, "events")
        assert caught.value.kind == "malformed"

    await scripted([multistatus(member(href), token="t1")], check)


async def test_caldav_refusal_that_is_not_about_the_token_is_no_expiry() -> None:
    async def check(connection: Connection) -> None:
        with pytest.raises(ProviderFailure) as caught:
            await drain(ICAL, connection, "events")
        assert caught.value.kind == "forbidden"

    await scripted([Answer(403, b"<D:error xmlns:D='DAV:'><D:need-privileges/></D:error>")], check)
