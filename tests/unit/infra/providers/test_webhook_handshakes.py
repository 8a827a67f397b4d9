"""Handshakes by which a receiver shows that it is one, and the tolerance of signed timestamps."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from domain.providers.contract import IncomingAnswer, ProviderFailure, SignatureRefused
from tests.fixtures.providers.azure_blob import EVENT_SECRET
from tests.worlds.provider_webhooks import STAMP, URL, only, receiving

ORIGIN = {"webhook-request-origin": "eventgrid.azure.net"}


def slack_headers(body: bytes, stamp: str = STAMP, secret: str = "sekrit") -> dict[str, str]:
    digest = hmac.digest(secret.encode(), b"v0:" + stamp.encode() + b":" + body, "sha256").hex()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}


def custom(scheme: str, **changes: Any) -> Any:
    return receiving("REST", **{"webhook": {"scheme": scheme}, "webhookSecret": "sekrit"} | changes)


async def test_slacks_challenge_is_echoed_when_its_signature_holds() -> None:
    body = b'{"type":"url_verification","challenge":"Q0hBTExFTkdF","token":"old"}'
    answer = await custom("slack")(slack_headers(body), body)
    assert (answer.content_type, answer.events) == ("application/json", ())
    assert json.loads(answer.body or b"") == {"challenge": "Q0hBTExFTkdF"}
    with pytest.raises(SignatureRefused):
        await custom("slack")(slack_headers(body, secret="other"), body)
    none = b'{"type":"url_verification","challenge":7}'
    assert only(await custom("slack")(slack_headers(none), none)).data["challenge"] == 7


async def asked(scheme: str, query: dict[str, str], method: str = "GET", **changes: Any) -> IncomingAnswer:
    check = custom(scheme, url=f"{URL}?{urlencode(query)}", method=method, **changes)
    answer: IncomingAnswer = await check({}, b"")
    return answer


SUBSCRIBE = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "sekrit"}


@pytest.mark.parametrize("scheme", ["meta", "github", "hmac", "token"])
async def test_metas_challenge_is_echoed_to_who_knows_the_token(scheme: str) -> None:
    assert (await asked(scheme, SUBSCRIBE)).body == b"1158201444"
    with pytest.raises(SignatureRefused):
        await asked(scheme, SUBSCRIBE | {"hub.verify_token": "sekri"})
    with pytest.raises(SignatureRefused):
        await asked(scheme, SUBSCRIBE, webhookVerifyToken="another")
    own = SUBSCRIBE | {"hub.verify_token": "another"}
    assert (await asked(scheme, own, webhookVerifyToken="another")).body == b"1158201444"
    with pytest.raises(SignatureRefused):
        await asked(scheme, SUBSCRIBE, method="POST")


@pytest.mark.parametrize(
    "changes", [{"hub.mode": "unsubscribe"}, {"hub.challenge": ""}, {"hub.challenge": "1" * 1_001}]
)
async def test_a_subscription_without_a_challenge_is_not_echoed(changes: dict[str, str]) -> None:
    with pytest.raises(ProviderFailure):
        await asked("meta", SUBSCRIBE | changes)


async def test_metas_events_are_signed_like_githubs() -> None:
    body = b'{"object":"page","entry":[]}'
    digest = hmac.digest(b"sekrit", body, "sha256").hex()
    assert only(await custom("meta")({"x-hub-signature-256": f"sha256={digest}"}, body)).data["entry"] == []


@pytest.mark.parametrize("provider", ["AzureBlob", "REST"])
async def test_cloudevents_ask_by_options_and_are_read(provider: str) -> None:
    secret = EVENT_SECRET if provider == "AzureBlob" else "sekrit"

    def door(method: str = "POST", given: str = secret) -> Any:
        url = f"{URL}?secret={given}"
        if provider == "AzureBlob":
            return receiving(provider, url=url, method=method)
        return custom("eventGrid", url=url, method=method)

    answer = await door("OPTIONS")(ORIGIN | {"webhook-request-rate": "120"}, b"")
    assert (answer.body, answer.events) == (b"", ())
    assert answer.headers == {
        "WebHook-Allowed-Origin": "eventgrid.azure.net",
        "WebHook-Allowed-Rate": "*",
    }
    with pytest.raises(SignatureRefused):
        await door("OPTIONS", "wrong")(ORIGIN, b"")
    sent = {
        "specversion": "1.0",
        "type": "Contoso.Sold",
        "source": "/s",
        "id": "A-1",
        "time": "2026-03-01T11:59:00Z",
    }
    told = await door()({"content-type": "application/cloudevents+json"}, json.dumps(sent).encode())
    event = only(told)
    assert (event.event_id, event.type, event.data["source"]) == ("A-1", "Contoso.Sold", "/s")
    assert event.occurred_at is not None
    binary = {f"ce-{name}": value for name, value in sent.items()}
    event = only(await door()(binary | {"content-type": "application/json"}, b'{"n":1}'))
    assert (event.event_id, event.type, event.data["data"]) == ("A-1", "Contoso.Sold", {"n": 1})
    batch = [sent, {"type": "Contoso.Sold", "source": "/without-id"}, {"id": "A-2"}]
    first, second, third = (await door()({}, json.dumps(batch).encode())).events
    assert (first.event_id, len(second.event_id)) == ("A-1", 32)
    assert third.unreadable == "The event has no type."


async def test_event_grids_own_handshake_is_answered_by_its_scheme() -> None:
    check = custom("eventGrid", url=f"{URL}?secret=sekrit")
    asked = {
        "id": "1",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": {"validationCode": "512d38b6"},
    }
    answer = await check({}, json.dumps([asked]).encode())
    assert json.loads(answer.body) == {"validationResponse": "512d38b6"}


@pytest.mark.parametrize(
    ("tolerance", "age", "good"), [(300, 301, False), (900, 899, True), (900, 901, False), (900, -301, False)]
)
async def test_the_tolerance_of_a_signed_timestamp_is_declared(tolerance: int, age: int, good: bool) -> None:
    body, stamp = b'{"a":1}', str(int(STAMP) - age)
    secret = b"k" * 24
    digest = hmac.digest(secret, f"m.{stamp}.".encode() + body, "sha256")
    standard = {
        "webhook-id": "m",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    timed = {"x-t": stamp, "x-signature": hmac.digest(b"sekrit", f"{stamp}.".encode() + body, "sha256").hex()}
    tried: list[tuple[dict[str, Any], str, dict[str, str]]] = [
        ({"scheme": "slack"}, "sekrit", slack_headers(body, stamp)),
        ({"scheme": "standardWebhooks"}, "whsec_" + base64.b64encode(secret).decode(), standard),
        ({"scheme": "hmac", "timestampHeader": "X-T", "template": "{timestamp}.{body}"}, "sekrit", timed),
    ]
    for webhook, text, headers in tried:
        check = receiving("REST", webhook=webhook | {"toleranceSeconds": tolerance}, webhookSecret=text)
        if good:
            only(await check(headers, body))
        else:
            with pytest.raises(SignatureRefused, match="seconds from now"):
                await check(headers, body)
