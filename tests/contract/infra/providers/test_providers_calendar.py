"""Calendars: Google, Outlook and published calendars."""

import json
from dataclasses import replace
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure, SignatureRefused, TestOptions
from infra.providers.google_calendar.adapter import PROVIDER as GOOGLE
from infra.providers.ical import records
from infra.providers.ical.adapter import PROVIDER as ICAL
from infra.providers.ical.records import fetch_feed
from infra.providers.outlook_calendar.adapter import PROVIDER as OUTLOOK
from tests.fixtures.providers.google_calendar import CHANNEL_TOKEN
from tests.fixtures.providers.ical import CALENDAR, PRIVATE_PART
from tests.fixtures.providers.outlook_calendar import CLIENT_STATE
from tests.fixtures.providers.outlook_calendar import USER as OUTLOOK_USER
from tests.fixtures.scripted_server import Answer, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import incoming, world

EVENTS = "/calendar/v3/calendars/primary/events"
CREATED = Answer(200, {"id": "hub1", "status": "confirmed"})
OPTIONS = TestOptions()


def push(**changes: str) -> dict[str, str]:
    headers = {
        "X-Goog-Channel-ID": "4ba78bf0-6a47-11e2-bcfd-0800200c9a66",
        "X-Goog-Channel-Token": CHANNEL_TOKEN,
        "X-Goog-Message-Number": "10",
        "X-Goog-Resource-ID": "ret08u3rv24htgh289g",
        "X-Goog-Resource-State": "exists",
    }
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


async def test_an_account_is_recognised_whatever_is_configured_of_it() -> None:
    shared = route(
        "GET /calendar/v3/users/me/calendarList/team*",
        Answer(200, {"id": "team@group", "accessRole": "reader"}),
    )
    async with world(CASES["Google"], changes={"calendarId": "team@group"}) as here:
        here.server.add(shared)
        team = await GOOGLE.validate_credentials(here.connection)
    async with world(CASES["Google"]) as here:
        own = await GOOGLE.validate_credentials(here.connection)
    assert (team.account, own.account) == ("team@group", "ada@example.com")
    assert team.identity == own.identity == "ada@example.com"
    async with world(CASES["Outlook"]) as here:
        user = await OUTLOOK.validate_credentials(here.connection)
    assert user.identity == OUTLOOK_USER["id"]


async def test_a_published_calendar_is_recognised_by_a_digest_of_its_address() -> None:
    own, feed = f"/ical/{PRIVATE_PART}/basic.ics", Answer(200, CALENDAR, {"content-type": "text/calendar"})
    digests = []
    async with world(CASES["iCal"]) as here:
        address = str(here.connection.configuration.feed_url).removesuffix(own)
        for path in (own, f"{own}/", "/other.ics"):
            here.server.add(route(f"GET {path}", feed))
            configuration = ICAL.profile.configuration.model_validate({"feedUrl": f"{address}{path}"})
            check = await ICAL.validate_credentials(replace(here.connection, configuration=configuration))
            digests.append(str(check.identity))
    assert digests[0] == digests[1] != digests[2]
    assert all(len(digest) == 64 and PRIVATE_PART not in digest for digest in digests)


async def test_google_test_creates_an_event_without_guests_and_deletes_it() -> None:
    async with world(CASES["Google"]) as here:
        here.server.add(route(f"POST {EVENTS}", CREATED), route(f"DELETE {EVENTS}/*", Answer(204)))
        result = await GOOGLE.test(here.connection, OPTIONS)
    create, delete = here.server.requests
    assert [step.name for step in result.steps] == ["create", "delete"]
    assert create.query == delete.query == {"sendUpdates": "none"}
    assert "attendees" not in create.json
    assert delete.path == f"{EVENTS}/{create.json['id']}"
    assert set(create.json["id"]) <= set("abcdefghijklmnopqrstuv0123456789")


