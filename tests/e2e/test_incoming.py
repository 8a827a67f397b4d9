"""Incoming webhooks over HTTP, signed by the vendors' own libraries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from bench.harness import HostProcess, running
from domain.integrations.model import Integration
from tests.worlds.hub_api import Receiver
from tests.worlds.incoming_door import Door, now
from tests.worlds.incoming_world import (
    STRIPE,
    STRIPE_SECRET,
    Signed,
    changed,
    sendgrid_keys,
    signed_by_github,
    signed_by_slack,
    signed_by_standard_webhooks,
    signed_by_stripe,
    signed_by_twilio,
    stripe_event,
)

pytestmark = pytest.mark.e2e
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TWILIO_TOKEN = "12345678901234567890123456789012"


@pytest.fixture
def door(host: HostProcess) -> Iterator[Door]:
    made = Door(host)
    yield made
    made.hub.database.close()


@dataclass(frozen=True)
class Vendor:
    """A provider's configuration and a request its own library signed; `signed_headers` are covered by it."""

    provider: str
    configuration: dict[str, Any]
    sign: Callable[[str], Signed]
    signed_headers: tuple[str, ...]
    event_type: str


def _rest(scheme: str, secret: str, sign: Callable[[str], Signed], *headers: str) -> Vendor:
    webhook = {"scheme": scheme, "eventTypePointer": "/type"}
    configuration = {"baseUrl": "https://api.example.com", "webhook": webhook, "webhookSecret": secret}
    return Vendor("REST", configuration, sign, headers, "rest.order.placed")


def _vendors() -> dict[str, Vendor]:
    body = json.dumps({"type": "order.placed", "n": 1, "who": "Zoë"}, ensure_ascii=False).encode()
    form = {"MessageSid": "SM" + "0" * 32, "MessageStatus": "delivered", "Body": "Grüß Gott & more"}
    public_key, sendgrid = sendgrid_keys()
    mails = json.dumps([{"sg_event_id": "e1", "event": "delivered", "timestamp": 1_772_355_600}]).encode()
    return {
        "stripe": Vendor(
            "Stripe",
            dict(STRIPE),
            lambda url: signed_by_stripe(stripe_event(), now()),
            ("stripe-signature",),
            "stripe.charge.succeeded",
        ),
        "twilio": Vendor(
            "Twilio",
            {"accountSid": "AC" + "0" * 32, "authToken": TWILIO_TOKEN, "fromNumber": "+15005550006"},
            lambda url: signed_by_twilio(url, form, TWILIO_TOKEN),
            ("x-twilio-signature",),
            "twilio.",
        ),
        "sendgrid": Vendor(
            "SendGrid",
            {"apiKey": "SG.abcdefgh", "fromEmail": "a@example.com", "webhookPublicKey": public_key},
            lambda url: sendgrid(mails, now()),
            ("x-twilio-email-event-webhook-signature", "x-twilio-email-event-webhook-timestamp"),
            "sendgrid.delivered",
        ),
        "slack": _rest(
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            lambda url: signed_by_slack(body, now(), "8f742231b10e8888abcd99yyyzzz85a5"),
            "x-slack-signature",
            "x-slack-request-timestamp",
        ),
        "standardwebhooks": _rest(
            "standardWebhooks",
            SECRET,
            lambda url: signed_by_standard_webhooks(body, now(), SECRET),
            "webhook-signature",
            "webhook-timestamp",
            "webhook-id",
        ),
        "github": _rest(
            "github", "s3cr3t", lambda url: signed_by_github(body, "s3cr3t", "d1"), "x-hub-signature-256"
        ),
    }


