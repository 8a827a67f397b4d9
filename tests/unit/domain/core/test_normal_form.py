"""The compatibility form of Unicode, and what it costs."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.core.normal_form import nfkc


@given(st.text(max_size=30))
def test_a_short_text_gets_the_form_that_unicode_gives_it(text: str) -> None:
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize(
    "text",
    [
        *("a", "\ufb01ne " * 50, "\u1100\u1161\u11a8" * 50, "e\u0301" * 100),
        *("\u0e01\u0e38\u0e49" * 100, "a" + "\u0301\u0327" * 15),
    ],
)  # fmt: skip
def test_text_of_any_language_is_left_together(text: str) -> None:
    assert nfkc(text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize(
    "marks", ["\u0301\u0327", "\u0f73", "\uff9e\u0301", "\U0001d165\u0301", "\u0345\u0301\u0327\u0334"]
)
def test_two_hundred_thousand_marks_take_no_longer_than_their_number(marks: str) -> None:
    """The library takes minutes for them."""
    began = time.process_time()
    nfkc("a" + marks * (200_000 // len(marks)))
    assert time.process_time() - began < 2
