"""Lengths of text count UTF-16 units, as NVARCHAR does."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from domain.core.text_length import TextConstraints, cut, utf16_units

EMOJI = "\N{GRINNING FACE}"
FAMILY = "\N{MAN}\N{ZERO WIDTH JOINER}\N{WOMAN}"


@pytest.mark.parametrize(
    ("text", "units"),
    [("", 0), ("abc", 3), ("é", 1), ("\uffff", 1), ("\U00010000", 2), (EMOJI, 2), (FAMILY, 5), ("\ud83d", 1)],
)
def test_a_character_beyond_the_basic_plane_counts_as_two(text: str, units: int) -> None:
    assert utf16_units(text) == units


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("abcd", 4, "abcd"),
        ("abcde", 4, "abcd"),
        (EMOJI * 2, 4, EMOJI * 2),
        (EMOJI * 2, 3, EMOJI),
        ("a" + EMOJI * 2, 4, "a" + EMOJI),
        (EMOJI, 1, ""),
        ("日本語", 2, "日本"),
    ],
)
def test_a_text_is_cut_between_characters(text: str, most: int, kept: str) -> None:
    assert cut(text, most) == kept


@given(st.text(), st.integers(0, 20))
def test_what_is_cut_fits_and_is_the_longest_beginning_that_does(text: str, most: int) -> None:
    kept = cut(text, most)
    assert text.startswith(kept) and utf16_units(kept) <= most
    assert kept == text or utf16_units(text[: len(kept) + 1]) > most


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("x" * 6, True),
        ("x" * 7, False),
        (EMOJI * 3, True),
        (EMOJI * 3 + "x", False),
        ("x" * 5 + EMOJI, False),
    ],
)
def test_a_field_takes_as_many_units_as_its_column(text: str, is_taken: bool) -> None:
    field = TypeAdapter(Annotated[str, TextConstraints(max_length=6)])
    if is_taken:
        assert field.validate_python(text) == text
        return
    with pytest.raises(ValidationError) as refused:
        field.validate_python(text)
    assert refused.value.errors()[0]["type"] == "string_too_long"
