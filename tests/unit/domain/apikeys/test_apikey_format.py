"""The key string."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from domain.apikeys.key_format import key_of, new_key, parse_key, safe_prefix


@given(st.binary(min_size=32, max_size=32))
def test_every_key_has_one_form_and_is_recognised(random: bytes) -> None:
    key = key_of(random)
    assert re.fullmatch(r"ihk_[0-9A-Za-z]{49}", key.text)
    assert parse_key(key.text) == key
    assert len(key.hash) == 64
    assert key.prefix == key.text[:8]
    assert key.text not in repr(key)


@given(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 52),
    st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_- é\n"),
)
def test_a_single_mistyped_character_is_always_noticed(random: bytes, at: int, other: str) -> None:
    text = key_of(random).text
    mistyped = text[:at] + other + text[at + 1 :]
    assert (parse_key(mistyped) is None) == (mistyped != text)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 51))
def test_two_neighbouring_characters_swapped_are_always_noticed(random: bytes, at: int) -> None:
    text = key_of(random).text
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    assert (parse_key(swapped) is None) == (swapped != text)


@given(st.text(max_size=80))
def test_anything_else_is_refused_without_an_error(text: str) -> None:
    assert parse_key(text) is None
    assert len(safe_prefix(text)) in (0, 8)


def test_keys_differ_and_are_long_enough__BR_AK_01() -> None:
    keys = {new_key().text for _ in range(1000)}
    assert len(keys) == 1000
    assert {len(key) for key in keys} == {53}


def test_a_log_never_repeats_what_is_not_ours_or_too_short() -> None:
    assert safe_prefix("hunter2-is-my-password") == ""
    assert safe_prefix("ihk_short") == ""
    assert safe_prefix(new_key().text[:-1]).startswith("ihk_")
