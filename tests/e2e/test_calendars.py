"""Calendars of users who are no administrators, over HTTP: connected, synchronised, disconnected, and nobody else's."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import pytest

from bench.harness import HostProcess, call
from tests.fixtures.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer, no_redirect
from tests.fixtures.providers.ical import CALENDAR
from tests.worlds.hub_api import Api

pytestmark = pytest.mark.e2e
GOOGLE = {"name": "Calendar", "integrationType": "CalendarSync", "provider": "Google", "configuration": {}}


class Tenant:
    """A tenant with as many users as are asked for; each has the permissions given."""

    def __init__(self, host: HostProcess) -> None:
        self.host, self.id = host, str(uuid4())

    def user(self, permissions: str = "calendar:connect", id_: str | None = None) -> Api:
        arguments = ["--tenant", self.id, "--user", id_ or str(uuid4()), "--permissions", permissions]
        return Api(self.host, self.host.token(*arguments))


@pytest.fixture
def tenant(host: HostProcess) -> Tenant:
    return Tenant(host)


@pytest.fixture
def google(oauth_app: OAuthServer) -> Iterator[OAuthServer]:
    oauth_app.account = f"{uuid4().hex}@example.org"
    yield oauth_app
    oauth_app.account = "someone@example.org"


def consent(api: Api, id_: str) -> tuple[int, str]:
    """Follow the authorisation as a browser does; return status and text of the page at its end."""
    status, begun = api("POST", f"/integrations/{id_}/oauth/authorize")
    assert status == 200, begun
    brought = dict(parse_qsl(urlsplit(no_redirect(begun["authorizeUrl"])).query))
    try:
        with urllib.request.urlopen(f"{api.host.url}/oauth/callback?{urlencode(brought)}") as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def connected(api: Api, **fields: Any) -> str:
    status, created = api("POST", "/integrations", {**GOOGLE, **fields})
    assert (status, created["status"]) == (201, "PendingValidation"), created
    id_ = str(created["integrationId"])
    assert consent(api, id_)[0] == 200
    return id_


def schedule(api: Api, id_: str) -> dict[str, Any]:
    def found() -> Any:
        status, answer = api("GET", f"/integrations/{id_}/sync-schedule")
        return answer if status == 200 else None

    return dict(api.eventually(found, seconds=30))


def jobs(api: Api, origin: str) -> list[dict[str, Any]]:
    status, page = api("GET", "/datasyncs?pageSize=200")
    assert status == 200, page
    return [job for job in page["items"] if job["origin"] == origin]


def test_a_user_without_any_role_connects_and_keeps_a_calendar(tenant: Tenant, google: OAuthServer) -> None:
    alice = tenant.user()
    status, catalogue = alice("GET", "/providers")
    assert status == 200 and {provider["name"] for provider in catalogue["items"]} == {
        "Google",
        "Outlook",
        "iCal",
    }
    [offered] = [provider for provider in catalogue["items"] if provider["name"] == "Google"]
    assert offered["oauth"]["hasApp"] is True and "clientId" not in offered["configurationSchema"]["required"]

    id_ = connected(alice)
    found = alice("GET", f"/integrations/{id_}")[1]
    assert (found["status"], found["ownerId"], found["account"]["account"]) == (
        "Active",
        found["createdBy"],
        google.account,
    )
    assert "clientId" not in found["configuration"]

    # The first import, then the default schedule.
    assert schedule(alice, id_)["intervalMinutes"] == 60
    [first] = alice.eventually(lambda: jobs(alice, "Authorization"))
    assert (first["syncType"], first["direction"], first["integrationId"]) == ("Full", "Import", id_)
    job = f"/datasyncs/{first['dataSyncJobId']}"
    alice.eventually(lambda: alice("GET", job)[1]["status"] == "Completed", seconds=30)
    assert alice("GET", f"{job}/logs")[0] == 200 and alice("GET", f"/integrations/{id_}/records")[0] == 200

    default = schedule(alice, id_)
    assert (default["syncType"], default["direction"], default["isEnabled"]) == (
        "Incremental",
        "Bidirectional",
        True,
    )
    own = {"intervalMinutes": 180, "direction": "Import"}
    assert alice("PUT", f"/integrations/{id_}/sync-schedule", own)[0] == 200
    assert consent(alice, id_)[0] == 200, "authorised again"
    assert schedule(alice, id_)["intervalMinutes"] == 180

    status, by_hand = alice(
        "POST", "/datasyncs", {"integrationId": id_, "scheduledAt": "2099-01-01T00:00:00Z"}
    )
    assert status == 201, by_hand
    assert alice("DELETE", f"/datasyncs/{by_hand['dataSyncJobId']}")[0] == 204
    assert alice("DELETE", f"/integrations/{id_}")[0] == 204
    assert alice("GET", "/integrations")[1]["items"] == []
    assert CLIENT_SECRET not in tenant.host.log.read_text()


def test_two_owners_in_one_tenant_see_only_their_own(tenant: Tenant, google: OAuthServer) -> None:
    alice, bob = tenant.user(), tenant.user()
    ids = {name: connected(api) for name, api in (("alice", alice), ("bob", bob))}
    theirs = ids["bob"]
    assert [found["integrationId"] for found in alice("GET", "/integrations")[1]["items"]] == [ids["alice"]]
    for method, path in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/health"),
        ("GET", "/logs"),
        ("GET", "/oauth"),
        ("POST", "/oauth/authorize"),
        ("POST", "/oauth/revoke"),
        ("GET", "/records"),
        ("GET", "/mapping"),
        ("GET", "/sync-schedule"),
    ):
        assert alice(method, f"/integrations/{theirs}{path}")[0] == 404, (method, path)
    assert alice("POST", "/datasyncs", {"integrationId": theirs})[0] == 404
    [job] = bob.eventually(lambda: jobs(bob, "Authorization"), seconds=30)
    for method in ("GET", "DELETE"):
        assert alice(method, f"/datasyncs/{job['dataSyncJobId']}")[0] == 404
    seen = alice("GET", f"/datasyncs?integrationId={theirs}")[1]
    assert (seen["items"], seen["total"]) == ([], 0)
    assert bob("GET", f"/integrations/{theirs}")[1]["status"] == "Active"


def test_it_opens_nothing_else(tenant: Tenant, google: OAuthServer) -> None:
    alice = tenant.user()
    id_ = connected(alice)
    bodies: dict[tuple[str, str], Any] = {
        ("PUT", f"/integrations/{id_}"): {"name": "Mine"},
        ("PUT", f"/integrations/{id_}/credentials"): {"credentials": {"channelToken": "abc"}},
        ("POST", f"/integrations/{id_}/suspend"): None,
        ("POST", f"/integrations/{id_}/activate"): None,
        ("POST", f"/integrations/{id_}/test"): None,
        ("PUT", f"/integrations/{id_}/records"): {"records": [{"externalId": "e", "data": None}]},
        ("PUT", f"/integrations/{id_}/mapping"): {"streams": {}},
        ("GET", f"/integrations/{id_}/incoming"): None,
        ("GET", "/webhooks"): None,
        ("GET", "/apikeys"): None,
        ("POST", "/events"): {"type": "BookingConfirmed", "data": {}},
        ("GET", "/audit"): None,
        ("POST", "/integrations"): {
            **GOOGLE,
            "integrationType": "PaymentGateway",
            "provider": "Stripe",
            "configuration": {"apiKey": "sk_test_0123456789abcdef"},
        },
    }
    for (method, path), body in bodies.items():
        status, refused = alice(method, path, body)
        assert status == 403, (method, path, refused)
    assert alice("GET", "/providers/Stripe")[0] == 404


def test_the_same_account_twice_is_refused__BR_IM_01(tenant: Tenant, google: OAuthServer) -> None:
    alice = tenant.user()
    connected(alice)
    second = alice("POST", "/integrations", {**GOOGLE, "name": "Again"})[1]["integrationId"]
    status, page = consent(alice, second)
    assert (status, "BR-IM-01" in page) == (409, True)
    found = alice("GET", f"/integrations/{second}")[1]
    assert found["status"] == "PendingValidation" and "same account at the provider" in found["reason"]


def test_an_administrator_names_the_owner_who_then_connects(tenant: Tenant, google: OAuthServer) -> None:
    admin, owner = tenant.user("integration:admin,integration:manage"), str(uuid4())
    status, created = admin("POST", "/integrations", {**GOOGLE, "ownerId": owner})
    assert (status, created["ownerId"]) == (201, owner)
    carol, dave = tenant.user(id_=owner), tenant.user()
    assert dave("GET", f"/integrations/{created['integrationId']}")[0] == 404
    assert consent(carol, created["integrationId"])[0] == 200
    assert schedule(carol, created["integrationId"])["direction"] == "Bidirectional"
    event = {"title": "Doors", "startsAt": "2026-03-05T18:00:00Z", "attendees": [{"email": "bo@example.com"}]}
    assert admin(
        "PUT",
        f"/integrations/{created['integrationId']}/records",
        {"records": [{"localId": "e", "data": event}]},
    ) == (200, {"stored": 1, "leftOut": 0, "notPushed": ["attendees"]})
    assert dave("POST", "/integrations", {**GOOGLE, "ownerId": owner})[0] == 403
    stripe = {"integrationType": "PaymentGateway", "provider": "Stripe", "ownerId": owner}
    status, refused = admin(
        "POST", "/integrations", {**GOOGLE, **stripe, "configuration": {"apiKey": "sk_test_0123456789"}}
    )
    assert (status, refused["errors"][0]["pointer"]) == (422, "/ownerId")


def test_the_app_answers_only_to_its_provider(tenant: Tenant, google: OAuthServer) -> None:
    status, refused = tenant.user()(
        "POST", "/integrations", {**GOOGLE, "configuration": {"tokenUrl": "https://collector.example/t"}}
    )
    assert (status, refused["errors"][0]["pointer"]) == (422, "/configuration/tokenUrl")
    assert CLIENT_ID not in str(refused)


def test_a_key_with_that_scope_reaches_its_users_calendars_and_no_others(
    tenant: Tenant, google: OAuthServer
) -> None:
    admin = tenant.user("integration:manage,calendar:connect")
    mine, others = connected(admin), connected(tenant.user())
    status, made = admin("POST", "/apikeys", {"keyName": "Calendars", "scopes": ["calendar:connect"]})
    assert status == 201, made

    def ask(method: str, path: str) -> tuple[int, Any]:
        return call(method, f"{tenant.host.url}{path}", headers={"x-api-key": made["key"]})

    status, listed = ask("GET", "/integrations")
    assert (status, [found["integrationId"] for found in listed["items"]]) == (200, [mine])
    assert ask("GET", f"/integrations/{others}")[0] == 404
    assert ask("GET", "/datasyncs")[0] == 200
    status, refused = ask("GET", "/webhooks")
    assert (status, refused["code"]) == (403, "insufficient-scope")


def test_a_push_of_the_provider_continues_the_sync_within_seconds(
    tenant: Tenant, google: OAuthServer
) -> None:
    alice = tenant.user()
    id_ = connected(alice, configuration={"channelToken": "token-of-the-channel"})
    schedule(alice, id_)
    for number in range(1, 4):
        headers = {
            "x-goog-channel-id": "channel-1",
            "x-goog-channel-token": "token-of-the-channel",
            "x-goog-message-number": str(number),
            "x-goog-resource-state": "exists",
        }
        url = f"{alice.host.url}/webhooks/incoming/{id_}"
        assert call("POST", url, b"", headers=headers)[0] == 202
    pushed = alice.eventually(lambda: jobs(alice, "Push"), seconds=20)
    assert (pushed[0]["syncType"], pushed[0]["direction"]) == ("Incremental", "Bidirectional")
    assert len(pushed) <= 2
    assert alice("POST", "/datasyncs", {"integrationId": id_})[0] == 201, "a push does not count for BR-DS-02"


@pytest.fixture
def feed() -> Iterator[str]:
    """The address of a published calendar."""

    class Published(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/calendar")
            self.send_header("content-length", str(len(CALENDAR)))
            self.end_headers()
            self.wfile.write(CALENDAR)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Published)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/team.ics"
    server.shutdown()
    server.server_close()


def test_a_published_calendar_is_imported_every_hour_and_connected_once__BR_IM_01(
    tenant: Tenant, feed: str
) -> None:
    alice, bob = tenant.user(), tenant.user()
    body = {**GOOGLE, "provider": "iCal", "configuration": {"feedUrl": feed}}
    status, created = alice("POST", "/integrations", body)
    assert (status, created["status"]) == (201, "Active"), created
    made = schedule(alice, created["integrationId"])
    assert (made["syncType"], made["direction"], made["intervalMinutes"]) == ("Incremental", "Import", 60)
    [first] = alice.eventually(lambda: jobs(alice, "Authorization"))
    assert (first["syncType"], first["direction"]) == ("Full", "Import")
    status, refused = alice("POST", "/integrations", {**body, "name": "Again"})
    assert (status, refused["code"]) == (409, "BR-IM-01")
    assert len(alice("GET", "/integrations")[1]["items"]) == 1
    assert bob("POST", "/integrations", body)[1]["status"] == "Active"
