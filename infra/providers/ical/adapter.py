"""iCal: a published calendar (an ICS address) or a CalDAV server.

RFC 5545 (iCalendar), RFC 4791 (CalDAV), RFC 5397 (current-user-principal), RFC 6764 (discovery), RFC 9110 section 13
(conditional requests). The address of a published calendar lets everyone read it, so it is kept as a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

from pydantic import Field, model_validator

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    ProviderFailure,
    ProviderProfile,
    ProviderRequest,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
)
from domain.providers.records import (
    MAX_PAGE_RECORDS,
    ListPage,
    ListRequest,
    PushRequest,
    PushResult,
    RecordType,
    SourceRecord,
    StreamProfile,
)
from infra.providers._kit import trial
from infra.providers._kit.field_types import BaseUrl, HttpsUrl
from infra.providers._kit.paging import SyncingProvider, check_stream
from infra.providers.ical.caldav import CalDavAccess, CalendarCollection
from infra.providers.ical.caldav_records import PAGE_MAX, list_caldav, push_caldav
from infra.providers.ical.events import to_internal
from infra.providers.ical.records import list_feed

FEED_BYTES_MAX = 8 * 1024 * 1024

_FEED = (
    StreamProfile("events", RecordType.Event, "token", lists_deletions=True, page_size=MAX_PAGE_RECORDS),
)
_CALENDAR = (
    StreamProfile(
        "events", RecordType.Event, "token", lists_deletions=True, exportable=True, page_size=PAGE_MAX
    ),
)
_START = b"BEGIN:VCALENDAR"
_BOM = b"\xef\xbb\xbf"


class ICalConfiguration(Configuration):
    """Either `feedUrl`, or `serverUrl` with user name and password."""

    feed_url: HttpsUrl | None = Secret("Address of a published calendar (ICS)", default=None)
    server_url: BaseUrl | None = Field(None, description="Address of a CalDAV server")
    username: str | None = Field(None, min_length=1, max_length=300, description="CalDAV user name")
    password: str | None = Secret(
        "CalDAV password, an app password where the service has them",
        default=None,
        min_length=1,
        max_length=300,
    )
    calendar: str | None = Field(
        None, max_length=300, description="Name of the CalDAV calendar; unset: the first one"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ICalConfiguration:
        if (self.feed_url is None) == (self.server_url is None):
            raise ValueError("give either feedUrl or serverUrl")
        if self.server_url is not None and (self.username is None or self.password is None):
            raise ValueError("serverUrl needs username and password")
        return self


@dataclass(frozen=True, slots=True)
class Feed:
    """A published calendar as it came. `body` is None when it has not changed since `etag`/`last_modified`."""

    body: bytes | None = field(repr=False)
    etag: str | None
    last_modified: str | None


class ICal:
    """One calendar in iCalendar format."""

    profile: ClassVar[ProviderProfile] = ProviderProfile(
        name="iCal",
        title="iCalendar and CalDAV",
        integration_type=IntegrationType.CalendarSync,
        documentation_url="https://www.rfc-editor.org/rfc/rfc4791",
        configuration=ICalConfiguration,
        capabilities=frozenset(
            (
                Capability.ValidateCredentials,
                Capability.Test,
                Capability.Health,
                Capability.Import,
                Capability.Export,
            )
        ),
        notes="A published calendar is read only: its test reads it twice, and nothing can be exported to it.",
    )

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the published calendar, or find the user's principal and calendar."""
        access = _access(connection)
        if access is None:
            feed = await read_feed(connection)
            kept = "can" if feed.etag or feed.last_modified else "cannot"
            return CredentialCheck("Published calendar", detail=f"Unchanged calendars {kept} be recognised")
        found = await find_calendar(connection)
        return CredentialCheck(access.username, detail=f"Calendar {found.name}")

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create an event and delete it (CalDAV), or read the published calendar and ask whether it changed."""
        del options
        access = _access(connection)
        if access is None:
            return await _test_feed(connection)
        found = await find_calendar(connection)
        uid = f"hub-test-{uuid4().hex}"
        url = f"{found.url.rstrip('/')}/{uid}.ics"
        put = access.request(
            "PUT",
            url,
            _event(connection, uid),
            if_none_match="*",
            content_type="text/calendar; charset=utf-8",
        )
        undo = access.request("DELETE", url)
        await trial.create(connection.http.expect, put, undo)
        await trial.delete(connection.http.expect, undo, f"The event {uid}")
        return TestResult(
            (
                TestStep("create", f"Created an event in {found.name}", uid),
                TestStep("delete", "Deleted it again", uid),
            )
        )

    async def probe(self, connection: Connection) -> None:
        access = _access(connection)
        if access is None:
            await read_feed(connection)
        else:
            await access.principal()

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        del connection, request
        raise ProviderFailure("rejected", "Calendars in iCalendar format send no webhooks.")

    def streams_of(self, configuration: Any) -> Sequence[StreamProfile]:
        return _FEED if configuration.server_url is None else _CALENDAR

    def to_internal(self, stream: str, record: SourceRecord) -> Mapping[str, Any]:
        del stream
        return to_internal(record)

    async def list_records(self, connection: Connection, request: ListRequest) -> ListPage:
        check_stream(self.streams_of(connection.configuration), request.stream)
        access = _access(connection)
        if access is None:
            return await list_feed(connection, request, read_feed)
        return await list_caldav(access, await find_calendar(connection), request)

    async def push_record(self, connection: Connection, request: PushRequest) -> PushResult:
        check_stream(self.streams_of(connection.configuration), request.stream, push=True)
        access = _access(connection)
        assert access is not None
        return await push_caldav(access, await find_calendar(connection), request)


async def read_feed(
    connection: Connection, *, etag: str | None = None, last_modified: str | None = None
) -> Feed:
    """The published calendar, if it changed. Raises ProviderFailure: malformed when it is no calendar, rejected
    when it is larger than FEED_BYTES_MAX (a part of it would look like a calendar with events removed)."""
    conditions = {"if-none-match": etag, "if-modified-since": last_modified}
    request = ProviderRequest(
        "GET",
        str(connection.configuration.feed_url),
        headers={
            "accept": "text/calendar",
            **{name: value for name, value in conditions.items() if value is not None},
        },
        max_response_bytes=FEED_BYTES_MAX + 1,
    )
    response = await connection.http.expect(request, 200, 304)
    validators = response.headers.get("etag", etag), response.headers.get("last-modified", last_modified)
    if response.status == 304:
        return Feed(None, *validators)
    if len(response.body) > FEED_BYTES_MAX:
        raise ProviderFailure("rejected", f"The calendar is larger than {FEED_BYTES_MAX} bytes.", status=200)
    if not response.body.removeprefix(_BOM).lstrip()[: len(_START)].upper() == _START:
        raise ProviderFailure("malformed", "The address does not answer with a calendar.", status=200)
    return Feed(response.body, *validators)


async def find_calendar(connection: Connection) -> CalendarCollection:
    """The configured CalDAV calendar, the first one when none is named."""
    access = _access(connection)
    assert access is not None
    wanted = connection.configuration.calendar
    for calendar in await access.calendars(await access.principal()):
        if wanted is None or calendar.name == wanted:
            return calendar
    raise ProviderFailure(
        "rejected",
        "The account has no calendar." if wanted is None else "The account has no calendar of that name.",
    )


def _access(connection: Connection) -> CalDavAccess | None:
    configuration: ICalConfiguration = connection.configuration
    if configuration.server_url is None:
        return None
    return CalDavAccess(
        connection, configuration.server_url, configuration.username or "", configuration.password or ""
    )


async def _test_feed(connection: Connection) -> TestResult:
    first = await read_feed(connection)
    again = await read_feed(connection, etag=first.etag, last_modified=first.last_modified)
    outcome = (
        "The calendar was recognised as unchanged" if again.body is None else "The whole calendar came again"
    )
    return TestResult(
        (
            TestStep("read", f"Read the calendar, {len(first.body or b'')} bytes", first.etag),
            TestStep("read again", outcome, again.etag),
        )
    )


def _event(connection: Connection, uid: str) -> bytes:
    start, end = connection.now, connection.now + timedelta(minutes=15)
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Integration Hub//Connection test//EN",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"DTSTAMP:{start:%Y%m%dT%H%M%SZ}",
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}",
        f"DTEND:{end:%Y%m%dT%H%M%SZ}",
        f"SUMMARY:{trial.TITLE}",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
    return "\r\n".join(lines).encode()


PROVIDER: SyncingProvider = ICal()
