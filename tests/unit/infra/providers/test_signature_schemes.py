"""The schemes of no single provider, and the primitives under all of them."""

import base64
import contextlib
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook

from domain.providers.contract import SignatureRefused
from infra.providers._kit.signatures import (
    HmacScheme,
    check_basic,
    check_equal,
    check_github,
    check_hmac,
    check_slack,
    check_standard_webhooks,
    check_unix_time,
    decode_base64,
    decode_base64url,
    decode_hex,
    digest_id,
    hmac_digest,
    parse_rfc3339,
)
from tests.worlds.tampering import assert_every_change_is_refused

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
ARABIC_DIGITS = "".join(chr(0x660 + int(digit)) for digit in "1772366400")
BODY = b'{"type":"ticket.sold","n":1}'


async def test_github_accepts_its_documented_example_and_no_change_of_it() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    async def check(headers: Mapping[str, str], changed: bytes) -> None:
        check_github(["another", secret], headers, changed)

    headers = {"x-hub-signature-256": f"sha256={digest}"}
    await assert_every_change_is_refused(check, headers, body, signed={"x-hub-signature-256": 0})


async def test_slack_accepts_what_its_own_library_signs_and_no_change_of_it() -> None:
    secret = "8f742231b10e8888abcd99yyyzzz85a5"
    signed = SignatureVerifier(secret).generate_signature(timestamp=STAMP, body=BODY)
    assert signed is not None

    async def check(headers: Mapping[str, str], changed: bytes) -> None:
        check_slack([secret], headers, changed, NOW)

    headers = {"x-slack-signature": signed, "x-slack-request-timestamp": STAMP}
    await assert_every_change_is_refused(
        check, headers, BODY, signed={"x-slack-signature": 0, "x-slack-request-timestamp": 0}
    )


async def test_standard_webhooks_accepts_what_its_own_library_signs_and_no_change_of_it() -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    signed = Webhook(secret).sign("msg_1", NOW, BODY.decode())

    async def check(headers: Mapping[str, str], changed: bytes) -> None:
        assert check_standard_webhooks([secret], headers, changed, NOW) == headers["webhook-id"]

    headers = {"webhook-id": "msg_1", "webhook-timestamp": STAMP, "webhook-signature": signed}
    await assert_every_change_is_refused(check, headers, BODY, signed=dict.fromkeys(headers, 0))


def test_standard_webhooks_accepts_any_of_several_signatures_and_secrets() -> None:
    old, new, foreign = ("whsec_" + base64.b64encode(bytes([number]) * 24).decode() for number in (1, 2, 3))
    listed = " ".join([Webhook(foreign).sign("m", NOW, "{}"), "v1a,xyz", Webhook(new).sign("m", NOW, "{}")])
    headers = {"webhook-id": "m", "webhook-timestamp": STAMP, "webhook-signature": listed}
    assert check_standard_webhooks([old, new], headers, b"{}", NOW) == "m"
    with pytest.raises(SignatureRefused):
        check_standard_webhooks([old], headers, b"{}", NOW)


@pytest.mark.parametrize("seconds", [-301, 301, 10**9, -(10**8)])
def test_slack_refuses_a_timestamp_outside_five_minutes_either_way(seconds: int) -> None:
    secret = "s" * 32
    stamp = str(int((NOW + timedelta(seconds=seconds)).timestamp()))
    signed = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=BODY) or ""
    with pytest.raises(SignatureRefused, match="300 seconds"):
        check_slack([secret], {"x-slack-signature": signed, "x-slack-request-timestamp": stamp}, BODY, NOW)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_slack_accepts_a_timestamp_within_five_minutes_either_way(seconds: int) -> None:
    secret = "s" * 32
    stamp = str(int((NOW + timedelta(seconds=seconds)).timestamp()))
    signed = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=BODY) or ""
    check_slack([secret], {"x-slack-signature": signed, "x-slack-request-timestamp": stamp}, BODY, NOW)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512", "md5"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
async def test_a_declared_hmac_accepts_its_own_form_and_no_change_of_it(
    algorithm: str, encoding: str
) -> None:
    scheme = HmacScheme(
        signature_header="X-Signature",
        algorithm=algorithm,  # type: ignore[arg-type]
        encoding=encoding,  # type: ignore[arg-type]
        prefix="sig=",
        template="{method}:{url}:{id}.{timestamp}.{body}",
        timestamp_header="X-Timestamp",
        timestamp_unit="milliseconds",
        id_header="X-Id",
    )
    stamp = STAMP + "123"
    digest = hmac.digest(b"secret", b"POST:https://h/x:7." + stamp.encode() + b"." + BODY, algorithm)
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()

    async def check(headers: Mapping[str, str], changed: bytes) -> None:
        scheme.check(["other", "secret"], headers, changed, NOW, url="https://h/x", method="post")

    headers = {"x-signature": f"sig={text}", "x-timestamp": stamp, "x-id": "7"}
    await assert_every_change_is_refused(check, headers, BODY, signed=dict.fromkeys(headers, 0))


