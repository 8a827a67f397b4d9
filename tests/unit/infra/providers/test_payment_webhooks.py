"""Webhooks of payment providers, signed and verified by the vendors' own libraries beside ours."""

import base64
import hmac
import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from square.utils.webhooks_helper import verify_signature as square_verifies

from domain.providers.contract import IncomingAnswer, ProviderFailure, SignatureRefused
from infra.providers.paypal.adapter import PayPal
from tests.fixtures.authority import Authority, new_authority, rsa_key
from tests.fixtures.providers.square import SIGNATURE_KEY
from tests.fixtures.providers.stripe import WEBHOOK_SECRET
from tests.worlds.provider_webhooks import STAMP, URL, Published, only, receiving
from tests.worlds.provider_world import NOW
from tests.worlds.tampering import assert_every_change_is_refused

STRIPE_BODY = b'{"id":"evt_1NG8Du2e","type":"payment_intent.succeeded","created":1772366390,"data":{}}'
SQUARE_BODY = json.dumps(
    {
        "merchant_id": "3MYCJG5GVYQ8Q",
        "type": "payment.updated",
        "event_id": "bc316346-6691-4243-88ed-6d651a0d0c47",
        "created_at": "2026-03-01T11:59:58Z",
        "data": {"type": "payment", "id": "hYy9pRFVxpDsO1FB05SunFWUe9JZY"},
    }
).encode()
PAYPAL_BODY = (
    b'{"id":"WH-58D329510W468432D","event_type":"PAYMENT.CAPTURE.COMPLETED",'
    b'"create_time":"2026-03-01T11:59:58Z"}'
)
CERTIFICATE_URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
PAYPAL_NAME = "messageverificationcerts.paypal.com"


def stripe_header(body: bytes, *, stamp: str = STAMP, secret: str = WEBHOOK_SECRET) -> str:
    return f"t={stamp},v1={hmac.digest(secret.encode(), stamp.encode() + b'.' + body, 'sha256').hex()}"


async def test_stripe_accepts_what_its_own_library_accepts_and_no_change_of_it() -> None:
    header = stripe_header(STRIPE_BODY)
    assert stripe.WebhookSignature.verify_header(STRIPE_BODY.decode(), header, WEBHOOK_SECRET, tolerance=None)
    check = receiving("Stripe")
    event = only(await check({"stripe-signature": header}, STRIPE_BODY))
    assert (event.event_id, event.type) == ("evt_1NG8Du2e", "payment_intent.succeeded")
    assert event.occurred_at == NOW - timedelta(seconds=10)
    assert event.data["data"] == {}
    await assert_every_change_is_refused(
        check, {"Stripe-Signature": header}, STRIPE_BODY, signed={"Stripe-Signature": 0}
    )


async def test_stripe_accepts_any_of_several_signatures_while_a_secret_rotates() -> None:
    old = stripe_header(STRIPE_BODY, secret="whsec_the_old_secret")
    _, _, new = stripe_header(STRIPE_BODY).partition(",")
    header = f"{old},{new},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
    assert stripe.WebhookSignature.verify_header(STRIPE_BODY.decode(), header, WEBHOOK_SECRET, tolerance=None)
    only(await receiving("Stripe")({"stripe-signature": header}, STRIPE_BODY))


@pytest.mark.parametrize("seconds", [-301, 301])
async def test_stripe_refuses_an_old_or_early_message(seconds: int) -> None:
    header = stripe_header(STRIPE_BODY, stamp=str(int(STAMP) + seconds))
    with pytest.raises(SignatureRefused, match="300 seconds"):
        await receiving("Stripe")({"stripe-signature": header}, STRIPE_BODY)


@pytest.mark.parametrize(
    "header", ["", "v1=00", f"t={STAMP}", f"t={STAMP},t={STAMP},v1=00", ",,=,", "t=,v1="]
)
async def test_stripe_refuses_a_header_of_another_form(header: str) -> None:
    with pytest.raises(SignatureRefused):
        await receiving("Stripe")({"stripe-signature": header}, STRIPE_BODY)