async def test_google_event_is_deleted_also_when_the_answer_to_its_creation_was_lost() -> None:
    async with world(CASES["Google"]) as here:
        here.server.add(route(f"POST {EVENTS}", Answer(503)), route(f"DELETE {EVENTS}/*", Answer(204)))
        with pytest.raises(ProviderFailure) as caught:
            await GOOGLE.test(here.connection, OPTIONS)
    assert caught.value.kind == "unavailable"
    assert here.server.lines[-1].startswith(f"DELETE {EVENTS}/hub")


async def test_an_event_that_stays_behind_is_named() -> None:
    async with world(CASES["Google"]) as here:
        here.server.add(route(f"POST {EVENTS}", CREATED), route(f"DELETE {EVENTS}/*", Answer(500)))
        with pytest.raises(ProviderFailure, match=r"The event hub[0-9a-f]{32} was created and could not be"):
            await GOOGLE.test(here.connection, OPTIONS)


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "userRateLimitExceeded"])
async def test_google_quota_under_403_is_a_rate_limit(reason: str) -> None:
    body = {"error": {"errors": [{"domain": "usageLimits", "reason": reason}], "code": 403}}
    async with world(CASES["Google"]) as here:
        here.server.always = Answer(403, body, {"Retry-After": "7"})
        with pytest.raises(ProviderFailure) as caught:
            await GOOGLE.probe(here.connection)
    assert (caught.value.kind, caught.value.retry_after_seconds) == ("rate_limited", 7)


async def test_google_change_is_an_event_and_sync_is_none() -> None:
    async with world(CASES["Google"]) as here:
        changed = await GOOGLE.receive(here.connection, incoming(b"", push()))
        opened = await GOOGLE.receive(here.connection, incoming(b"", push(X_Goog_Resource_State="sync")))
    assert opened.events == () and opened.body is None
    (event,) = changed.events
    assert event.event_id == "4ba78bf0-6a47-11e2-bcfd-0800200c9a66:10"
    assert event.type == "calendar.exists"


@pytest.mark.parametrize("changes", [{"X_Goog_Channel_Token": "guess"}, {"X_Goog_Channel_Token": ""}])
async def test_google_push_without_the_token_is_refused(changes: dict[str, str]) -> None:
    async with world(CASES["Google"]) as here:
        with pytest.raises(SignatureRefused) as caught:
            await GOOGLE.receive(here.connection, incoming(b"", push(**changes)))
    assert CHANNEL_TOKEN not in str(caught.value)


async def test_google_push_is_refused_while_no_token_is_configured() -> None:
    async with world(CASES["Google"], changes={"channelToken": None}) as here:
        with pytest.raises(SignatureRefused):
            await GOOGLE.receive(here.connection, incoming(b"", push(X_Goog_Channel_Token="")))


@pytest.mark.parametrize("name", ["Google", "Outlook", "HubSpot", "Salesforce"])
async def test_an_account_that_is_not_connected_yet_is_unauthorized(name: str) -> None:
    case = CASES[name]
    async with world(replace(case, access_token=None)) as here:
        with pytest.raises(ProviderFailure) as caught:
            await case.provider.validate_credentials(here.connection)
        assert here.server.requests == []
    assert caught.value.kind == "unauthorized"


@pytest.mark.parametrize("name", ["Google", "Outlook", "HubSpot", "Salesforce"])
def test_oauth_addresses_name_fields_of_the_configuration(name: str) -> None:
    profile = CASES[name].provider.profile
    assert profile.oauth is not None
    configuration = profile.configuration.model_validate(CASES[name].configuration("https://id.example.org"))
    for template in (profile.oauth.authorize_url, profile.oauth.token_url):
        assert template.format(**configuration.model_dump()).startswith("https://id.example.org/")


async def test_outlook_test_erases_its_event() -> None:
    async with world(CASES["Outlook"]) as here:
        here.server.add(
            route("POST /v1.0/me/events", Answer(201, {"id": "AAMk"})),
            route("POST /v1.0/me/events/AAMk/permanentDelete", Answer(204)),
        )
        await OUTLOOK.test(here.connection, OPTIONS)
    assert here.server.lines == ["POST /v1.0/me/events", "POST /v1.0/me/events/AAMk/permanentDelete"]
    assert "attendees" not in here.server.requests[0].json


