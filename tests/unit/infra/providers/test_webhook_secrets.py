"""Secrets with which no webhook could be verified are refused when they are set, or read as they were meant."""

import base64
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from domain.providers.contract import STORED, Configuration, SignatureRefused
from infra.providers._kit.signatures import (
    HmacScheme,
    check_github,
    check_slack,
    check_standard_webhooks,
    load_p256_public_key,
    standard_key,
)
from infra.providers.custom_rest.configuration import CustomRestConfiguration
from infra.providers.sendgrid.adapter import SendGridConfiguration
from infra.providers.stripe.adapter import StripeConfiguration
from tests.worlds.provider_webhooks import STAMP, receiving
from tests.worlds.provider_world import NOW

KEY = bytes([251, 255, 191]) * 8
PLAIN = base64.b64encode(KEY).decode()
ODD = b"\xfb" * 25
PUBLIC = ec.derive_private_key(7, ec.SECP256R1()).public_key()
PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
DER = base64.b64encode(PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
P384 = ec.derive_private_key(7, ec.SECP384R1()).public_key()
BODY = b'{"n":1}'


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_" + PLAIN, KEY),
        (PLAIN, KEY),
        ("v1,whsec_" + PLAIN, KEY),
        ("v1," + PLAIN, KEY),
        ("whsec_" + base64.urlsafe_b64encode(KEY).decode(), KEY),
        ("whsec_" + base64.b64encode(ODD).decode().rstrip("="), ODD),
        ("whsec_" + base64.urlsafe_b64encode(ODD).decode().rstrip("="), ODD),
        (" whsec_" + base64.b64encode(ODD).decode()[:-1], ODD),
    ],
)
def test_a_standard_webhooks_secret_is_read_as_it_was_meant(secret: str, key: bytes) -> None:
    assert standard_key(secret) == key


def standard(secret: str) -> dict[str, Any]:
    return {
        "baseUrl": "https://api.example.org",
        "webhook": {"scheme": "standardWebhooks"},
        "webhookSecret": secret,
    }


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_",
        "whsec_correct horse",
        "whsec_abcde",
        "whsec_battery_staple",
        "whsec_a+b-",
        "whpk_" + PLAIN + "!",
        "ключ",
        "whsec_====",
    ],
)
def test_a_standard_webhooks_secret_that_is_no_base64_is_refused_when_it_is_set(secret: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CustomRestConfiguration.model_validate(standard(secret))
    (found,) = caught.value.errors(include_input=False, include_context=False)
    assert found["loc"] == ("webhookSecret",)
    assert secret.removeprefix("whsec_") not in str(caught.value) or secret == "whsec_"


@pytest.mark.parametrize(
    ("model", "given", "name"),
    [
        (CustomRestConfiguration, standard("no base64"), "webhookSecret"),
        (
            CustomRestConfiguration,
            {
                "baseUrl": "https://api.example.org",
                "webhook": {"scheme": "token"},
                "webhookSecret": "two\nlines",
            },
            "webhookSecret",
        ),
        (StripeConfiguration, {"apiKey": "sk_test_1234", "webhookSecret": "sk_test_1234"}, "webhookSecret"),
        (StripeConfiguration, {"apiKey": "sk_test_1234", "webhookSecret": "we_1Mtw"}, "webhookSecret"),
        (
            SendGridConfiguration,
            {"apiKey": "SG.12345678", "fromEmail": "a@x.example", "webhookPublicKey": "MFkwEwYH"},
            "webhookPublicKey",
        ),
        (
            SendGridConfiguration,
            {
                "apiKey": "SG.12345678",
                "fromEmail": "a@x.example",
                "webhookPublicKey": P384.public_bytes(
                    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
                ).decode(),
            },
            "webhookPublicKey",
        ),
    ],
)
def test_a_secret_that_can_never_work_is_refused_when_set_and_closes_nothing_once_stored(
    model: type[Configuration], given: dict[str, Any], name: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    assert caught.value.errors()[0]["loc"] == (name,)
    assert model.model_validate(given, context=STORED)


@pytest.mark.parametrize(
    "key",
    [
        PEM,
        DER,
        DER.rstrip("="),
        "\n".join(DER[at : at + 64] for at in range(0, len(DER), 64)),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", " "),
    ],
)
def test_a_public_key_is_read_although_its_lines_were_lost(key: str) -> None:
    assert load_p256_public_key(key).public_numbers() == PUBLIC.public_numbers()


def test_a_malformed_signature_before_a_good_one_does_not_refuse_it() -> None:
    digest = hmac.digest(KEY, f"m.{STAMP}.".encode() + BODY, "sha256")
    good = "v1," + base64.b64encode(digest).decode()
    for listed in (f"v1,%% {good}", f"v1, {good}", f"v1,AAAA  {good}", f"{good} v1,?", f"v1,no, {good}"):
        headers = {"webhook-id": "m", "webhook-timestamp": STAMP, "webhook-signature": listed}
        assert check_standard_webhooks(["whsec_" + PLAIN], headers, BODY, NOW) == "m"
    secret = "s" * 20
    signed = "sha256=" + hmac.digest(secret.encode(), BODY, "sha256").hex()
    check_github([secret], {"x-hub-signature-256": f"sha256=zz, {signed}"}, BODY)
    slack = "v0=" + hmac.digest(secret.encode(), f"v0:{STAMP}:".encode() + BODY, "sha256").hex()
    check_slack(
        [secret], {"x-slack-signature": f"v0=,{slack}", "x-slack-request-timestamp": STAMP}, BODY, NOW
    )
    for value in (f"sha256=0, {signed}", f"sha1=00,{signed}"):
        HmacScheme("X-S", prefix="sha256=").check([secret], {"x-s": value}, BODY, NOW)
    HmacScheme("X-S", prefix="HMAC ").check([secret], {"x-s": "HMAC " + signed[7:]}, BODY, NOW)


async def test_a_malformed_signature_in_a_stripe_header_does_not_refuse_a_good_one() -> None:
    body = b'{"id":"evt_9","type":"charge.failed"}'
    signature = hmac.digest(b"whsec_of_a_test", f"{STAMP}.".encode() + body, "sha256").hex()
    check = receiving("Stripe", webhookSecret="whsec_of_a_test")
    answer = await check({"stripe-signature": f"t={STAMP},v1=xyz,v1={signature}"}, body)
    assert [event.event_id for event in answer.events] == ["evt_9"]
    with pytest.raises(SignatureRefused):
        await check({"stripe-signature": f"t={STAMP},v1=xyz,v1=00"}, body)


def test_only_malformed_signatures_are_refused_as_such() -> None:
    headers = {"webhook-id": "m", "webhook-timestamp": STAMP, "webhook-signature": "v1,?? v1a,AAAA"}
    with pytest.raises(SignatureRefused, match="base64"):
        check_standard_webhooks(["whsec_" + PLAIN], headers, BODY, NOW)
