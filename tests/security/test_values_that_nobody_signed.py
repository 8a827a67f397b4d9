"""A captured webhook is sent again with another id, time, content or media type: what its signature does not cover.

Of each scheme by which a sender is known: whatever is altered that is not signed has no effect, or is refused."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import urlencode

import pytest

from domain.core.errors import Unauthenticated
from domain.providers.contract import IncomingAnswer, ProviderFailure, SignatureRefused
from infra.providers.custom_rest.configuration import WebhookScheme
from infra.providers.registry import all_providers
from tests.fixtures.providers import twilio, vonage
from tests.fixtures.providers.custom_rest import WEBHOOK_SECRET
from tests.worlds.builders import TENANT, USER
from tests.worlds.incoming_desk import Desk
from tests.worlds.incoming_world import Signed, seed, signed_by_standard_webhooks
from tests.worlds.provider_webhooks import STAMP, URL, only
from tests.worlds.provider_world import NOW
from tests.worlds.signed_webhooks import (
    BODY,
    FORM,
    GENUINE,
    JSON,
    STANDARD_SECRET,
    Genuine,
    declared,
    mac,
    sns_message,
)

EVERY = pytest.mark.parametrize("name", sorted(GENUINE))
#: What other schemes read, and what servers and proxies do.
_NOISE = {
    "authorization": "Bearer a.b.c",
    "ce-id": "forged",
    "ce-type": "forged",
    "content-encoding": "br",
    "content-type": "application/x-www-form-urlencoded",
    "date": "Thu, 01 Jan 1970 00:00:00 GMT",
    "idempotency-key": "forged",
    "stripe-signature": "t=1,v1=00",
    "webhook-id": "forged",
    "webhook-timestamp": "1",
    "x-event-type": "forged",
    "x-forwarded-host": "attacker.example",
    "x-github-delivery": "forged",
    "x-github-event": "forged",
    "x-http-method-override": "GET",
    "x-id": "forged",
    "x-request-id": "forged",
    "x-shopify-topic": "forged",
    "x-shopify-webhook-id": "forged",
    "x-slack-request-timestamp": "1",
    "x-timestamp": "1",
    "x-twilio-webhooks-signature-settings": "algorithm=HMAC_SHA256",
}
_TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "text/plain",
    "",
)
_QUERY = urlencode(
    {"status": "forged", "id": "forged", "MessageStatus": "forged", "timestamp": "1", "sig": "00"}
)


def _facts(answer: IncomingAnswer) -> list[tuple[Any, ...]]:
    return [
        (event.event_id, event.type, event.occurred_at, event.data, event.content_digest, event.unreadable)
        for event in answer.events
    ]


def _alterations(genuine: Genuine) -> Iterator[dict[str, Any]]:
    headers = genuine.headers
    for name, value in _NOISE.items():
        if name not in headers and not (genuine.known and name.startswith("ce-")):
            yield {"headers": {**headers, name: value}}
    for kind in _TYPES if genuine.body else ():
        yield {"headers": {**headers, "content-type": kind}}
    if not genuine.known:
        for name in headers.keys() - genuine.flagged - {"content-type"}:
            for value in ("forged", f"{headers[name]}, forged", f"{headers[name]}1", f"0{headers[name]}", ""):
                yield {"headers": {**headers, name: value}}
    for name in headers:
        for blank in (" ", "\t") if genuine.known else (" ", "\t", "\xa0", "\x85", "\x1c"):
            yield {"headers": {**headers, name: f"{blank}{headers[name]}{blank}"}}
    yield {"url": f"{genuine.url}{'&' if '?' in genuine.url else '?'}{_QUERY}"}
    yield {"method": "GET"}
    yield {"method": "GET", "url": f"{genuine.url}{'&' if '?' in genuine.url else '?'}{_QUERY}"}


@EVERY
async def test_what_is_not_signed_has_no_effect(name: str) -> None:
    genuine = GENUINE[name]
    expected = _facts(await genuine.received())
    assert expected and not any(facts[-1] for facts in expected)
    same = 0
    for changes in _alterations(genuine):
        try:
            found = _facts(await genuine.received(**changes))
        except SignatureRefused:
            continue
        except ProviderFailure as failure:
            # Kept as failed (`malformed`) or refused, and never raised: nobody is told what was not signed.
            assert failure.kind in ("malformed", "rejected")
            continue
        assert found == expected, changes
        same += 1
    assert same >= len(_NOISE) - 8


def test_every_scheme_is_looked_at() -> None:
    schemes = get_args(WebhookScheme.model_fields["scheme"].annotation)
    looked_at = {
        genuine.changes["webhook"]["scheme"] for genuine in GENUINE.values() if genuine.provider == "REST"
    }
    assert looked_at == set(schemes)
    receiving = {name for name, provider in all_providers().items() if provider.profile.webhook_scheme}
    assert {genuine.provider for genuine in GENUINE.values()} == receiving
    assert len(receiving) + len(schemes) > 15


@pytest.mark.parametrize("name", sorted(name for name, genuine in GENUINE.items() if genuine.flagged))
async def test_an_id_that_the_vendor_does_not_sign_is_told_and_the_content_is_known_by_its_digest(
    name: str,
) -> None:
    genuine = GENUINE[name]
    event = only(await genuine.received())
    assert set(event.unsigned) == {"id", "type"}
    for header in genuine.flagged:
        forged = only(await genuine.received(headers={**genuine.headers, header: "forged"}))
        assert forged.content_digest == event.content_digest and forged.data == event.data
    for odd in ("d-1\xa0x", "d-1, d-2", "d 1", "d\x001", "d-\u00e9", "x" * 201):
        for header in (header for header in genuine.flagged if header.endswith(("-id", "-delivery"))):
            with pytest.raises(SignatureRefused, match="plain"):
                await genuine.received(headers={**genuine.headers, header: odd})


@pytest.mark.parametrize(
    "odd", ["evt 1", "evt-1, evt-2", "evt\xa01", "evt\r\n1", "évt", "x" * 201, "a;b", 'a"b']
)
async def test_a_signed_id_outside_the_plain_alphabet_is_refused(odd: str) -> None:
    with pytest.raises(SignatureRefused, match="plain"):
        await declared("{id}.{timestamp}.{body}", id=odd).received()
    with pytest.raises(SignatureRefused, match="plain"):
        signed = signed_by_standard_webhooks(b"{}", NOW, STANDARD_SECRET, odd)
        await GENUINE["REST standardWebhooks"].received(headers=signed.headers, body=signed.body)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    made.clock.move_to(NOW)
    yield made
    made.hub.database.close()


def _signed(text: bytes) -> str:
    return mac(WEBHOOK_SECRET, text).hex()


def _here(desk: Desk, **scheme: Any) -> Any:
    configuration = {
        "baseUrl": "https://api.example",
        "webhook": scheme,
        "webhookSecret": STANDARD_SECRET if scheme["scheme"] == "standardWebhooks" else WEBHOOK_SECRET,
    }
    return seed(desk.hub, tenant=TENANT, user=USER, provider="REST", configuration=configuration)


@pytest.mark.parametrize("blank", ["\xa0", "\x85", "\x1f", "\u2003", "\t", " "])
def test_a_captured_request_is_no_new_event_with_a_blank_behind_its_id(desk: Desk, blank: str) -> None:
    there = _here(desk, scheme="hmac", template="{id}.{body}", idHeader="X-Id")
    headers = {**JSON, "x-signature": _signed(b"evt-1." + BODY), "x-id": "evt-1"}
    assert desk.receive(Signed(BODY, headers), to=there).accepted == 1
    again = Signed(BODY, {**headers, "x-id": f"evt-1{blank}"})
    if blank in " \t":  # HTTP allows them around every value
        assert desk.receive(again, to=there).duplicates == 1
        return
    with pytest.raises(Unauthenticated, match="plain"):
        desk.receive(again, to=there)


@pytest.mark.parametrize(
    ("template", "genuine", "moved"),
    [
        # A digit at the end of the id, or of the body, goes to the front of the time, which stays the same.
        ("{id}{timestamp}|{body}", ("evt-0", STAMP, "x"), ("evt-", f"0{STAMP}", "x")),
        ("{body}{timestamp}|{id}", ("evt", STAMP, "total=10"), ("evt", f"0{STAMP}", "total=1")),
        # The beginning of a body goes to the end of the id.
        ("{id}{body}", ("evt", STAMP, "a=1"), ("evta", STAMP, "=1")),
        ("{id}.{body}", ("evt", STAMP, "a.b"), ("evt.a", STAMP, "b")),
        ("{body}.{id}", ("evt", STAMP, "a.b"), ("b.evt", STAMP, "a")),
        # The time goes to the end of the id, and one at the beginning of the body takes its place.
        ("{id}.{timestamp}.{body}", ("evt", STAMP, f"{STAMP}.x"), (f"evt.{STAMP}", STAMP, "x")),
        ("{id}.{timestamp}.{body}", (f"evt.{STAMP}", STAMP, "x"), ("evt", STAMP, f"{STAMP}.x")),
    ],
)
def test_a_captured_request_is_no_new_event_with_the_borders_of_its_parts_moved(
    desk: Desk, template: str, genuine: tuple[str, str, str], moved: tuple[str, str, str]
) -> None:
    stamped = {"timestampHeader": "X-Timestamp"} if "{timestamp}" in template else {}
    there = _here(desk, scheme="hmac", template=template, idHeader="X-Id", **stamped)
    joined = {
        template.replace("{id}", id_).replace("{timestamp}", stamp).replace("{body}", body)
        for id_, stamp, body in (genuine, moved)
    }
    assert len(joined) == 1  # so that one signature is right for both
    accepted = []
    for id_, stamp, body in (genuine, moved):
        headers = {"content-type": "text/plain", "x-id": id_, "x-timestamp": stamp}
        try:
            signature = {"x-signature": _signed(joined.copy().pop().encode())}
            accepted.append(desk.receive(Signed(body.encode(), headers | signature), to=there).accepted)
        except Unauthenticated:
            accepted.append(0)
    assert accepted in ([1, 0], [0, 0])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "br, gzip", "zstd"])
def test_a_coding_that_somebody_wrote_on_a_signed_body_makes_no_other_event_of_it(
    desk: Desk, coding: str
) -> None:
    there = _here(desk, scheme="hmac", template="{id}.{body}", idHeader="X-Id")
    headers = {**JSON, "x-signature": _signed(b"evt-1." + BODY), "x-id": "evt-1"}
    assert desk.receive(Signed(BODY, {**headers, "content-encoding": coding}), to=there).accepted == 1
    assert desk.receive(Signed(BODY, headers), to=there).duplicates == 1
    assert [webhook.status.name for webhook in desk.inbox(of=there)] == ["Processed"]


def test_events_whose_id_cannot_be_told_from_what_follows_are_known_by_all_that_was_signed(
    desk: Desk,
) -> None:
    there = _here(desk, scheme="hmac", template="{id}{body}", idHeader="X-Id")
    for id_, is_new in (("evt-1", True), ("evt-2", True), ("evt-1", False)):
        headers = {**JSON, "x-signature": _signed(id_.encode() + BODY), "x-id": id_}
        assert desk.receive(Signed(BODY, headers), to=there).accepted == int(is_new)


@pytest.mark.parametrize(
    ("name", "header", "prefix"),
    [
        ("REST github", "x-hub-signature-256", "sha256="),
        ("REST meta", "x-hub-signature-256", "sha256="),
        ("REST hmac {body}", "x-signature", ""),
    ],
)
async def test_a_query_is_no_event_because_no_body_was_signed_once(
    name: str, header: str, prefix: str
) -> None:
    """The signature of an empty body, as of a ping, is right for every query."""
    genuine = GENUINE[name]
    forged = {"method": "GET", "body": b"", "url": f"{URL}?kind=order.paid&total=9"}
    signature = {header: f"{prefix}{_signed(b'')}"}
    event = only(await genuine.received(headers=signature, **forged))
    assert event.data == {"contentType": "", "text": ""}
    with pytest.raises(ProviderFailure):
        await genuine.received(headers=JSON | signature, **forged)


async def test_queries_that_are_signed_or_the_known_senders_are_events_of_their_own() -> None:
    ids = set()
    for number in range(2):
        url = f"{URL}?kind=order.paid&number={number}"
        by_token = only(await GENUINE["REST token"].received(method="GET", body=b"", url=url))
        signature = _signed(b"GET" + url.encode())
        by_hmac = only(
            await GENUINE["REST hmac {method}{url}{body}"].received(
                method="GET", body=b"", url=url, headers={"x-signature": signature}
            )
        )
        assert by_token.data == by_hmac.data == {"kind": "order.paid", "number": str(number)}
        ids |= {by_token.event_id, ("hmac", by_hmac.event_id)}
    assert len(ids) == 4


async def test_a_vonage_token_for_a_body_does_not_vouch_for_a_query() -> None:
    genuine = GENUINE["Vonage JWT"]
    forged = only(await genuine.received(method="GET", url=f"{URL}?status=forged&message_uuid=other"))
    assert forged.data["status"] == "delivered" and forged.type == "status.delivered"


async def test_vonage_parameters_do_not_merge_into_one_of_the_same_signature() -> None:
    genuine = GENUINE["Vonage sig"]
    # Signed like the parameters `status`, `timestamp` and `type`; read, it would have no status.
    merged = {"status=failed&timestamp": STAMP, "timestamp": STAMP, "type": "text"}
    text = f"&status=failed&timestamp={STAMP}&timestamp={STAMP}&type=text"
    merged["sig"] = mac(vonage.SIGNATURE_SECRET, text.encode()).hex()
    with pytest.raises(SignatureRefused, match="name"):
        await genuine.received(body=urlencode(merged).encode())


async def test_a_twilio_form_means_the_same_in_whatever_order_a_repeated_name_comes() -> None:
    over = URL + "BodyoneBodytwo" + "MessageSidSM1"
    signature = base64.b64encode(mac(twilio.TOKEN, over.encode(), "sha1")).decode()
    headers = {**FORM, "x-twilio-signature": signature}
    events = [
        only(await GENUINE["Twilio form"].received(headers=headers, body=body))
        for body in (b"Body=one&Body=two&MessageSid=SM1", b"Body=two&Body=one&MessageSid=SM1")
    ]
    assert events[0] == events[1]


async def test_an_sns_message_does_not_swallow_its_own_fields() -> None:
    genuine = GENUINE["S3"]
    records = json.dumps({"Records": [{"eventName": "ObjectRemoved:Delete"}]})
    inside = sns_message(Message=f"{records}\nMessageId\nforged")
    forged = {**inside, "Message": records, "MessageId": f"forged\nMessageId\n{inside['MessageId']}"}
    with pytest.raises(SignatureRefused, match="plain"):
        await genuine.received(body=json.dumps(forged).encode())


async def test_a_paypal_body_of_the_same_checksum_shows_as_a_second_event_of_one_transmission() -> None:
    genuine = GENUINE["PayPal"]
    event = only(await genuine.received())
    forged = _with_the_checksum_of(genuine.body, b'{"id":"WH-2","event_type":"FORGED","x":"', b'"}')
    other = only(await genuine.received(body=forged))
    assert other.event_id == "WH-2" and other.content_digest == event.content_digest


def _with_the_checksum_of(body: bytes, start: bytes, end: bytes) -> bytes:
    """Another body with the same CRC-32, which is linear: letters between `start` and `end` are chosen to fit."""
    size = 64
    letters = bytearray(b"a" * size)
    plain = zlib.crc32(start + letters + end)
    rows: dict[int, tuple[int, int]] = {}
    for place in range(size):
        letters[place] ^= 2
        effect, used = zlib.crc32(start + letters + end) ^ plain, 1 << place
        letters[place] ^= 2
        for top in sorted(rows, reverse=True):
            if effect >> top & 1:
                effect, used = effect ^ rows[top][0], used ^ rows[top][1]
        if effect:
            rows[effect.bit_length() - 1] = (effect, used)
    needed, chosen = plain ^ zlib.crc32(body), 0
    for top in sorted(rows, reverse=True):
        if needed >> top & 1:
            needed, chosen = needed ^ rows[top][0], chosen ^ rows[top][1]
    assert needed == 0
    return (
        start
        + bytes(letter ^ (2 if chosen >> place & 1 else 0) for place, letter in enumerate(letters))
        + end
    )


async def test_a_mailgun_payload_decides_neither_id_nor_time() -> None:
    genuine = GENUINE["Mailgun"]
    event = only(await genuine.received())
    content = json.loads(genuine.body)
    content["event-data"] = {"event": "opened", "id": "forged", "timestamp": 4e9}
    forged = only(await genuine.received(body=json.dumps(content).encode()))
    assert (
        (forged.event_id, forged.occurred_at) == (event.event_id, event.occurred_at) == (event.event_id, NOW)
    )
    assert event.unsigned == ("type",)
