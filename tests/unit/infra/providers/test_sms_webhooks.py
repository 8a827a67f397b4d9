"""Webhooks of SMS providers, signed by the vendors' own libraries."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from twilio.request_validator import RequestValidator
from vonage_http_client.auth import Auth
from vonage_jwt import verify_signature as vonage_verifies

from domain.providers.contract import SignatureRefused
from tests.fixtures.providers.twilio import TOKEN
from tests.fixtures.providers.vonage import SIGNATURE_SECRET
from tests.worlds.provider_webhooks import STAMP, URL, only, receiving
from tests.worlds.tampering import assert_every_change_is_refused, changed_text

FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}
STATUS = {"MessageSid": "SM1f2a", "Empty": "", "MessageStatus": "delivered", "To": "15017122661"}


def twilio_headers(url: str, parameters: Mapping[str, str] | None = None) -> dict[str, str]:
    signature = RequestValidator(TOKEN).compute_signature(url, parameters or {})
    return {"X-Twilio-Signature": signature}


async def test_twilio_accepts_a_form_its_own_library_signed_and_no_change_of_it() -> None:
    check = receiving("Twilio")
    headers = twilio_headers(URL, STATUS) | FORM
    body = urlencode(STATUS).encode()
    event = only(await check(headers, body))
    assert (event.type, dict(event.data)) == ("message.delivered", STATUS)
    await assert_every_change_is_refused(check, headers, body, signed={"X-Twilio-Signature": 0})


@pytest.mark.parametrize(
    ("given", "signed"),
    [
        ("https://hub.example.org/in?x=1", "https://hub.example.org:443/in?x=1"),
        ("https://hub.example.org:443/in?x=1", "https://hub.example.org/in?x=1"),
        ("https://hub.example.org:8443/in", "https://hub.example.org/in"),
        ("https://hub.example.org:8443/in", "https://hub.example.org:8443/in"),
        ("http://localhost/in", "http://localhost:80/in"),
        ("https://user:pw@hub.example.org/in", "https://user:pw@hub.example.org/in"),
    ],
)
async def test_twilio_signs_the_address_with_or_without_its_port(given: str, signed: str) -> None:
    body = urlencode(STATUS).encode()
    only(await receiving("Twilio", url=given)(twilio_headers(signed, STATUS) | FORM, body))
    with pytest.raises(SignatureRefused):
        other = given.replace("/in", "/out")
        await receiving("Twilio", url=other)(twilio_headers(signed, STATUS) | FORM, body)


async def test_twilio_parameters_in_another_order_are_a_repeat() -> None:
    headers = twilio_headers(URL, STATUS) | FORM
    first = only(await receiving("Twilio")(headers, urlencode(STATUS).encode()))
    turned = urlencode(list(reversed(STATUS.items()))).encode()
    assert only(await receiving("Twilio")(headers, turned)).event_id == first.event_id


async def test_twilio_refuses_a_form_of_more_than_a_thousand_fields() -> None:
    parameters = {f"Field{number}": "x" for number in range(1001)}
    headers = twilio_headers(URL, parameters) | FORM
    with pytest.raises(SignatureRefused, match="not a valid form"):
        await receiving("Twilio")(headers, urlencode(parameters).encode())


async def test_twilio_accepts_json_whose_hash_is_in_the_signed_address_and_no_change_of_it() -> None:
    body = b'[{"id":"EZ1","type":"com.twilio.messaging.message.delivered","time":"2026-03-01T12:00:00Z"}]'
    url = f"{URL}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = twilio_headers(url) | JSON
    assert RequestValidator(TOKEN).validate(url, body.decode(), headers["X-Twilio-Signature"])
    check = receiving("Twilio", url=url)
    event = only(await check(headers, body))
    assert (event.event_id, event.type) == ("EZ1", "com.twilio.messaging.message.delivered")
    await assert_every_change_is_refused(check, headers, body, signed={"X-Twilio-Signature": 0})


async def test_twilio_refuses_a_body_the_signature_does_not_cover() -> None:
    covered = f"{URL}?bodySHA256={hashlib.sha256(b'{}').hexdigest()}"
    for url, method, headers, body in (
        (URL, "POST", twilio_headers(URL) | JSON, b"{}"),
        (URL, "POST", twilio_headers(URL) | FORM, b""),
        (URL, "POST", twilio_headers(URL), b""),
        (URL, "GET", twilio_headers(URL), b"{}"),
        (covered, "GET", twilio_headers(covered), b""),
        (covered, "POST", twilio_headers(covered) | JSON, b"{ }"),
        (covered, "POST", twilio_headers(covered) | FORM, b"a=b"),
    ):
        with pytest.raises(SignatureRefused):
            await receiving("Twilio", url=url, method=method)(headers, body)


async def test_twilio_get_callbacks_are_signed_with_their_query() -> None:
    url = f"{URL}?{urlencode(STATUS)}"
    event = only(await receiving("Twilio", url=url, method="GET")(twilio_headers(url), b""))
    assert event.type == "message.delivered"
    with pytest.raises(SignatureRefused):
        await receiving("Twilio", url=url + "1", method="GET")(twilio_headers(url), b"")


async def test_twilio_shared_keys_sign_with_sha256_and_only_with_the_shared_secret() -> None:
    body = urlencode(STATUS).encode()
    secret = "shared-key-secret-0123456789"

    def headers(key: str, algorithm: str) -> dict[str, str]:
        signature = RequestValidator(key).compute_signature(URL, STATUS, algorithm)
        settings = {"X-Twilio-Webhooks-Signature-Settings": f"key=webhooks_1,algorithm={algorithm}"}
        return {"X-Twilio-Signature": signature} | settings | FORM

    check = receiving("Twilio", webhookSharedSecret=secret)
    only(await check(headers(secret, "HMAC_SHA256"), body))
    only(await check(twilio_headers(URL, STATUS) | FORM, body))
    refused = [headers(TOKEN, "HMAC_SHA256"), headers(TOKEN, "HMAC_SHA1")]
    refused.append(headers(secret, "HMAC_SHA1") | {"X-Twilio-Webhooks-Signature-Settings": "algorithm=NONE"})
    for bad in refused:
        with pytest.raises(SignatureRefused):
            await check(bad, body)
    with pytest.raises(SignatureRefused, match="No webhook secret"):
        await receiving("Twilio")(headers(secret, "HMAC_SHA256"), body)


VONAGE_BODY = b'{"message_uuid":"aaaaaaaa-bbbb","status":"delivered","timestamp":"2026-03-01T12:00:00Z"}'


def vonage_token(
    body: bytes, *, key: str = SIGNATURE_SECRET, algorithm: str = "HS256", **changes: Any
) -> str:
    claims: dict[str, Any] = {
        "iat": int(STAMP),
        "jti": "c5ba8f24-1a14-4c10-bfdf-3fbe8ce511b5",
        "iss": "Vonage",
        "payload_hash": hashlib.sha256(body).hexdigest(),
        "api_key": "abcd1234",
    } | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm)


def mislabelled(body: bytes, algorithm: str) -> str:
    """A token whose HMAC-SHA256 is right and whose header says that it is something else."""
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
    claims = vonage_token(body).split(".")[1]
    digest = hmac.digest(SIGNATURE_SECRET.encode(), f"{head}.{claims}".encode(), "sha256")
    return f"{head}.{claims}." + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} | JSON


async def test_vonage_accepts_a_token_its_own_library_accepts_and_no_change_of_it() -> None:
    token = vonage_token(VONAGE_BODY)
    assert vonage_verifies(vonage_token(VONAGE_BODY, iat=0), SIGNATURE_SECRET)
    check = receiving("Vonage")
    event = only(await check(bearer(token), VONAGE_BODY))
    assert event.type == "status.delivered"
    await assert_every_change_is_refused(
        check, bearer(token), VONAGE_BODY, signed={"Authorization": len("Bearer ")}
    )


async def test_vonage_sent_again_under_a_new_token_is_recognisable_as_a_repeat() -> None:
    check = receiving("Vonage")
    first = only(await check(bearer(vonage_token(VONAGE_BODY)), VONAGE_BODY))
    again = only(await check(bearer(vonage_token(VONAGE_BODY, jti="another")), VONAGE_BODY))
    assert again.event_id == first.event_id


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": int(STAMP) - 301},
        {"iat": int(STAMP) + 301},
        {"iat": None},
        {"iat": "yesterday"},
        {"iat": True},
        {"exp": int(STAMP) - 1},
        {"exp": "never"},
        {"payload_hash": None},
        {"payload_hash": 1},
        {"payload_hash": "00" * 32},
    ],
)
async def test_vonage_refuses_a_token_that_does_not_answer_for_this_message(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureRefused):
        await receiving("Vonage")(bearer(vonage_token(VONAGE_BODY, **changes)), VONAGE_BODY)


async def test_vonage_refuses_a_query_that_no_token_covers() -> None:
    check = receiving("Vonage", url=f"{URL}?status=delivered", method="GET")
    for changes in ({}, {"payload_hash": None}):
        with pytest.raises(SignatureRefused, match="cover"):
            await check(bearer(vonage_token(b"", **changes)), b"")


async def test_vonage_refuses_other_algorithms_keys_and_schemes() -> None:
    head, claims, _ = vonage_token(VONAGE_BODY).split(".")
    for headers in (
        bearer(vonage_token(VONAGE_BODY, key="another secret that is long enough to use")),
        bearer(vonage_token(VONAGE_BODY, key=SIGNATURE_SECRET * 2, algorithm="HS512")),
        bearer(vonage_token(VONAGE_BODY, key="", algorithm="none")),
        bearer(f"{head}.{claims}."),
        bearer(f"{head}.{claims}"),
        bearer(mislabelled(VONAGE_BODY, "none")),
        bearer(mislabelled(VONAGE_BODY, "RS256")),
        bearer("e30.e30.e30"),
        bearer("..."),
        {"Authorization": "Basic " + vonage_token(VONAGE_BODY)},
        {},
    ):
        with pytest.raises(SignatureRefused):
            await receiving("Vonage")(headers, VONAGE_BODY)


def vonage_sig(parameters: Mapping[str, Any], method: str) -> str:
    """By the vendor's library, but for the plain MD5 it no longer makes."""
    if method == "md5hash":
        values = {name: str(value).replace("&", "_").replace("=", "_") for name, value in parameters.items()}
        text = "".join(f"&{name}={values[name]}" for name in sorted(values))
        return hashlib.md5((text + SIGNATURE_SECRET).encode()).hexdigest()
    auth = Auth(api_key="abcd1234", signature_secret=SIGNATURE_SECRET, signature_method=method)  # type: ignore[arg-type]
    return str(auth.sign_params(dict(parameters)))