async def test_outlook_test_deletes_where_the_cloud_cannot_erase() -> None:
    async with world(CASES["Outlook"]) as here:
        here.server.add(
            route("POST /v1.0/me/events", Answer(201, {"id": "AAMk"})),
            route("POST /v1.0/me/events/AAMk/permanentDelete", Answer(400, {})),
            route("DELETE /v1.0/me/events/AAMk", Answer(204)),
        )
        await OUTLOOK.test(here.connection, OPTIONS)
    assert here.server.lines[-1] == "DELETE /v1.0/me/events/AAMk"


async def test_outlook_handshake_echoes_the_token_as_plain_text() -> None:
    url = "https://hub.example.org/api/webhooks/incoming/1?validationToken=Validation%3A+a%2Bb"
    async with world(CASES["Outlook"]) as here:
        answer = await OUTLOOK.receive(here.connection, incoming(b"", {}, url=url))
    assert (answer.body, answer.content_type) == (b"Validation: a+b", "text/plain")
    assert answer.events == ()


def notification(state: Any, etag: str = "W/1") -> dict[str, Any]:
    return {
        "subscriptionId": "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
        "clientState": state,
        "changeType": "updated",
        "resource": "Users/1/Events/AAMk",
        "resourceData": {"@odata.etag": etag, "id": "AAMk"},
    }


def graph_body(*entries: Any) -> bytes:
    return json.dumps({"value": list(entries)}).encode()


async def test_outlook_changes_are_told_apart_and_repeats_are_not() -> None:
    body = graph_body(notification(CLIENT_STATE, "W/1"), notification(CLIENT_STATE, "W/2"))
    async with world(CASES["Outlook"]) as here:
        first = await OUTLOOK.receive(here.connection, incoming(body, {}))
        again = await OUTLOOK.receive(here.connection, incoming(body, {}))
    assert len({event.event_id for event in first.events}) == 2
    assert [event.event_id for event in first.events] == [event.event_id for event in again.events]
    assert first.events[0].type == "event.updated"
    assert CLIENT_STATE not in repr(first)


@pytest.mark.parametrize(
    "entries",
    [
        [notification(CLIENT_STATE), notification("other")],
        [notification(None)],
        [notification("")],
        ["text"],
        [],
    ],
)
async def test_outlook_notifications_without_the_client_state_are_refused(entries: list[Any]) -> None:
    async with world(CASES["Outlook"]) as here:
        with pytest.raises(SignatureRefused):
            await OUTLOOK.receive(here.connection, incoming(graph_body(*entries), {}))


async def test_an_unchanged_published_calendar_is_recognised() -> None:
    case = CASES["iCal"]
    async with world(case) as here:
        first = await fetch_feed(here.connection)
        here.server.add(route(case.good[0].method + " " + case.good[0].path, Answer(304)))
        again = await fetch_feed(here.connection, etag=first.etag)
    assert first.body is not None and first.body.startswith(b"BEGIN:VCALENDAR")
    assert again.body is None and again.etag == first.etag == '"63c7"'
    assert here.server.requests[-1].headers["if-none-match"] == '"63c7"'


async def test_a_calendar_that_is_too_large_is_refused_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FEED_BYTES_MAX", 40)
    async with world(CASES["iCal"]) as here:
        with pytest.raises(ProviderFailure, match="larger than 40 bytes"):
            await ICAL.probe(here.connection)


async def test_calendars_send_no_webhooks() -> None:
    async with world(CASES["iCal"]) as here:
        with pytest.raises(ProviderFailure) as caught:
            await ICAL.receive(here.connection, incoming(b"", {}))
    assert caught.value.kind == "rejected"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"feedUrl": "https://a.example/c.ics", "serverUrl": "https://a.example"},
        {"serverUrl": "https://a.example"},
    ],
)
def test_ical_needs_exactly_one_kind_of_address(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"feedUrl|username"):
        ICAL.profile.configuration.model_validate(given)
