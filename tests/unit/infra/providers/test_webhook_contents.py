"""What a verified webhook holds is read element by element, and never taken for a bad signature."""

from __future__ import annotations

import gzip
import hmac
import json
import zlib
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest

from domain.core.json_text import compact_json
from domain.providers.content import CONTENT_MAX_BYTES, ContentTooLarge, decoded
from domain.providers.contract import IncomingRequest, ProviderFailure, VerifiedEvent
from infra.providers._kit.contents import elements_of, events_of, id_of, json_of, text_of
from infra.providers._kit.wire import signed_json
from tests.worlds.provider_webhooks import STAMP, receiving
from tests.worlds.provider_world import incoming


def sent(body: bytes, **headers: str) -> IncomingRequest:
    return incoming(body, {name.replace("_", "-"): value for name, value in headers.items()})


def named(entry: Any) -> VerifiedEvent:
    return VerifiedEvent(id_of(entry, "id"), text_of(entry, "type"), entry)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("7", "not a JSON object"),
        ('["a"]', "not a JSON object"),
        ("null", "not a JSON object"),
        ("{oops}", "not valid JSON"),
        ('{"id":"b"}', "no type"),
        ('{"id":"b","type":true}', "no type"),
        ("[" * 100_000 + "]" * 100_000, "not valid JSON"),
        ('{"type":"],[{" "x"}', "not valid JSON"),
    ],
)
def test_an_element_that_cannot_be_read_takes_no_other_along(bad: str, reason: str) -> None:
    good = ['{"id":"a","type":"one, \\" [{"}', '{"id":"c","type":"two"}']
    body = f"[{good[0]},{bad},{good[1]}]".encode()
    first, middle, last = events_of(elements_of(sent(body)), named)
    assert (first.event_id, last.event_id) == ("a", "c")
    assert first.unreadable is None
    assert middle.unreadable is not None and reason in middle.unreadable
    assert len(middle.event_id) == 32


def test_a_number_that_python_does_not_convert_fails_its_own_element_only() -> None:
    body = b'[{"id":"a","type":"x","n":%s},{"id":"b","type":"y"}]' % (b"9" * 5000)
    assert [event.event_id for event in events_of(elements_of(sent(body)), named)] == ["a", "b"]


def test_numbers_are_raised_as_they_were_sent() -> None:
    numbers = "[10.10,1e400,-0,0.123456789012345678,1E2]"
    for body in (
        f'[{{"id":"a","type":"x","n":{numbers}}},{{"id":"b","type":"y"}}]',
        f'[{{"id":"a","type":"x","n":{numbers}}},nope]',
    ):
        first = events_of(elements_of(sent(body.encode())), named)[0]
        assert f'"n":{numbers}' in compact_json(first.data)


def test_an_element_without_an_id_is_known_by_its_digest() -> None:
    one, two, again = events_of(elements_of(sent(b'[{"type":"x"},{"type":"y"},{ "type" : "x" }]')), named)
    assert one.event_id == again.event_id != two.event_id


@pytest.mark.parametrize("body", [b"{", b"", b"nope", b"\xff", b"[{]", b"[1,2"])
def test_a_body_that_is_no_json_is_malformed_and_not_a_bad_signature(body: bytes) -> None:
    with pytest.raises(ProviderFailure) as caught:
        json_of(sent(body))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("coding", "written"),
    [
        ("gzip", gzip.compress(b"abc", mtime=0)),
        ("X-GZIP", gzip.compress(b"ab", mtime=0) + gzip.compress(b"c", mtime=0)),
        ("gzip", b"abc"),
        ("deflate", zlib.compress(b"abc")),
        ("deflate", zlib.compress(b"abc")[2:-4]),
        ("identity", b"abc"),
        ("br", brotli.compress(b"abc")),
        ("x-deflate", zlib.compress(b"abc")),
        ("gzip, br", brotli.compress(gzip.compress(b"abc", mtime=0))),
        ("gzip, deflate", zlib.compress(gzip.compress(b"abc", mtime=0))),
    ],
)
def test_codings_are_undone(coding: str, written: bytes) -> None:
    assert decoded({"content-encoding": coding}, written) == b"abc"


@pytest.mark.parametrize(
    ("coding", "written"),
    [
        ("gzip", gzip.compress(b"abc" * 99, mtime=0)[:-9]),
        ("gzip", b"\x1f\x8bnonsense"),
        ("deflate", b"nonsense"),
        ("br", b"nonsense"),
        ("br", brotli.compress(b"abc" * 99)[:-2]),
        ("zstd", b"abc"),
        ("gzip,gzip,gzip,gzip", b"abc"),
    ],
)
def test_a_coding_that_cannot_be_undone_is_malformed(coding: str, written: bytes) -> None:
    with pytest.raises(ProviderFailure) as caught:
        decoded({"content-encoding": coding}, written)
    assert caught.value.kind == "malformed"


