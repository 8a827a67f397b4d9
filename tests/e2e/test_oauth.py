"""OAuth over HTTP, with a browser's part played by hand."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from bench.harness import HostProcess
from tests.fixtures.oauth_server import CLIENT_SECRET, OAuthServer, no_redirect
from tests.worlds.hub_api import Api, fresh_tenant

pytestmark = pytest.mark.e2e


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    started = OAuthServer()
    yield started
    started.close()


class Browser:
    """Follows the provider's redirect to the callback, wherever the host says it is publicly."""

    def __init__(self, host: HostProcess) -> None:
        self._callback = f"{host.url}/oauth/callback"

    def callback(self, **query: str) -> tuple[int, Message, str]:
        url = f"{self._callback}?{urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.headers, response.read().decode()
        except HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def redirect(self, **query: str) -> str:
        return no_redirect(f"{self._callback}?{urlencode(query)}")


@pytest.fixture
def browser(host: HostProcess) -> Browser:
    return Browser(host)


def integration(api: Api, server: OAuthServer) -> dict[str, Any]:
    body = {
        "name": "Calendar",
        "integrationType": "CalendarSync",
        "provider": "Google",
        "configuration": server.configuration(),
    }
    status, created = api("POST", "/integrations", body)
    assert status == 201, created
    assert created["status"] == "PendingValidation", created
    return dict(created)


def begin(api: Api, integration_id: str, server: OAuthServer, **body: str) -> dict[str, str]:
    status, begun = api("POST", f"/integrations/{integration_id}/oauth/authorize", body or None)
    assert status == 200, begun
    assert begun["expiresAt"].endswith("Z")
    return dict(parse_qsl(urlsplit(no_redirect(begun["authorizeUrl"])).query))


def test_a_calendar_is_connected_and_shown_and_withdrawn(
    api: Api, server: OAuthServer, browser: Browser, host: HostProcess
) -> None:
    id_ = integration(api, server)["integrationId"]
    status, headers, page = browser.callback(**begin(api, id_, server))
    assert status == 200
    assert headers.get_content_type() == "text/html"
    assert "<h1>Connected</h1>" in page and "auth/calendar.events" in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"] and "script-src" not in page
    assert headers["cache-control"] == "no-store" and headers["referrer-policy"] == "no-referrer"
    assert api("GET", f"/integrations/{id_}")[1]["status"] == "Active"

    status, grant = api("GET", f"/integrations/{id_}/oauth")
    assert (status, grant["status"], grant["missingScopes"]) == (200, "Active", [])
    assert grant["renewable"] is True
    status, tested = api("POST", f"/integrations/{id_}/test")
    assert (status, tested["succeeded"]) == (200, True), tested

    status, withdrawn = api("POST", f"/integrations/{id_}/oauth/revoke")
    assert (status, withdrawn["status"], withdrawn["revokedAtProvider"]) == (200, "Revoked", True)
    assert withdrawn["integrationStatus"] == "Suspended"

    said = host.log.read_text() + page + str(grant) + str(withdrawn)
    said += str(api("GET", f"/audit?targetId={id_}&pageSize=200")) + str(
        api("GET", f"/integrations/{id_}/logs")
    )
    for secret in [*server.issued, CLIENT_SECRET]:
        assert secret not in said


def test_it_goes_back_to_where_the_user_came_from(api: Api, server: OAuthServer, browser: Browser) -> None:
    id_ = integration(api, server)["integrationId"]
    brought = begin(api, id_, server, redirectAfter="/settings/calendars?tab=2")
    assert browser.redirect(**brought) == "/settings/calendars?tab=2"
    status, problem = api(
        "POST", f"/integrations/{id_}/oauth/authorize", {"redirectAfter": "https://evil.example"}
    )
    assert (status, problem["errors"][0]["pointer"]) == (422, "/redirectAfter")


