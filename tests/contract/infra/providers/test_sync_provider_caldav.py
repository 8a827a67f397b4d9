"""CalDAV calendars, in and out, against a real server, and against what such servers may answer."""

import http.client
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from domain.providers.contract import (
    Connection,
    ProviderFailure,
    ProviderHttp,
    ProviderRequest,
    ProviderResponse,
)
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
    assert full.ids == ["a.ics", "b c.ics", "d.ics", "x%2B%25.ics"]
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
    "href",
    [
        "https://evil.example.org/home/c/a.ics",
        "/home/other/a.ics",
        "../c2/a.ics",
        "/home/c/%2e%2e/secret",
        "http://[/a.ics",
        "",
    ],
)
async def test_caldav_resource_outside_of_the_calendar_is_not_followed_and_costs_no_other(href: str) -> None:
    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        assert listing.ids == ["b.ics"]
        assert "outside of the calendar" in (listing.pages[-1].problem or "")

    asked = await scripted(
        [
            multistatus(member(href), member("/home/c/b.ics"), token="t1"),
            multistatus(with_data("/home/c/b.ics", "b")),
        ],
        check,
    )
    assert "<D:href>/home/c/b.ics</D:href></C:calendar-multiget>" in asked[1]


def told(href: str, status: str) -> str:
    return f"<D:response><D:href>{href}</D:href><D:status>HTTP/1.1 {status}</D:status></D:response>"


LISTED = multistatus(member("/home/c/a.ics"), member("/home/c/b.ics"), token="t1")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (told("/home/c/b.ics", "403 Forbidden"), "answered 403"),
        (told("/home/c/b.ics", "423 Locked"), "answered 423"),
        (told("/home/c/b.ics", "503 Service Unavailable"), "answered 503"),
        (member("/home/c/b.ics"), "gave no content"),
        (member("/home/c/b.ics", "<C:calendar-data/>").replace("200 OK", "404 Not Found"), "no calendar"),
        ("", "left this resource out"),
        (told("/home/c/c.ics", "404 Not Found"), "left this resource out"),
    ],
)
async def test_caldav_resource_that_is_not_given_is_not_taken_for_deleted(answer: str, reason: str) -> None:
    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        first, second = listing.records
        assert (first.external_id, first.unread) == ("a.ics", None)
        assert (second.external_id, second.deleted) == ("b.ics", False)
        assert reason in (second.unread or second.data["problem"])

    await scripted([LISTED, multistatus(with_data("/home/c/a.ics", "a"), answer)], check)


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
async def test_caldav_resources_that_are_gone_may_share_one_answer(status: str) -> None:
    both = told("/home/c/a.ics</D:href><D:href>/home/c/b.ics", status)

    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        assert listing.deleted == ["a.ics", "b.ics"]

    await scripted([LISTED, multistatus(both)], check)


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("/home/c/x%40y.ics", "x%40y.ics"),
        ("/home/c/x@y.ics", "x@y.ics"),
        ("/home/c/it%27s%2c.ics", "it%27s%2c.ics"),
        ("/home/c/caf%c3%a9.ics", "caf%c3%a9.ics"),
        ("/home/c/caf%C3%A9.ics", "café.ics"),
        ("/home/c/a+b(1).ics", "a+b(1).ics"),
        ("/h%6fme/c/a.ics", "a.ics"),
    ],
)
async def test_caldav_resource_is_asked_for_as_the_server_wrote_it(href: str, name: str) -> None:
    async def check(connection: Connection) -> None:
        assert (await drain(ICAL, connection, "events")).ids == [name]

    asked = await scripted(
        [multistatus(member(href), token="t1"), multistatus(with_data(href, "a"))],
        check,
    )
    assert f"<D:href>{href}</D:href>" in asked[1]


async def test_caldav_resource_answered_under_another_spelling_is_the_one_that_was_asked_for() -> None:
    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        assert [(record.external_id, record.unread) for record in listing.records] == [("x%40y.ics", None)]

    listed = multistatus(member("/home/c/x%40y.ics"), token="t1")
    await scripted([listed, multistatus(with_data("/home/c/x@y.ics", "a"))], check)