def test_content_is_undone_to_one_mebibyte_and_no_further() -> None:
    headers = {"content-encoding": "gzip"}
    assert len(decoded(headers, gzip.compress(b"a" * CONTENT_MAX_BYTES, mtime=0))) == CONTENT_MAX_BYTES
    for bomb in (b"a" * (CONTENT_MAX_BYTES + 1), b"a" * 50_000_000):
        with pytest.raises(ContentTooLarge):
            decoded(headers, gzip.compress(bomb, mtime=0))
    assert (
        len(decoded({"content-encoding": "br"}, brotli.compress(b"a" * CONTENT_MAX_BYTES)))
        == CONTENT_MAX_BYTES
    )
    with pytest.raises(ContentTooLarge):
        decoded({"content-encoding": "br"}, brotli.compress(b"a" * (CONTENT_MAX_BYTES + 1)))
    halves = gzip.compress(b"a" * CONTENT_MAX_BYTES, mtime=0) + gzip.compress(b"a", mtime=0)
    with pytest.raises(ContentTooLarge):
        decoded(headers, halves)


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"not json", "JSON"), (b"[]", "object"), (b'{"type":"x"}', "id"), (b'{"id":"evt"}', "type")],
)
async def test_a_signed_body_that_is_no_event_is_malformed_and_the_text_says_so(
    body: bytes, reason: str
) -> None:
    secret = "whsec_of_a_test"
    signature = hmac.digest(secret.encode(), f"{STAMP}.".encode() + body, "sha256").hex()
    with pytest.raises(ProviderFailure) as caught:
        await receiving("Stripe", webhookSecret=secret)(
            {"stripe-signature": f"t={STAMP},v1={signature}"}, body
        )
    assert caught.value.kind == "malformed" and reason in caught.value.detail
    assert "provider's answer" not in caught.value.detail


REST = {"scheme": "hmac", "eventTypePointer": "/kind"}


async def custom(body: bytes, content_type: str = "application/json", **webhook: Any) -> Any:
    signature = hmac.digest(b"sekrit", body, "sha256").hex()
    check = receiving("REST", webhook=REST | webhook, webhookSecret="sekrit")
    return (await check({"x-signature": signature, "content-type": content_type}, body)).events


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"a":1}', {"a": 1}),
        ("application/json", b"7", {"value": 7}),
        ("application/json", b"[]", {"value": []}),
        ("application/json", b"null", {"value": None}),
        ("application/x-www-form-urlencoded", b"a=1&b=2&a=3&c=", {"a": ["1", "3"], "b": "2", "c": ""}),
        (
            "application/x-www-form-urlencoded; charset=utf-8",
            b"payload=%7B%22kind%22%3A%22k%22%7D",
            {"kind": "k"},
        ),
        ("application/xml", b"<a>1</a>", {"contentType": "application/xml", "text": "<a>1</a>"}),
        ("text/plain", "grüß dich".encode(), {"contentType": "text/plain", "text": "grüß dich"}),
        ("", b"", {"contentType": "", "text": ""}),
        ("image/png", b"\x89PNG\xff", {"contentType": "image/png", "base64": "iVBOR/8="}),
    ],
)
async def test_a_custom_webhook_is_taken_whatever_its_body_is(
    content_type: str, body: bytes, data: dict[str, Any]
) -> None:
    (event,) = await custom(body, content_type)
    assert event.data == data and event.unreadable is None


async def test_a_list_of_a_custom_webhook_is_one_event_for_each_element() -> None:
    first, second, third, fourth = await custom(
        b'[{"kind":"a","id":"1"},5,{nonsense},{"kind":"b","id":"2"}]', eventIdPointer="/id"
    )
    assert (first.event_id, first.type, second.data) == ("1", "a", {"value": 5})
    assert third.unreadable == "The element is not valid JSON."
    assert (fourth.event_id, fourth.type) == ("2", "b")
    (whole,) = await custom(json.dumps(list(range(1_001))).encode())
    assert len(whole.data["value"]) == 1_001


@pytest.mark.parametrize("body", [b'{"a":', b"{" * 5_000])
async def test_a_custom_webhook_that_says_json_and_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(ProviderFailure) as caught:
        await custom(body)
    assert caught.value.kind == "malformed"


def test_half_characters_are_replaced_in_texts_and_names_and_whole_ones_stay() -> None:
    text = rb'{"\ud83d": ["caf\udc00", "\ud83d\ude00", 1.50]}'
    whole = '{"\ufffd":["caf\ufffd","\U0001f600",1.50]}'
    assert compact_json(json_of(sent(text))) == compact_json(signed_json(text)) == whole
