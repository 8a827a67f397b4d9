"""Webhooks of e-mail providers."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sendgrid.helpers.eventwebhook import EventWebhook

from domain.providers.contract import SignatureRefused
from tests.fixtures.providers.mailgun import SIGNING_KEY
from tests.fixtures.providers.postmark import PASSWORD
from tests.worlds.provider_webhooks import STAMP, only, receiving
from tests.worlds.provider_world import NOW
from tests.worlds.tampering import assert_every_change_is_refused, changed_text

SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
SENDGRID_PUBLIC = SENDGRID_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
SENDGRID_PEM = SENDGRID_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SENDGRID_TEXT = base64.b64encode(SENDGRID_PUBLIC).decode()
SENDGRID_BODY = (
    b'[{"sg_event_id":"a1","event":"delivered","timestamp":1772366399},\r\n'
    b'{"sg_event_id":"b2","event":"bounce","timestamp":1772366400}]\r\n'
)
TOKEN = "e0b5477167110d68991efc6b9f89f0a11066af27834600e123"


def sendgrid_headers(body: bytes, stamp: str = STAMP) -> dict[str, str]:
    signature = SENDGRID_KEY.sign(stamp.encode() + body, ec.ECDSA(SHA256()))
    return {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }


@pytest.mark.parametrize("key", [SENDGRID_TEXT, SENDGRID_PEM.decode()])
async def test_sendgrid_accepts_what_its_own_library_accepts_and_no_change_of_it(key: str) -> None:
    headers = sendgrid_headers(SENDGRID_BODY)
    vendor = EventWebhook(SENDGRID_TEXT)
    assert vendor.verify_signature(SENDGRID_BODY.decode(), *headers.values())
    check = receiving("SendGrid", webhookPublicKey=key)
    first, second = (await check(headers, SENDGRID_BODY)).events
    assert (first.event_id, first.type, first.data["event"]) == ("a1", "delivered", "delivered")
    assert (second.event_id, second.type, second.occurred_at) == ("b2", "bounce", NOW)
    await assert_every_change_is_refused(check, headers, SENDGRID_BODY, signed=dict.fromkeys(headers, 0))


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_sendgrid_refuses_an_old_or_early_message(seconds: int) -> None:
    headers = sendgrid_headers(SENDGRID_BODY, str(int(STAMP) + seconds))
    with pytest.raises(SignatureRefused, match="300 seconds"):
        await receiving("SendGrid", webhookPublicKey=SENDGRID_TEXT)(headers, SENDGRID_BODY)


@pytest.mark.parametrize(
    "key",
    [
        None,
        "not a key",
        "AAAA",
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    ],
)
async def test_sendgrid_refuses_everything_under_a_key_that_is_none(key: str | None) -> None:
    with pytest.raises(SignatureRefused):
        await receiving("SendGrid", webhookPublicKey=key)(sendgrid_headers(SENDGRID_BODY), SENDGRID_BODY)


def mailgun_body(stamp: str = STAMP, random: str = TOKEN, **changes: Any) -> bytes:
    """`changes` are made after signing."""
    signature = hmac.digest(SIGNING_KEY.encode(), f"{stamp}{random}".encode(), "sha256").hex()
    signed = {"token": random, "timestamp": stamp, "signature": signature} | changes
    event = {"event": "delivered", "id": "W3X4JOhFT-OZidZGKKr9iA", "timestamp": 1772366400.5}
    return json.dumps({"signature": signed, "event-data": event}).encode()


async def test_mailgun_accepts_its_documented_form_and_no_change_of_what_is_signed() -> None:
    check = receiving("Mailgun")
    event = only(await check({}, mailgun_body()))
    assert (event.type, event.data["id"]) == ("delivered", "W3X4JOhFT-OZidZGKKr9iA")
    good = json.loads(mailgun_body())["signature"]
    for name, value in good.items():
        for changed in changed_text(value):
            with pytest.raises(SignatureRefused):
                await check({}, mailgun_body(**{name: changed}))
        for changed in (None, "", [], {}, True, 0):
            with pytest.raises(SignatureRefused):
                await check({}, mailgun_body(**{name: changed}))


@pytest.mark.parametrize("name", ["timestamp", "token", "signature"])
async def test_mailgun_with_half_a_character_is_refused_like_any_other_change(name: str) -> None:
    """JSON can hold a lone surrogate, which UTF-8 cannot."""
    body = json.loads(mailgun_body())
    body["signature"][name] += "\ud800"
    with pytest.raises(SignatureRefused):
        await receiving("Mailgun")({}, json.dumps(body).encode())


async def test_mailgun_replayed_with_another_payload_is_recognisable_as_a_repeat() -> None:
    check = receiving("Mailgun")
    first = only(await check({}, mailgun_body()))
    forged = json.loads(mailgun_body()) | {"event-data": {"event": "failed", "id": "forged"}}
    again = only(await check({}, json.dumps(forged).encode()))
    assert again.event_id == first.event_id
    other = only(await check({}, mailgun_body(random="f" * 50)))
    assert other.event_id != first.event_id


@pytest.mark.parametrize(("seconds", "told"), [(-86_401, "86400 seconds"), (301, "300 seconds")])
async def test_mailgun_refuses_an_old_or_early_message(seconds: int, told: str) -> None:
    with pytest.raises(SignatureRefused, match=told):
        await receiving("Mailgun")({}, mailgun_body(str(int(STAMP) + seconds)))


@pytest.mark.parametrize("hours", [0.2, 1, 8, 24])
async def test_mailgun_repeats_for_hours_with_its_first_signature(hours: float) -> None:
    first = only(await receiving("Mailgun")({}, mailgun_body(str(int(STAMP) - int(hours * 3600)))))
    assert first.type == "delivered"
    with pytest.raises(SignatureRefused, match="600 seconds"):
        await receiving("Mailgun", webhookToleranceSeconds=600)({}, mailgun_body(str(int(STAMP) - 601)))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"signature":"x"}', b'{"signature":[]}'])
async def test_mailgun_refuses_a_body_without_a_signature(body: bytes) -> None:
    with pytest.raises(SignatureRefused):
        await receiving("Mailgun")({}, body)


def postmark_headers(user: str = "postmark", password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_postmark_accepts_its_user_name_and_password_and_no_change_of_them() -> None:
    check = receiving("Postmark")
    body = b'{"RecordType":"Delivery","MessageID":"883953f4","DeliveredAt":"2026-03-01T11:59:59-00:00"}'
    event = only(await check(postmark_headers(), body))
    assert event.type == "Delivery"
    assert event.occurred_at is not None
    assert only(await check(postmark_headers(), body)).event_id == event.event_id
    assert only(await check(postmark_headers(), body + b" ")).event_id != event.event_id
    for value in changed_text(postmark_headers()["Authorization"], len("Basic ")):
        with pytest.raises(SignatureRefused):
            await check({"Authorization": value}, body)


@pytest.mark.parametrize(
    "headers", [{}, postmark_headers(password=""), postmark_headers(user=""), {"Authorization": "Basic"}]
)
async def test_postmark_refuses_a_request_without_the_credentials(headers: Mapping[str, str]) -> None:
    with pytest.raises(SignatureRefused):
        await receiving("Postmark")(headers, b"{}")


async def test_postmark_refuses_everything_while_no_credentials_are_configured() -> None:
    check = receiving("Postmark", webhookUsername=None, webhookPassword=None)
    for headers in ({}, postmark_headers("", ""), postmark_headers("None", "None")):
        with pytest.raises(SignatureRefused):
            await check(headers, b"{}")


async def test_postmark_inbound_mail_has_no_record_type() -> None:
    assert (
        only(await receiving("Postmark")(postmark_headers(), b'{"From":"a@example.org"}')).type == "Inbound"
    )
