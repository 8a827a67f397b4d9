"""Google Calendar API v3.

https://developers.google.com/workspace/calendar/api/v3/reference (calendarList.get, events.insert, events.delete)
https://developers.google.com/workspace/calendar/api/guides/push (channel headers, `sync` message)
https://developers.google.com/workspace/calendar/api/guides/errors (403 rateLimitExceeded, userRateLimitExceeded)
https://developers.google.com/identity/protocols/oauth2/web-server (offline access)
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from pydantic import Field

from domain.core.wire import rfc3339
from domain.providers.contract import (
    Capability,
    Configuration,
    Connection,
    CredentialCheck,
    IncomingAnswer,
    IncomingRequest,
    IntegrationType,
    Provider,
    ProviderProfile,
    ProviderRequest,
    Secret,
    SignatureRefused,
    TestOptions,
    TestResult,
    VerifiedEvent,
)
from domain.providers.oauth_profile import OAuthProfile
from infra.providers._kit import trial
from infra.providers._kit.field_types import BaseUrl
from infra.providers._kit.signatures import check_equal, plain_id, required_header, required_secret
from infra.providers._kit.wire import CAPABILITIES, bearer, document, event_type, segment, text_at
from infra.providers.google_calendar.records import API, GoogleEvents, events_request

_WRITERS = ("writer", "owner")
_PRIMARY = "primary"
#: One spelling for a number: the id is made of it.
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class GoogleCalendarConfiguration(Configuration):
    """OAuth client of a Google Cloud project and the calendar to keep in step."""

    client_id: str = Field(min_length=1, max_length=300, description="OAuth client id")
    client_secret: str = Secret("OAuth client secret", min_length=1, max_length=300)
    calendar_id: str = Field(_PRIMARY, min_length=1, max_length=300, description="Calendar id, or `primary`")
    channel_token: str | None = Secret(
        "Token given to `events.watch`; every push message must carry it",
        travels=False,
        default=None,
        max_length=256,
    )
    authorize_url: BaseUrl = Field(
        "https://accounts.google.com/o/oauth2/v2/auth", description="Authorization endpoint"
    )
    token_url: BaseUrl = Field("https://oauth2.googleapis.com/token", description="Token endpoint")
    revoke_url: BaseUrl = Field("https://oauth2.googleapis.com/revoke", description="Revocation endpoint")
    base_url: BaseUrl = Field("https://www.googleapis.com/calendar/v3", description="Calendar API")


class GoogleCalendar(Provider):
    """Calendar events of one Google account."""

    profile = ProviderProfile(
        name="Google",
        title="Google Calendar",
        integration_type=IntegrationType.CalendarSync,
        documentation_url="https://developers.google.com/workspace/calendar/api/guides/overview",
        configuration=GoogleCalendarConfiguration,
        capabilities=CAPABILITIES | {Capability.Export, Capability.OAuth},
        oauth=OAuthProfile(
            authorize_url="{authorize_url}",
            token_url="{token_url}",  # noqa: S106 - an address
            scopes=(
                "https://www.googleapis.com/auth/calendar.events",
                "https://www.googleapis.com/auth/calendar.calendarlist.readonly",
            ),
            # Without consent asked again, Google leaves the refresh token out of a second authorization.
            extra_authorize_parameters={"access_type": "offline", "prompt": "consent"},
            revoke_url="{revoke_url}",
        ),
        webhook_scheme="google-channel-token",
        webhook_fields=("channelToken",),
    )
    streams = GoogleEvents()

    async def validate_credentials(self, connection: Connection) -> CredentialCheck:
        """Read the calendar's entry in the account's list: proves the token, the calendar and the access role."""
        entry = document(await API.expect(connection, _list_entry(connection)))
        role = text_at(entry, "accessRole")
        writable = "" if role in _WRITERS else "; events cannot be written"
        account = text_at(entry, "id")
        return CredentialCheck(
            account, detail=f"Access role {role}{writable}", identity=await _account(connection, account)
        )

    async def test(self, connection: Connection, options: TestOptions) -> TestResult:
        """Create a private event without guests and delete it; `sendUpdates=none` keeps mail from being sent."""
        # Ids are lower-case base32hex; one of our own can be deleted even when the answer was lost.
        event_id = f"hub{uuid4().hex}"
        insert = events_request(connection, "POST", "", _event(connection, event_id))
        undo = events_request(connection, "DELETE", f"/{event_id}")
        expect = partial(API.expect, connection)
        text_at(document(await trial.create(expect, insert, undo)), "id")
        await trial.delete(expect, undo, f"The event {event_id}")
        return trial.made_and_deleted("Created a private event without guests", event_id)

    async def probe(self, connection: Connection) -> None:
        text_at(document(await API.expect(connection, _list_entry(connection))), "id")

    async def receive(self, connection: Connection, request: IncomingRequest) -> IncomingAnswer:
        """Compare the channel token.

        Messages are numbered within their channel and have no body; the first one (`sync`) only says that the
        channel is open."""
        token = required_secret(connection.configuration.channel_token)
        check_equal(required_header(request.headers, "X-Goog-Channel-Token"), token, "channel token")
        channel = plain_id(required_header(request.headers, "X-Goog-Channel-Id"), "channel id")
        number = required_header(request.headers, "X-Goog-Message-Number")
        state = required_header(request.headers, "X-Goog-Resource-State")
        if not _NUMBER.fullmatch(number):
            raise SignatureRefused("The message number is not a number.")
        if state == "sync":
            return IncomingAnswer()
        data = {
            "channelId": channel,
            "messageNumber": int(number),
            "resourceState": state,
            "resourceId": request.headers.get("x-goog-resource-id"),
            "resourceUri": request.headers.get("x-goog-resource-uri"),
        }
        event = VerifiedEvent(f"{channel}:{number}", event_type("calendar", state), data)
        return IncomingAnswer((event,))


def _list_entry(connection: Connection, calendar: str | None = None) -> ProviderRequest:
    configuration: GoogleCalendarConfiguration = connection.configuration
    name = calendar or configuration.calendar_id
    url = f"{configuration.base_url}/users/me/calendarList/{segment(name)}"
    return ProviderRequest("GET", url, headers=bearer(connection))


async def _account(connection: Connection, entry_id: str) -> str:
    """Return the id of the account's primary calendar, which is the account's address whatever calendar is chosen."""
    if connection.configuration.calendar_id == _PRIMARY:
        return entry_id
    return text_at(document(await API.expect(connection, _list_entry(connection, _PRIMARY))), "id")


def _event(connection: Connection, event_id: str) -> dict[str, Any]:
    return {
        "id": event_id,
        "summary": trial.TITLE,
        "start": {"dateTime": rfc3339(connection.now)},
        "end": {"dateTime": rfc3339(connection.now + timedelta(minutes=15))},
        "transparency": "transparent",
        "visibility": "private",
        "reminders": {"useDefault": False},
    }


PROVIDER = GoogleCalendar()
