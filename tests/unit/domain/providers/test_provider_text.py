"""What is read of another system's text: charsets, and half characters that no encoding can write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.providers.charset import read_text
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
        ("é".encode("utf-16-le"), "text/plain; charset=utf-16le"),
        ("é".encode("utf-7"), "text/plain;charset='UTF-7'"),
        ("é".encode("cp1252"), "text/plain; Charset = windows-1252"),
        ("é".encode(), "application/json; charset=base64"),
    ],
)
def test_text_is_read_in_its_charset(body: bytes, content_type: str) -> None:
    assert answered(body, content_type).text() == "é"


@pytest.mark.parametrize(
    ("body", "content_type", "is_cut", "text"),
    [
        ("aé".encode()[:-1], "", True, "a"),
        ("aé".encode()[:-1], "", False, "a\ufffd"),
        (b"a\x00\xe9", "text/plain; charset=utf-16le", True, "a"),
        (b"a\x00\xe9", "text/plain; charset=utf-16le", False, "a\ufffd"),
        (b"+2D0-", "text/plain; charset=utf-7", False, "\ufffd"),
        (b"", "text/plain; charset=hex", False, ""),
        (b"61", "text/plain; charset=hex", False, "61"),
    ],
)
def test_half_a_character_at_the_end_is_lost_only_where_the_body_was_cut(
    *, body: bytes, content_type: str, is_cut: bool, text: str
) -> None:
    assert read_text(body, content_type, is_cut=is_cut) == text


@given(
    st.binary(max_size=40),
    st.sampled_from(["utf-8", "utf-16", "utf-7", "gb18030", "shift_jis", "idna", "rot13"]),
)
def test_any_bytes_are_text_that_can_be_stored(body: bytes, charset: str) -> None:
    read_text(body, f"text/plain; charset={charset}").encode()


def test_a_refusal_can_be_written_whatever_the_provider_said() -> None:
    said = answered(f'{{"message": "no {HALF}"}}'.encode(), status=400)
    told = describe(ProviderRequest("GET", "https://api.example"), said, ())
    assert told.encode().decode() == "The provider answered 400: no \ufffd"


def test_nesting_without_end_is_malformed() -> None:
    with pytest.raises(ProviderFailure):
        answered(b"[" * 100_000 + b"]" * 100_000).json()