@pytest.mark.parametrize(
    ("name", "path"),
    [("x%40y.ics", "x%40y.ics"), ("x@y.ics", "x@y.ics"), ("b c.ics", "b%20c.ics"), ("é.ics", "%C3%A9.ics")],
)
async def test_caldav_change_goes_to_the_resource_as_the_server_wrote_it(name: str, path: str) -> None:
    changes = {"feedUrl": None, "username": "ada", "password": PASSWORD}
    async with world(CASES["iCal"]) as here:
        here.server.add(*DISCOVERY, route("DELETE /home/c/*", Answer(204)))
        configuration = ICAL_PROVIDER.profile.configuration.model_validate(
            changes | {"serverUrl": here.server.address}
        )
        kept = Kept(here.connection.http)
        request = PushRequest("events", "k", {}, external_id=name, deleted=True)
        await ICAL.push_record(replace(here.connection, http=kept, configuration=configuration), request)
        assert kept.asked[-1].url == f"{here.server.address}/home/c/{path}"


class Kept:
    """ProviderHttp that keeps what it was asked."""

    def __init__(self, http: ProviderHttp) -> None:
        self._http = http
        self.asked: list[ProviderRequest] = []

    async def send(self, request: ProviderRequest) -> ProviderResponse:
        self.asked.append(request)
        return await self._http.send(request)

    async def expect(self, request: ProviderRequest, *statuses: int) -> ProviderResponse:
        self.asked.append(request)
        return await self._http.expect(request, *statuses)


@pytest.mark.parametrize("odd", ["<C:calendar-data>a & b", "<C:calendar-data>\x0b<<", "<D:what"])
async def test_caldav_answer_of_which_one_resource_is_no_xml_gives_the_others(odd: str) -> None:
    broken = f"<D:response><D:href>/home/c/b.ics</D:href><D:propstat><D:prop>{odd}</D:response>"

    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        assert [record.external_id for record in listing.records if record.unread is None] == [
            "a.ics",
            "c.ics",
        ]
        assert [record.external_id for record in listing.records if record.unread] == ["b.ics"]

    data = with_data("/home/c/a.ics", "a"), broken, with_data("/home/c/c.ics", "c")
    members = [member(f"/home/c/{name}.ics") for name in "abc"]
    await scripted([multistatus(*members, token="t1"), multistatus(*data)], check)


@pytest.mark.parametrize("character", ["\x0b", "&#x1F;", "&#0;", "&#xD800;", "&#99999999;", "\ufffe"])
async def test_caldav_character_that_xml_cannot_carry_is_replaced(character: str) -> None:
    async def check(connection: Connection) -> None:
        (record,) = (await drain(ICAL, connection, "events")).records
        assert record.data["summary"] == "a\ufffdb"

    data = with_data("/home/c/a.ics", "a").replace("END:VEVENT", f"SUMMARY:a{character}b\r\nEND:VEVENT")
    await scripted([multistatus(member("/home/c/a.ics"), token="t1"), multistatus(data)], check)


async def test_caldav_answer_that_ends_early_is_malformed() -> None:
    cut = multistatus(with_data("/home/c/a.ics", "a"), with_data("/home/c/b.ics", "b"))

    async def check(connection: Connection) -> None:
        with pytest.raises(ProviderFailure) as caught:
            await drain(ICAL, connection, "events")
        assert caught.value.kind == "malformed"

    await scripted([LISTED, replace(cut, body=cut.body[:-60])], check)


async def test_caldav_listing_that_is_cut_without_a_way_on_is_not_complete() -> None:
    async def check(connection: Connection) -> None:
        listing = await drain(ICAL, connection, "events")
        assert (listing.ids, listing.state) == (["a.ics"], None)
        assert "cut its listing" in (listing.pages[-1].problem or "")

    cut = multistatus(member("/home/c/a.ics"), told("/home/c/", "507 Insufficient Storage"))
    await scripted([cut, multistatus(with_data("/home/c/a.ics", "a"))], check)


async def test_caldav_state_of_before_names_were_kept_as_written_is_listed_anew() -> None:
    async def check(connection: Connection) -> None:
        with pytest.raises(StateExpired):
            await drain(
                ICAL,
                connection,
                "events",
                state=f'{{"of":"{connection.configuration.server_url}/home/c/","token":"t9"}}',
            )

    await scripted([LISTED], check)


async def test_caldav_refusal_that_is_not_about_the_token_is_no_expiry() -> None:
    async def check(connection: Connection) -> None:
        with pytest.raises(ProviderFailure) as caught:
            await drain(ICAL, connection, "events")
        assert caught.value.kind == "forbidden"

    await scripted([Answer(403, b"<D:error xmlns:D='DAV:'><D:need-privileges/></D:error>")], check)