@pytest.mark.parametrize("method", ["md5hash", "md5", "sha1", "sha256", "sha512"])
async def test_vonage_accepts_the_older_parameter_by_query_form_and_json(method: str) -> None:
    parameters = {
        "msisdn": "447700900001",
        "text": "Hi & 1+1=2",
        "type": "text",
        "timestamp": STAMP,
        "nonce": "a1",
    }
    signed = parameters | {"sig": vonage_sig(parameters, method)}
    ways = (
        ("POST", URL, FORM, urlencode(signed).encode()),
        ("POST", URL, JSON, json.dumps(signed).encode()),
        ("GET", f"{URL}?{urlencode(signed)}", {}, b""),
    )
    ids = set()
    for verb, url, headers, body in ways:
        event = only(await receiving("Vonage", url=url, method=verb, signatureMethod=method)(headers, body))
        assert event.type == "inbound.text"
        ids.add(event.event_id)
    assert len(ids) == 1


async def test_vonage_older_parameter_refuses_every_change() -> None:
    parameters = {"msisdn": "447700900001", "text": "Hi", "timestamp": STAMP, "nonce": "a1"}
    signed = parameters | {"sig": vonage_sig(parameters, "sha256")}
    check = receiving("Vonage")
    only(await check(FORM, urlencode(signed).encode()))
    for name, value in signed.items():
        for changed in changed_text(value):
            with pytest.raises(SignatureRefused):
                await check(FORM, urlencode(signed | {name: changed}).encode())
        with pytest.raises(SignatureRefused):
            await check(FORM, urlencode({key: signed[key] for key in signed if key != name}).encode())


async def test_vonage_older_parameter_is_refused_when_old_or_switched_off() -> None:
    old = {"text": "Hi", "timestamp": str(int(STAMP) - 301)}
    signed = urlencode(old | {"sig": vonage_sig(old, "sha256")}).encode()
    with pytest.raises(SignatureRefused, match="300 seconds"):
        await receiving("Vonage")(FORM, signed)
    now = {"text": "Hi", "timestamp": STAMP}
    signed = urlencode(now | {"sig": vonage_sig(now, "sha256")}).encode()
    with pytest.raises(SignatureRefused, match="Authorization"):
        await receiving("Vonage", signatureMethod=None)(FORM, signed)


def test_the_older_signature_is_made_as_documented() -> None:
    # &-joined, sorted, `&` and `=` in values replaced: the vendor's library agrees with the plain reading.
    parameters = {"b": "x&y=z", "a": "1", "timestamp": "5"}
    expected = hmac.digest(SIGNATURE_SECRET.encode(), b"&a=1&b=x_y_z&timestamp=5", "sha256").hex()
    assert vonage_sig(parameters, "sha256") == expected