VENDORS = _vendors()


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=VENDORS)
def test_a_webhook_signed_by_the_vendors_library_is_taken_and_a_changed_byte_is_not(
    door: Door, vendor: Vendor
) -> None:
    integration = door.integration(vendor.provider, **vendor.configuration)
    sent = vendor.sign(door.public_url(integration))
    step = max(1, len(sent.body) // 12)
    for index in {*range(0, len(sent.body), step), len(sent.body) - 1}:
        status, answer = door.send(integration, Signed(changed(sent.body, index), sent.headers))
        assert (status, answer["code"]) == (401, "bad-signature"), index
    for name in vendor.signed_headers:
        value = sent.headers[name]
        for index in {0, len(value) // 3, len(value) // 2, len(value) - 1}:
            forged = changed(value.encode(), index).decode()
            status, answer = door.send(integration, Signed(sent.body, {**sent.headers, name: forged}))
            assert (status, answer["code"]) == (401, "bad-signature"), (name, index)
        without = {one: value for one, value in sent.headers.items() if one != name}
        assert door.send(integration, Signed(sent.body, without))[0] == 401
    assert door.events(integration) == []
    assert door.send(integration, sent) == (202, {"accepted": 1, "duplicates": 0})
    status, again = door.send(integration, sent)
    assert (status, again["accepted"], again["duplicates"]) == (200, 0, 1)
    known_by_content = len(door.events(integration)[0]["providerEventId"]) == 32
    assert ("note" in again) is known_by_content
    [stored] = door.events(integration)
    assert stored["eventType"].startswith(vendor.event_type)
    assert (stored["status"], stored["sourceIp"]) == ("Processed", "127.0.0.1")
    one = f"/webhooks/incoming/{integration.integration_id}/events/{stored['incomingWebhookId']}"
    status, detail = door.api("GET", one)
    assert status == 200
    assert detail["body"].encode() == sent.body


def test_every_byte_value_reaches_the_verifier_as_it_was_sent(door: Door) -> None:
    integration = door.integration()
    body = bytes(range(256)) * 8
    timestamp = str(int(now().timestamp()))
    digest = hmac.new(STRIPE_SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    status, answer = door.send(integration, Signed(body, {"stripe-signature": f"t={timestamp},v1={digest}"}))
    assert (status, answer) == (202, {"accepted": 1, "duplicates": 0})
    [kept] = door.events(integration)
    assert (kept["status"], kept["errorMessage"]) == ("Failed", "The body is not UTF-8.")
    status, answer = door.send(
        integration, Signed(body[:-1], {"stripe-signature": f"t={timestamp},v1={digest}"})
    )
    assert (status, answer["detail"]) == (401, "The signature does not match.")


def test_a_webhook_sent_in_chunks_is_411_and_not_a_bad_signature(door: Door) -> None:
    integration = door.integration()
    signed = signed_by_stripe(stripe_event(), now())
    path = f"/api/webhooks/incoming/{integration.integration_id}"
    connection = http.client.HTTPConnection("127.0.0.1", door.host.port, timeout=30)
    connection.request("POST", path, iter([signed.body]), signed.headers, encode_chunked=True)
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    connection.close()
    assert (answer.status, problem["code"]) == (411, "length-required")
    assert door.send(integration, signed)[0] == 202


def test_subscribers_get_the_providers_event_and_webhook_received(door: Door, receiver: Receiver) -> None:
    door.api.webhook(receiver.url, eventTypes=["stripe.*", "WebhookReceived"])
    integration = door.integration()
    assert door.send(integration, signed_by_stripe(stripe_event("evt_sub"), now()))[0] == 202
    got = {request["json"]["type"]: request["json"]["data"] for request in receiver.wait(2)}
    assert got["stripe.charge.succeeded"]["id"] == "evt_sub"
    [stored] = door.events(integration)
    assert got["WebhookReceived"]["webhookId"] == stored["incomingWebhookId"]
    one = f"/webhooks/incoming/{integration.integration_id}/events/{stored['incomingWebhookId']}/retry"
    status, again = door.api("POST", one)
    assert (status, again["attempts"]) == (202, 2)
    assert receiver.wait(3)[2]["json"]["data"]["id"] == "evt_sub"


def test_graphs_handshake_is_echoed_as_plain_text_and_nothing_else(door: Door) -> None:
    configuration = {"clientId": "id", "clientSecret": "secret", "clientState": "a-state-of-our-own-123456"}
    integration = door.integration("Outlook", **configuration)
    path = f"/api/webhooks/incoming/{integration.integration_id}?validationToken=%3Cb%3E%20a%2Bb"
    status, headers, body = door.post(path, b"", {"content-type": "text/plain"})
    assert (status, body) == (200, b"<b> a+b")
    assert headers["content-type"].startswith("text/plain")
    assert headers["x-content-type-options"] == "nosniff"


def test_event_grid_asks_by_options_before_it_sends_cloudevents(door: Door) -> None:
    configuration = {
        "accountName": "acct1",
        "container": "box",
        "accountKey": "a2V5" * 16,
        "eventSecret": "s" * 20,
    }
    integration = door.integration("AzureBlob", **configuration)
    path = f"/api/webhooks/incoming/{integration.integration_id}"
    asked = {"WebHook-Request-Origin": "eventgrid.azure.net"}
    status, headers, body = door.post(f"{path}?secret={'s' * 20}", b"", asked, "OPTIONS")
    assert (status, body, headers["webhook-allowed-origin"]) == (200, b"", "eventgrid.azure.net")
    assert door.post(f"{path}?secret=wrong", b"", asked, "OPTIONS")[0] == 401
    status, headers, _ = door.post(path, b"", {"Access-Control-Request-Method": "POST"}, "OPTIONS")
    assert (status, headers["allow"]) == (405, "GET, POST")


def test_an_address_is_refused_by_what_it_is(door: Door) -> None:
    integration = door.integration()
    sent = signed_by_stripe(stripe_event(), now())
    for unknown in (str(uuid4()), "events", "verify"):
        assert door.post(f"/api/webhooks/incoming/{unknown}", sent.body, sent.headers)[0] == 404
    path = f"/api/webhooks/incoming/{integration.integration_id}"
    assert door.post(f"{path}/not-a-token", sent.body, sent.headers)[0] == 404
    assert door.post(path, b"x" * (1024 * 1024 + 1), sent.headers)[0] == 413
    status, headers, _ = door.post(path, sent.body, {})
    assert status == 401
    assert headers["www-authenticate"] == 'Signature realm="incoming-webhooks"'
    assert headers["content-type"] == "application/problem+json"
    assert door.post(path, b"", {}, "DELETE")[0] == 405
    settings = f"/integrations/{integration.integration_id}/incoming"
    assert door.api("PUT", settings, {"allowedIps": ["198.51.100.0/24"]})[0] == 200
    assert door.post(path, sent.body, {**sent.headers, "x-forwarded-for": "198.51.100.1"})[0] == 403
    assert door.api("PUT", settings, {"allowedIps": ["127.0.0.0/8"]})[0] == 200
    assert door.post(path, sent.body, sent.headers)[0] == 202
    shown = door.api("GET", settings)[1]
    assert shown["refusedCount"] >= 1
    assert (shown["isReceiving"], shown["reason"]) == (True, None)


def test_a_rotated_address_is_shown_once_and_works(door: Door) -> None:
    integration = door.integration()
    base = f"/integrations/{integration.integration_id}"
    status, rotated = door.api("POST", f"{base}/incoming-url/rotate", {"overlapHours": 0})
    assert status == 200, rotated
    assert door.api("GET", f"{base}/incoming")[1]["url"] is None
    sent = signed_by_stripe(stripe_event(), now())
    assert door.post(urlsplit(rotated["url"]).path, sent.body, sent.headers)[0] == 202
    plain = f"/api/webhooks/incoming/{integration.integration_id}"
    assert door.post(plain, sent.body, sent.headers)[0] == 404


def test_twilio_signs_the_rotated_address_too(door: Door) -> None:
    vendor = VENDORS["twilio"]
    integration = door.integration(vendor.provider, **vendor.configuration)
    base = f"/integrations/{integration.integration_id}"
    url = door.api("POST", f"{base}/incoming-url/rotate")[1]["url"]
    sent = vendor.sign(url)
    assert door.post(urlsplit(url).path, sent.body, sent.headers)[0] == 202


def test_the_lists_of_outgoing_webhooks_are_still_where_they_were(door: Door, receiver: Receiver) -> None:
    webhook = door.api.webhook(receiver.url)
    assert door.api("GET", f"/webhooks/{webhook['webhookId']}/deliveries")[0] == 200
    assert door.api("GET", f"/webhooks/{webhook['webhookId']}")[0] == 200


def test_a_thousand_webhooks_posted_at_once_and_twice_are_stored_once_each(tmp_path: Path) -> None:
    with running(tmp_path / "hub", workers=2) as host:
        door = Door(host)
        integration = door.integration()
        moment = now()
        sent = [signed_by_stripe(stripe_event(f"evt_{index}"), moment) for index in range(1_000)]
        # Both posts of each are in flight together, at two processes.
        statuses = asyncio.run(_post_all(door, integration, [signed for signed in sent for _ in range(2)]))
        assert sorted(statuses) == [200] * 1_000 + [202] * 1_000
        path = f"/webhooks/incoming/{integration.integration_id}/events?pageSize=1"
        assert door.api("GET", path)[1]["total"] == 1_000
        door.hub.database.close()


async def _post_all(door: Door, integration: Integration, requests: list[Signed]) -> list[int]:
    import aiohttp

    url = f"{door.host.url}/webhooks/incoming/{integration.integration_id}"
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(one: Signed) -> int:
            async with session.post(url, data=one.body, headers=one.headers) as answer:
                await answer.read()
                return answer.status

        return list(await asyncio.gather(*(post(request) for request in requests)))