def test_a_link_is_good_once(api: Api, server: OAuthServer, browser: Browser) -> None:
    brought = begin(api, integration(api, server)["integrationId"], server)
    assert browser.callback(**brought)[0] == 200
    status, _, page = browser.callback(**brought)
    assert status == 400
    assert "This link cannot be used" in page


def test_an_expired_link_is_refused(server: OAuthServer, clocked_host: HostProcess) -> None:
    api, browser = fresh_tenant(clocked_host), Browser(clocked_host)
    id_ = integration(api, server)["integrationId"]
    authorize = f"/integrations/{id_}/oauth/authorize"
    before = api("POST", authorize)[1]["expiresAt"]
    brought = begin(api, id_, server)
    clocked_host.advance(601)
    later = datetime.fromisoformat(before) + timedelta(seconds=600)
    api.eventually(lambda: datetime.fromisoformat(api("POST", authorize)[1]["expiresAt"]) > later)
    status, _, page = browser.callback(**brought)
    assert (status, "expired" in page) == (400, True)


def test_what_a_stranger_puts_into_the_link_is_never_shown(browser: Browser) -> None:
    poison = "<script>alert(1)</script>"
    status, headers, page = browser.callback(
        state=poison, code=poison, error=poison, error_description=poison
    )
    assert (status, headers.get_content_type()) == (400, "text/html")
    assert "script" not in page and "alert" not in page


def test_a_user_who_declines_sees_so_and_the_integration_says_so(
    api: Api, server: OAuthServer, browser: Browser
) -> None:
    id_ = integration(api, server)["integrationId"]
    server.denies = "access_denied"
    status, _, page = browser.callback(**begin(api, id_, server))
    assert status == 403
    assert "Access was not granted." in page and "alert(1)" not in page
    found = api("GET", f"/integrations/{id_}")[1]
    assert found["status"] == "PendingValidation"
    assert found["reason"] == "Authorisation failed: Access was not granted."


def test_a_failed_exchange_is_told_on_the_page_and_in_the_reason(
    api: Api, server: OAuthServer, browser: Browser
) -> None:
    id_ = integration(api, server)["integrationId"]
    brought = begin(api, id_, server)
    server.down = True
    status, _, page = browser.callback(**brought)
    assert (status, "500" in page) == (502, True)
    assert api("GET", f"/integrations/{id_}")[1]["status"] == "PendingValidation"


def test_others_can_neither_begin_nor_look(api: Api, server: OAuthServer, host: HostProcess) -> None:
    id_ = integration(api, server)["integrationId"]
    stranger, powerless = fresh_tenant(host), fresh_tenant(host, "webhook:manage")
    for path, method in (("authorize", "POST"), ("revoke", "POST")):
        assert stranger(method, f"/integrations/{id_}/oauth/{path}")[0] == 404
    assert stranger("GET", f"/integrations/{id_}/oauth")[0] == 404
    assert powerless("GET", f"/integrations/{id_}/oauth")[0] == 403


def test_the_asking_browser_gets_a_cookie_that_binds_the_callback(
    api: Api, server: OAuthServer, host: HostProcess, browser: Browser
) -> None:
    id_ = integration(api, server)["integrationId"]
    request = urllib.request.Request(
        f"{host.url}/integrations/{id_}/oauth/authorize",
        b"",
        {"authorization": f"Bearer {api.token}"},
        method="POST",
    )
    with urllib.request.urlopen(request) as response:
        cookie = response.headers["set-cookie"]
        url = json.load(response)["authorizeUrl"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/api/oauth/callback" in cookie
    name = cookie.partition("=")[0]
    brought = server.consent(url)
    callback = f"{host.url}/oauth/callback?{urlencode(brought)}"
    with pytest.raises(HTTPError) as raised:
        urllib.request.urlopen(urllib.request.Request(callback, headers={"cookie": f"{name}=someone-elses"}))
    assert raised.value.code == 400
    assert b"another user" in raised.value.read()
