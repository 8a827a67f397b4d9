"""A REST API described by its configuration: credentials, round trip, lists, webhooks."""

import hmac
import json
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from domain.providers.contract import ProviderFailure, SignatureRefused, TestOptions
from infra.providers.custom_rest.adapter import PROVIDER as REST
from infra.providers.custom_rest.configuration import CustomRestConfiguration
from infra.providers.custom_rest.records import value_at
from tests.fixtures.providers.custom_rest import WEBHOOK_SECRET
from tests.fixtures.scripted_server import Answer, Recorded, route
from tests.worlds.provider_cases import CASES
from tests.worlds.provider_world import NOW, incoming, world

OPTIONS = TestOptions()
CASE = CASES["REST"]
PLAIN: dict[str, Any] = {"auth": "none", "apiKey": None}


async def health_request(changes: dict[str, Any]) -> Recorded:
    async with world(CASE, changes=changes) as here:
        await REST.probe(here.connection)
        (request,) = here.server.requests
    return request


async def test_api_key_goes_into_the_named_header() -> None:
    request = await health_request({"apiKey": "k-1", "apiKeyName": "X-Venue-Key"})
    assert request.headers["x-venue-key"] == "k-1"
    assert request.query == {}


async def test_api_key_goes_into_the_query() -> None:
    request = await health_request({"apiKey": "k 1&", "apiKeyName": "key", "apiKeyIn": "query"})
    assert request.query == {"key": "k 1&"}


async def test_basic_and_bearer_credentials() -> None:
    basic = await health_request({"auth": "basic", "username": "ada", "password": "p:w"})
    bearer = await health_request({"auth": "bearer", "bearerToken": "t-1"})
    assert basic.headers["authorization"] == "Basic " + b64encode(b"ada:p:w").decode()
    assert bearer.headers["authorization"] == "Bearer t-1"


async def test_fixed_headers_go_with_every_request() -> None:
    assert (await health_request({"headers": {"X-Tenant": "nord"}})).headers["x-tenant"] == "nord"


@pytest.mark.parametrize("way", ["basic", "body"])
async def test_client_credentials_fetch_a_token_first(way: str) -> None:
    async with world(CASE) as here:
        changes = {
            "auth": "clientCredentials",
            "clientId": "id:1",
            "clientSecret": "s/ecret",
            "tokenUrl": f"{here.server.address}/token",
            "scope": "read",
            "clientAuthentication": way,
        }
        configuration = {**CASE.configuration(here.server.address), **changes}
        connection = replace(
            here.connection, configuration=CustomRestConfiguration.model_validate(configuration)
        )
        here.server.add(route("POST /token", Answer(200, {"access_token": "tok-1", "token_type": "Bearer"})))
        await REST.probe(connection)
    asked, health = here.server.requests
    assert asked.form["grant_type"] == "client_credentials" and asked.form["scope"] == "read"
    assert health.headers["authorization"] == "Bearer tok-1"
    if way == "basic":
        assert asked.headers["authorization"] == "Basic " + b64encode(b"id%3A1:s%2Fecret").decode()
    else:
        assert (asked.form["client_id"], asked.form["client_secret"]) == ("id:1", "s/ecret")


async def test_a_refused_client_is_unauthorized() -> None:
    async with world(CASE) as here:
        changes = {"auth": "clientCredentials", "clientId": "id", "clientSecret": "sec-ret"}
        changes["tokenUrl"] = f"{here.server.address}/token"
        configuration = {**CASE.configuration(here.server.address), **changes}
        connection = replace(
            here.connection, configuration=CustomRestConfiguration.model_validate(configuration)
        )
        here.server.always = Answer(400, {"error": "invalid_client", "error_description": "sec-ret"})
        with pytest.raises(ProviderFailure, match="invalid_client") as caught:
            await REST.validate_credentials(connection)
    assert caught.value.kind == "unauthorized"
    assert "sec-ret" not in f"{caught.value!r} {connection!r}"


async def test_an_api_without_credentials_is_not_called_verified() -> None:
    async with world(CASE, changes=PLAIN) as here:
        check = await REST.validate_credentials(here.connection)
    assert check.verified is False and check.detail


async def test_without_an_account_pointer_any_answer_is_health() -> None:
    async with world(CASE, changes={"accountPointer": None}) as here:
        here.server.always = Answer(204)
        check = await REST.validate_credentials(here.connection)
    assert check.account == "127.0.0.1"


