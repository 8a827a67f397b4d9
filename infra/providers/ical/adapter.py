"""iCal: a published calendar (an ICS address) or a CalDAV server.

RFC 5545 (iCalendar), RFC 4791 (CalDAV), RFC 5397 (current-user-principal), RFC 6764 (discovery), RFC 9110 section 13
(conditional requests). The address of a published calendar lets everyone read it, so it is kept as a secret.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pydantic import Field, model_validator

from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IntegrationType,
    Provider,
    ProviderProfile,
    Secret,
    TestOptions,
    TestResult,
    TestStep,
)
from infra.providers._kit import trial
from infra.providers._kit.field_types import BaseUrl, HttpsUrl
from infra.providers.ical.caldav import access_of, find_calendar
from infra.providers.ical.records import ICalEvents, fetch_feed


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


class ICal(Provider):
    """One calendar in iCalendar format."""

    profile = ProviderProfile(
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
    streams = ICalEvents()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the published calendar, or find the user's principal and calendar."""
        access = access_of(connection)
        if access is None:
            feed = await fetch_feed(connection)
            kept = "can" if feed.etag or feed.last_modified else "cannot"
            detail = f"Unchanged calendars {kept} be recognised"
            feed_url = str(connection.configuration.feed_url)
            return CredentialCheck("Published calendar", detail=detail, identity=_feed_digest(feed_url))
        principal = await access.principal()
        found = await find_calendar(access, principal)
        # Some servers name one principal for everybody.
        identity = f"{_plain(principal)}\n{access.username.casefold()}"
        return CredentialCheck(access.username, detail=f"Calendar {found.name}", identity=identity)

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create an event and delete it (CalDAV), or read the published calendar and ask whether it changed."""
        access = access_of(connection)
        if access is None:
            return await _test_feed(connection)
        found = await find_calendar(access)
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
        return trial.made_and_deleted(f"Created an event in {found.name}", uid)

    async def probe(self, connection: Connection) -> None:
        access = access_of(connection)
        if access is None:
            await fetch_feed(connection)
        else:
            await access.principal()


def _feed_digest(url: str) -> str:
    """Return a digest of the address, which is a secret itself."""
    return hashlib.sha256(_plain(url).encode()).hexdigest()


def _plain(url: str) -> str:
    """Return the address with scheme and host in lower case and no slash at its end."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))


async def _test_feed(connection: Connection) -> TestResult:
    first = await fetch_feed(connection)
    again = await fetch_feed(connection, etag=first.etag, last_modified=first.last_modified)
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


PROVIDER = ICal()