def test_a_body_that_looks_like_a_template_is_signed_as_it_is() -> None:
    scheme = HmacScheme(signature_header="x-s", template="{body}|{url}")
    body = b"{url}{timestamp}{{body}}"
    digest = hmac.digest(b"k", body + b"|https://h", "sha256").hex()
    scheme.check(["k"], {"x-s": digest}, body, NOW, url="https://h")


@pytest.mark.parametrize(
    "declared",
    [
        {"template": "{timestamp}"},
        {"template": "constant"},
        {"timestamp_header": "x-t"},
        {"template": "{body}{timestamp}"},
        {"template": "{body}{id}"},
        {"id_header": "x-id"},
    ],
)
def test_a_declared_hmac_that_would_not_sign_what_it_says_is_refused(declared: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"template|header"):
        HmacScheme(signature_header="x-s", **declared)  # type: ignore[arg-type]


@pytest.mark.parametrize("secrets", [[], [""]])
def test_nothing_is_accepted_without_a_secret(secrets: list[str]) -> None:
    with pytest.raises(SignatureRefused, match="No webhook secret"):
        check_hmac(secrets, b"", [hmac_digest("", b"")])


@given(st.text())
def test_decoding_any_text_decodes_canonically_or_refuses(text: str) -> None:
    for decode, encode in (
        (decode_base64, lambda raw: base64.b64encode(raw).decode()),
        (decode_base64url, lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=")),
    ):
        try:
            assert encode(decode(text)) == text
        except SignatureRefused:
            continue
    try:
        assert decode_hex(text).hex() == text.lower()
    except SignatureRefused:
        return


@given(st.binary(min_size=1))
def test_decoding_undoes_encoding(raw: bytes) -> None:
    assert decode_base64(base64.b64encode(raw).decode()) == raw
    assert decode_base64url(base64.urlsafe_b64encode(raw).decode().rstrip("=")) == raw
    assert decode_hex(raw.hex()) == decode_hex(raw.hex().upper()) == raw


@pytest.mark.parametrize("text", ["AB==", "aGk", "aGk =", "aGk=\n", "a-b_", "é", "", "="])
def test_base64_with_another_spelling_is_refused(text: str) -> None:
    assert text != "AA=="
    with pytest.raises(SignatureRefused):
        decode_base64(text)


@pytest.mark.parametrize("text", ["aB", "0x00", "a", "", " 00", "00\n", "\u0660\u0660", "zz"])
def test_hexadecimal_with_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(SignatureRefused):
        decode_hex(text)


@given(st.text(max_size=30) | st.integers().map(str))
def test_a_timestamp_accepted_is_one_near_now(text: str) -> None:
    with contextlib.suppress(SignatureRefused):
        check_unix_time(text, NOW)
        assert abs(int(text) - int(STAMP)) <= 300
    with contextlib.suppress(SignatureRefused):
        assert parse_rfc3339(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+1772366400",
        "1772366400.0",
        "1_772_366_400",
        " 1772366400",
        "".join(chr(0x660 + int(digit)) for digit in "1772366400"),
        "9" * 40,
    ],
)
def test_a_timestamp_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(SignatureRefused):
        check_unix_time(text, NOW)


def test_basic_credentials_are_compared_whole() -> None:
    def headers(user: str, password: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    check_basic(headers("hub", "pa:ss"), "hub", "pa:ss")
    for user, password in (("hub", "pa:s"), ("hu", "pa:ss"), ("hub:pa", "ss "), ("", "")):
        with pytest.raises(SignatureRefused):
            check_basic(headers(user, password), "hub", "pa:ss")
    for refused in (
        {},
        {"authorization": "Bearer x"},
        {"authorization": "Basic"},
        {"authorization": "Basic %%"},
    ):
        with pytest.raises(SignatureRefused):
            check_basic(refused, "hub", "pa:ss")
    with pytest.raises(SignatureRefused):
        check_basic(headers("hub", ""), "hub", "")


def test_texts_are_compared_whole_and_refusals_do_not_repeat_them() -> None:
    check_equal("grün", "grün", "token")
    with pytest.raises(SignatureRefused) as caught:
        check_equal("given-value", "expected-value", "token")
    assert "value" not in str(caught.value)


def test_ids_of_what_was_signed_keep_their_parts_apart() -> None:
    assert digest_id("ab", "c") != digest_id("a", "bc") != digest_id("abc")
    assert digest_id("a", b"b") == digest_id(b"a", "b")
    assert len(digest_id("x")) == 32
    assert hashlib.sha256().hexdigest()[:32] == digest_id()