ROUND_TRIP = {
    "method": "POST",
    "path": "/things",
    "body": {"name": "test"},
    "statuses": [201],
    "idPointer": "/data/0/id",
    "undoPath": "/things/{id}",
}


async def test_declared_round_trip_is_undone() -> None:
    async with world(CASE, changes={"testRequest": ROUND_TRIP}) as here:
        here.server.add(
            route("POST /things", Answer(201, {"data": [{"id": 7}]})), route("DELETE /things/7", Answer(204))
        )
        result = await REST.test(here.connection, OPTIONS)
    assert here.server.lines == ["POST /things", "DELETE /things/7"]
    assert here.server.requests[0].json == {"name": "test"}
    assert [step.reference for step in result.steps] == ["7", "7"]


async def test_an_id_cannot_lead_the_undo_elsewhere() -> None:
    async with world(CASE, changes={"testRequest": ROUND_TRIP}) as here:
        here.server.add(
            route("POST /things", Answer(201, {"data": [{"id": "../users?all=1"}]})),
            route("DELETE /things/*", Answer(204)),
        )
        await REST.test(here.connection, OPTIONS)
    undo = here.server.requests[-1]
    assert undo.path == "/things/..%2Fusers%3Fall%3D1"
    assert undo.query == {}


async def test_an_unexpected_status_fails_the_round_trip() -> None:
    async with world(CASE, changes={"testRequest": ROUND_TRIP}) as here:
        here.server.add(route("POST /things", Answer(200, {"data": [{"id": 7}]})))
        with pytest.raises(ProviderFailure):
            await REST.test(here.connection, OPTIONS)
    assert here.server.lines == ["POST /things"]


async def test_without_a_round_trip_the_test_is_the_health_path() -> None:
    async with world(CASE) as here:
        await REST.test(here.connection, OPTIONS)
    assert here.server.lines == ["GET /status"]


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", {"a": [1, {"b/c~": 2}]}),
        ("/a/0", 1),
        ("/a/1/b~1c~0", 2),
        ("/a/9", None),
        ("/a/x", None),
        ("/a/0/z", None),
    ],
)
def test_pointers(pointer: str, found: Any) -> None:
    assert value_at({"a": [1, {"b/c~": 2}]}, pointer) == found


def declared(**changes: Any) -> dict[str, Any]:
    return {"baseUrl": "https://api.example.org"} | changes


