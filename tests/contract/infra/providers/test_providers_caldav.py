"""CalDAV against a real server, and how far its credentials may travel."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.providers.contract import Connection, ProviderFailure, ProviderResponse, TestOptions
from infra.providers._kit.wire import xml_document
from infra.providers.ical.adapter import PROVIDER as ICAL
from infra.providers.ical.caldav import CalDavAccess, access_of, find_calendar
from tests.worlds.caldav_peer import PASSWORD, account, make_calendar
from tests.worlds.provider_peers import connected, radicale
from tests.worlds.provider_world import NOW

OPTIONS = TestOptions()


@pytest.fixture
def caldav(tmp_path: Path) -> Iterator[str]:
    """A CalDAV server on which ada has the calendar `Shifts`."""
    with radicale(tmp_path, "ada", PASSWORD) as address:
        make_calendar(address, "ada", PASSWORD, "Shifts")
        yield address


async def test_caldav_finds_the_principal_and_the_calendar(caldav: str) -> None:
    async with connected(ICAL, account(caldav)) as connection:
        check = await ICAL.validate_credentials(connection)
        await ICAL.probe(connection)
    assert (check.account, check.detail) == ("ada", "Calendar Shifts")
    assert check.identity == f"{caldav.rstrip('/')}/ada\nada"


async def test_caldav_test_leaves_the_calendar_as_it_was(caldav: str, tmp_path: Path) -> None:
    async with connected(ICAL, account(caldav)) as connection:
        result = await ICAL.test(connection, OPTIONS)
    assert [step.name for step in result.steps] == ["create", "delete"]
    assert list((tmp_path / "collections" / "collection-root" / "ada" / "shifts").glob("*.ics")) == []


async def test_caldav_refuses_a_wrong_password_without_repeating_it(caldav: str) -> None:
    async with connected(ICAL, account(caldav, password="wrong-horse")) as connection:
        with pytest.raises(ProviderFailure) as caught:
            await ICAL.validate_credentials(connection)
    assert caught.value.kind == "unauthorized"
    assert "wrong-horse" not in f"{caught.value!r} {connection!r}"


async def test_caldav_says_when_no_calendar_has_the_name(caldav: str) -> None:
    async with connected(ICAL, account(caldav, calendar="Nowhere")) as connection:
        with pytest.raises(ProviderFailure) as caught:
            await ICAL.test(connection, OPTIONS)
    assert caught.value.kind == "rejected"


@pytest.mark.parametrize(
    ("server", "href", "goes"),
    [
        ("https://caldav.icloud.com", "https://p01-caldav.icloud.com/1/", True),
        ("https://caldav.icloud.com", "https://icloud.com.evil.example/1/", False),
        ("http://cal.example", "https://cal.example/1/", True),
        ("https://cal.example", "http://cal.example/1/", False),
        ("https://acme.co.uk", "https://evil.co.uk/1/", False),
        ("https://caldav.icloud.example", "https://p01-caldav.icloud.example/1/", False),
        ("https://caldav.icloud.example", "https://evil.example/1/", False),
        ("https://caldav.icloud.example", "http://p01-caldav.icloud.example/1/", False),
        ("https://icloud.example", "https://evil.example/1/", False),
        ("https://127.0.0.1", "https://9.0.0.1/", False),
    ],
)
async def test_caldav_credentials_stay_with_the_server(server: str, href: str, goes: bool) -> None:
    asked: list[str] = []

    class Recording:
        async def expect(self, request: Any, *statuses: int) -> ProviderResponse:
            asked.append(request.url)
            return ProviderResponse(207, {}, b"<a/>", 1)

    connection: Any = type("Fake", (), {"http": Recording()})
    access = CalDavAccess(connection, server, "ada", PASSWORD)
    if goes:
        await access.send("PROPFIND", href)
    else:
        with pytest.raises(ProviderFailure):
            await access.send("PROPFIND", href)
    assert asked == ([href] if goes else [])
    assert PASSWORD not in repr(access)


@pytest.mark.parametrize("named", [{}, {"calendar": "Duties"}])
async def test_caldav_takes_no_list_of_tasks_for_a_calendar(tmp_path: Path, named: dict[str, str]) -> None:
    with radicale(tmp_path, "ada", PASSWORD) as address:
        for path, kinds in (("a-tasks", ("VTODO",)), ("b-diary", ("VJOURNAL", "VTODO")), ("c", ("VEVENT",))):
            make_calendar(address, "ada", PASSWORD, "Duties", path=path, components=kinds)
        async with connected(ICAL, account(address, **named)) as connection:
            access = access_of(connection)
            assert access is not None
            assert (await find_calendar(access)).url.endswith("/ada/c/")
            assert len(await access.calendars(await access.principal())) == 1


@pytest.mark.parametrize(
    ("components", "takes"),
    [
        ("", True),
        ("<C:supported-calendar-component-set/>", True),
        (
            '<C:supported-calendar-component-set><C:comp name="vevent"/></C:supported-calendar-component-set>',
            True,
        ),
        (
            "<C:supported-calendar-component-set>"
            '<C:comp name="VTODO"/><C:comp name="VEVENT"/></C:supported-calendar-component-set>',
            True,
        ),
        (
            '<C:supported-calendar-component-set><C:comp name="VTODO"/></C:supported-calendar-component-set>',
            False,
        ),
        (
            '<C:supported-calendar-component-set><C:comp name="VPOLL"/></C:supported-calendar-component-set>',
            False,
        ),
    ],
)
async def test_caldav_calendar_that_names_no_components_takes_events(components: str, takes: bool) -> None:
    listing = (
        '<D:multistatus xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:response><D:href>/1/</D:href>'
        "<D:propstat><D:prop><D:resourcetype><C:calendar/></D:resourcetype><C:calendar-home-set><D:href>/</D:href>"
        f"</C:calendar-home-set>{components}</D:prop></D:propstat></D:response></D:multistatus>"
    )

    class Listing:
        async def expect(self, request: Any, *statuses: int) -> ProviderResponse:
            return ProviderResponse(207, {}, listing.encode(), 1)

    http: Any = Listing()
    connection = Connection(None, http, NOW)
    found = await CalDavAccess(connection, "https://cal.example", "ada", PASSWORD).calendars(
        "https://cal.example/"
    )
    assert [calendar.url for calendar in found] == (["https://cal.example/1/"] if takes else [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_with_a_document_type_is_refused(encoding: str) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>'.encode(encoding)
    with pytest.raises(ProviderFailure) as caught:
        xml_document(ProviderResponse(207, {}, bomb, 1))
    assert caught.value.kind == "malformed"
