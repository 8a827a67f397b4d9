"""What is read of another system's text: charsets, and half characters that no encoding can write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.providers.contract import ProviderFailure, ProviderRequest, ProviderResponse
from infra.providers._kit.refusal import describe

HALF = "\\udc4d"


def answered(body: bytes, content_type: str = "application/json", status: int = 200) -> ProviderResponse:
    return ProviderResponse(status, {"content-type": content_type}, body, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f'"a{HALF}b"', "a\ufffdb"),
        (f'{{"{HALF}": 1, "b": ["{HALF}"]}}', {"\ufffd": 1, "b": ["\ufffd"]}),
        ('"\\ud83c\\udfaa"', "\U0001f3aa"),
        ('"\\\\ud83d"', "\\ud83d"),
        ('"\\ud83d\\ud83d\\ude00"', "\ufffd\U0001f600"),
    ],
)
def test_half_a_character_is_replaced_and_whole_ones_stay(text: str, value: Any) -> None:
    found = answered(text.encode()).json()
    assert found == value
    json.dumps(found, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("é".encode(), "application/json"),
        (b"\xef\xbb\xbf" + "é".encode(), "application/json; charset=utf-8"),
        ("é".encode("latin-1"), 'application/json; charset="ISO-8859-1"'),
        ("é".encode("utf-16"), "application/json"),
        ("é".encode(), "application/json; charset=none-such"),
        ("é".encode(), "application/json; charset=base64"),
    ],
)
def test_text_is_read_in_its_charset(body: bytes, content_type: str) -> None:
    assert answered(body, content_type).text() == "é"


def test_a_refusal_can_be_written_whatever_the_provider_said() -> None:
    said = answered(f'{{"message": "no {HALF}"}}'.encode(), status=400)
    told = describe(ProviderRequest("GET", "https://api.example"), said, ())
    assert told.encode().decode() == "The provider answered 400: no \ufffd"


def test_nesting_without_end_is_malformed() -> None:
    with pytest.raises(ProviderFailure):
        answered(b"[" * 100_000 + b"]" * 100_000).json()