@pytest.mark.parametrize(
    "given",
    [
        declared(auth="apiKey"),
        declared(auth="basic", username="ada"),
        declared(auth="clientCredentials", clientId="a", clientSecret="b"),
        declared(webhook={"scheme": "hmac"}),
        declared(headers={"Authorization": "Bearer x"}),
        declared(headers={"X-A": "a\r\nb: c"}),
        declared(healthPath="https://evil.example/"),
        declared(apiKey="two\nlines"),
        declared(testRequest={"path": "/x", "undoPath": "/x/{id}"}),
        declared(listRequest={"path": "/x", "paging": {"style": "cursor", "parameter": "c"}}),
        declared(listRequest={"path": "/x", "paging": {"style": "linkHeader", "parameter": "c"}}),
        declared(webhook={"scheme": "hmac", "template": "{url}"}, webhookSecret="s"),
        declared(webhook={"scheme": "hmac", "timestampHeader": "X-T"}, webhookSecret="s"),
        declared(baseUrl="http://api.example.org"),
        declared(baseUrl="https://u:p@api.example.org"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        CustomRestConfiguration.model_validate(given)


@pytest.mark.parametrize(
    "paging",
    [
        {"style": "page", "parameter": "page", "sizeParameter": "per_page", "size": 50},
        {"style": "offset", "parameter": "offset", "sizeParameter": "limit"},
        {"style": "cursor", "parameter": "after", "cursorPointer": "/paging/next"},
        {"style": "linkHeader"},
    ],
)
def test_lists_are_declared_with_their_paging(paging: dict[str, Any]) -> None:
    given = declared(listRequest={"path": "/records", "recordsPointer": "/items", "paging": paging})
    read = CustomRestConfiguration.model_validate(given).list_request
    assert read is not None and read.paging.style == paging["style"]


def test_secrets_are_in_no_text_of_the_configuration() -> None:
    given = declared(
        auth="bearer", bearerToken="tok-secret", webhook={"scheme": "token"}, webhookSecret="hook-secret"
    )
    assert "secret" not in repr(CustomRestConfiguration.model_validate(given)).replace("webhook_secret", "")


BODY = json.dumps({"id": "e-1", "kind": "ticket sold", "n": 1}).encode()
STAMP = str(int(NOW.timestamp()))
STANDARD_SECRET = "whsec_" + b64encode(b"k" * 32).decode()


def mac(message: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(WEBHOOK_SECRET.encode(), message, algorithm)


SCHEMES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain hmac": ({"scheme": "hmac"}, {"X-Signature": mac(BODY).hex()}),
    "hmac with time": (
        {
            "scheme": "hmac",
            "header": "X-Venue-Signature",
            "algorithm": "sha512",
            "encoding": "base64",
            "prefix": "v1=",
            "template": "{timestamp}.{method}.{body}",
            "timestampHeader": "X-Time",
        },
        {
            "X-Time": STAMP,
            "X-Venue-Signature": "v1=" + b64encode(mac(f"{STAMP}.POST.".encode() + BODY, "sha512")).decode(),
        },
    ),
    "github": ({"scheme": "github"}, {"X-Hub-Signature-256": "sha256=" + mac(BODY).hex()}),
    "slack": (
        {"scheme": "slack"},
        {
            "X-Slack-Request-Timestamp": STAMP,
            "X-Slack-Signature": "v0=" + mac(f"v0:{STAMP}:".encode() + BODY).hex(),
        },
    ),
    "token": ({"scheme": "token", "header": "X-Token"}, {"X-Token": WEBHOOK_SECRET}),
    "basic": (
        {"scheme": "basic", "username": "venue"},
        {"Authorization": "Basic " + b64encode(f"venue:{WEBHOOK_SECRET}".encode()).decode()},
    ),
}
EVERY = pytest.mark.parametrize("name", sorted(SCHEMES))


@EVERY
async def test_a_signed_webhook_is_an_event(name: str) -> None:
    scheme, headers = SCHEMES[name]
    scheme = scheme | {"eventIdPointer": "/id", "eventTypePointer": "/kind"}
    async with world(CASE, changes={"webhook": scheme}) as here:
        (event,) = (await REST.receive(here.connection, incoming(BODY, headers))).events
    assert (event.event_id, event.type, event.data["n"]) == ("e-1", "ticket.sold", 1)


@EVERY
async def test_an_event_without_an_id_is_known_by_its_body(name: str) -> None:
    scheme, headers = SCHEMES[name]
    async with world(CASE, changes={"webhook": scheme}) as here:
        first = await REST.receive(here.connection, incoming(BODY, headers))
        again = await REST.receive(here.connection, incoming(BODY, headers))
    assert first.events[0].event_id == again.events[0].event_id
    assert len(first.events[0].event_id) == 32


@EVERY
async def test_a_webhook_without_its_header_or_with_a_wrong_one_is_refused(name: str) -> None:
    scheme, headers = SCHEMES[name]
    last = list(headers)[-1]
    forged = headers[last][:-4] + ("AAA=" if headers[last].endswith("=") else "0000")
    async with world(CASE, changes={"webhook": scheme}) as here:
        for wrong in ({}, headers | {last: ""}, headers | {last: forged}):
            with pytest.raises(SignatureRefused) as caught:
                await REST.receive(here.connection, incoming(BODY, wrong))
            assert WEBHOOK_SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["plain hmac", "hmac with time", "github", "slack"])
async def test_a_changed_body_is_refused(name: str) -> None:
    scheme, headers = SCHEMES[name]
    async with world(CASE, changes={"webhook": scheme}) as here:
        with pytest.raises(SignatureRefused):
            await REST.receive(here.connection, incoming(BODY.replace(b"1", b"2"), headers))


async def test_a_message_of_standard_webhooks_is_known_by_its_signed_id() -> None:
    signed = Webhook(STANDARD_SECRET).sign("msg_1", NOW, BODY.decode())
    headers = {"webhook-id": "msg_1", "webhook-timestamp": STAMP, "webhook-signature": signed}
    changes = {"webhook": {"scheme": "standardWebhooks"}, "webhookSecret": STANDARD_SECRET}
    async with world(CASE, changes=changes) as here:
        (event,) = (await REST.receive(here.connection, incoming(BODY, headers))).events
        with pytest.raises(SignatureRefused):
            await REST.receive(here.connection, incoming(BODY, headers | {"webhook-id": "msg_2"}))
    assert event.event_id == "msg_1"


async def test_an_integration_that_declares_no_webhooks_takes_none() -> None:
    async with world(CASE, changes={"webhook": None}) as here:
        with pytest.raises(ProviderFailure) as caught:
            await REST.receive(here.connection, incoming(BODY, {}))
    assert caught.value.kind == "rejected"