async def test_stripe_refuses_a_header_with_two_timestamps() -> None:
    header = f"{stripe_header(STRIPE_BODY)},t={STAMP}"
    with pytest.raises(SignatureRefused, match="one t"):
        await receiving("Stripe")({"stripe-signature": header}, STRIPE_BODY)


async def test_without_a_configured_secret_nothing_is_accepted() -> None:
    header = stripe_header(STRIPE_BODY, secret="")
    with pytest.raises(SignatureRefused, match="No webhook secret"):
        await receiving("Stripe", webhookSecret=None)({"stripe-signature": header}, STRIPE_BODY)
    with pytest.raises(SignatureRefused, match="No webhook secret"):
        await receiving("Square", webhookSignatureKey=None)(square_headers(SQUARE_BODY), SQUARE_BODY)
    with pytest.raises(SignatureRefused, match="No webhook id"):
        await receiving("PayPal", webhookId=None)(paypal_headers(PAYPAL_BODY), PAYPAL_BODY)


@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"type":"x"}', b'{"id":"evt"}'])
async def test_a_signed_body_that_is_no_event_is_refused_or_malformed(body: bytes) -> None:
    with pytest.raises((SignatureRefused, ProviderFailure)):
        await receiving("Stripe")({"stripe-signature": stripe_header(body)}, body)


def square_headers(body: bytes, url: str = URL) -> dict[str, str]:
    digest = hmac.digest(SIGNATURE_KEY.encode(), url.encode() + body, "sha256")
    return {"x-square-hmacsha256-signature": base64.b64encode(digest).decode()}


async def test_square_accepts_what_its_own_library_accepts_and_no_change_of_it() -> None:
    headers = square_headers(SQUARE_BODY)
    assert square_verifies(
        request_body=SQUARE_BODY.decode(),
        signature_header=headers["x-square-hmacsha256-signature"],
        signature_key=SIGNATURE_KEY,
        notification_url=URL,
    )
    check = receiving("Square")
    event = only(await check(headers, SQUARE_BODY))
    assert (event.event_id, event.type) == ("bc316346-6691-4243-88ed-6d651a0d0c47", "payment.updated")
    await assert_every_change_is_refused(check, headers, SQUARE_BODY, signed=dict.fromkeys(headers, 0))


async def test_square_refuses_a_message_signed_for_another_address() -> None:
    with pytest.raises(SignatureRefused):
        await receiving("Square", url=URL + "0")(square_headers(SQUARE_BODY), SQUARE_BODY)


def paypal_headers(
    body: bytes, *, sent: str = "2026-03-01T11:59:59Z", certificate: str = CERTIFICATE_URL
) -> dict[str, str]:
    signed = f"69cd13f0-d67a-11e5|{sent}|1JE4291016473214C|{zlib.crc32(body)}".encode()
    signature = rsa_key().sign(signed, PKCS1v15(), SHA256())
    return {
        "PAYPAL-AUTH-ALGO": "SHA256withRSA",
        "PAYPAL-TRANSMISSION-ID": "69cd13f0-d67a-11e5",
        "PAYPAL-TRANSMISSION-TIME": sent,
        "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
        "PAYPAL-CERT-URL": certificate,
    }


ROOT = new_authority()


async def paypal(
    body: bytes, headers: Mapping[str, str], pem: bytes, *, root: Authority = ROOT, at: str = CERTIFICATE_URL
) -> IncomingAnswer:
    provider = PayPal(trusted_roots=root.pem)
    return await receiving("PayPal", provider=provider, http=Published({at: pem}))(headers, body)


async def test_paypal_accepts_a_message_signed_under_a_trusted_certificate_and_no_change_of_it() -> None:
    pem = ROOT.issue(PAYPAL_NAME)
    headers = paypal_headers(PAYPAL_BODY)
    event = only(await paypal(PAYPAL_BODY, headers, pem))
    assert (event.event_id, event.type) == ("WH-58D329510W468432D", "PAYMENT.CAPTURE.COMPLETED")
    assert event.occurred_at == datetime(2026, 3, 1, 11, 59, 58, tzinfo=UTC)

    async def check(changed_headers: Mapping[str, str], changed: bytes) -> None:
        await paypal(changed, changed_headers, pem)

    signed = dict.fromkeys(headers, 0)
    del signed["PAYPAL-CERT-URL"]  # chooses the certificate; the signature answers for the message
    await assert_every_change_is_refused(check, headers, PAYPAL_BODY, signed=signed)


@pytest.mark.parametrize(
    "address",
    [
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT",
        "https://evilpaypal.com/cert",
        "https://evil.example/.paypal.com",
        "https://evil.example#.paypal.com",
        "https://api.paypal.com@evil.example/cert",
        "https://user@api.paypal.com/cert",
        "https://evil.example\\.paypal.com/cert",
        "http://api.paypal.com/cert",
        "https://api.paypal.com:8443/cert",
        "https://paypal.com/cert",
        "https://api.pаypal.com/cert",  # noqa: RUF001 - a Cyrillic letter on purpose
        "https://[::1].paypal.com/cert",
        "ftp://api.paypal.com/cert",
        "nonsense",
    ],
)
async def test_paypal_asks_no_host_but_its_own_for_a_certificate(address: str) -> None:
    http = Published({address: ROOT.issue(PAYPAL_NAME)})
    check = receiving("PayPal", provider=PayPal(trusted_roots=ROOT.pem), http=http)
    with pytest.raises(SignatureRefused, match=r"paypal\.com"):
        await check(paypal_headers(PAYPAL_BODY, certificate=address), PAYPAL_BODY)
    assert http.asked == []


async def test_paypal_is_not_asked_for_a_certificate_when_the_message_is_refused_anyway() -> None:
    http = Published()
    check = receiving("PayPal", http=http)
    for headers in (
        paypal_headers(PAYPAL_BODY, sent="2026-03-01T11:54:59Z"),
        paypal_headers(PAYPAL_BODY, sent="2026-03-01T12:05:01Z"),
        paypal_headers(PAYPAL_BODY, sent="2026-03-01T12:00:00"),
        paypal_headers(PAYPAL_BODY) | {"PAYPAL-AUTH-ALGO": "SHA1withRSA"},
        paypal_headers(PAYPAL_BODY) | {"PAYPAL-TRANSMISSION-SIG": "?"},
    ):
        with pytest.raises(SignatureRefused):
            await check(headers, PAYPAL_BODY)
    assert http.asked == []


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (new_authority().issue(PAYPAL_NAME), "not trusted"),
        (ROOT.issue(PAYPAL_NAME, not_after=NOW - timedelta(days=1)), "not trusted"),
        (ROOT.issue(PAYPAL_NAME, not_before=NOW + timedelta(days=1)), "not trusted"),
        (ROOT.issue("paypal.com.evil.example"), "not issued to paypal.com"),
        (ROOT.issue("evilpaypal.com"), "not issued to paypal.com"),
        (ROOT.issue(PAYPAL_NAME, key=ROOT.key), "not an RSA key"),
        (ROOT.issue(), "not issued to paypal.com"),
        (ROOT.pem, "names no host"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
async def test_paypal_refuses_a_certificate_that_is_not_paypals(pem: bytes, why: str) -> None:
    with pytest.raises(SignatureRefused, match=why):
        await paypal(PAYPAL_BODY, paypal_headers(PAYPAL_BODY), pem)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # of one of the public roots
async def test_paypal_trusts_only_public_roots_when_none_are_given() -> None:
    http = Published({CERTIFICATE_URL: ROOT.issue(PAYPAL_NAME)})
    with pytest.raises(SignatureRefused, match="not trusted"):
        await receiving("PayPal", http=http)(paypal_headers(PAYPAL_BODY), PAYPAL_BODY)


async def test_paypal_that_cannot_be_asked_for_its_certificate_is_an_outage_not_a_bad_signature() -> None:
    with pytest.raises(ProviderFailure):
        await receiving("PayPal", http=Published())(paypal_headers(PAYPAL_BODY), PAYPAL_BODY)
