"""A value that goes from one process to another in pieces."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.providers.contract import ProviderFailure, RecordChanged
from domain.providers.records import ListPage, SourceRecord
from infra.untrusted.child import perform_task
from infra.untrusted.pieces import LEVELS_AT_MOST, PIECE_BYTES, NotCuttable, Pieces, cut, joined

MOST = 64 * 1024 * 1024
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=90) | st.dictionaries(st.text(max_size=5), inner, max_size=90),
    max_leaves=40,
)


def sizes(pieces: Pieces) -> list[int]:
    return [
        size for part in pieces.parts for size in (sizes(part) if isinstance(part, Pieces) else [len(part)])
    ]


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_a_value_is_what_it_was(value: Any) -> None:
    assert joined(cut(value, MOST)) == value


def test_a_large_page_comes_in_small_pieces_and_is_what_it_was() -> None:
    records = [
        SourceRecord(f"r{number}", {"text": "x" * 3_000, "more": [number]}, datetime(2026, 3, 1, tzinfo=UTC))
        for number in range(500)
    ]
    page = ListPage([*records, SourceRecord("large", {"list": ["y" * 900] * 1_000})], "next", total=501)
    pieces = cut(page, MOST)
    assert joined(pieces) == page
    assert max(sizes(pieces)) <= PIECE_BYTES


@pytest.mark.parametrize("value", [b"x" * 2_000_000, "x" * 2_000_000, ("x" * 2_000_000, [b"y" * 2_000_000])])
def test_what_is_larger_than_allowed_is_refused(value: Any) -> None:
    assert joined(cut(value, 5_000_000)) == value
    with pytest.raises(NotCuttable):
        cut(value, 1_000_000)


def test_large_values_within_too_many_others_are_refused() -> None:
    value: Any = ["x" * (2 * PIECE_BYTES)]
    for _ in range(LEVELS_AT_MOST + 1):
        value = [value]
    with pytest.raises(NotCuttable):
        cut(value, MOST)


def changed() -> None:
    raise RecordChanged(SourceRecord("a", {"b": 1}, version="2"))


def failed() -> None:
    raise ProviderFailure("rejected", "No.", status=409, retry_after_seconds=3.0, is_lasting=True)


class Unsayable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def unsayable() -> None:
    raise Unsayable("a value", "of the record")


def test_a_failure_is_told_as_it_was_raised() -> None:
    is_well, told = perform_task(failed, cut((), MOST))
    failure = joined(told)
    assert not is_well
    assert (failure.kind, failure.detail, failure.status) == ("rejected", "No.", 409)
    assert (failure.retry_after_seconds, failure.is_lasting, str(failure)) == (3.0, True, "No.")
    change = joined(perform_task(changed, cut((), MOST))[1])
    assert isinstance(change, RecordChanged)
    assert (change.current.data, change.status) == ({"b": 1}, 412)


def test_an_error_that_no_other_process_could_read_is_told_by_its_kind_alone() -> None:
    told = joined(perform_task(unsayable, cut((), MOST))[1])
    assert (told.reason, told.detail) == ("ended", "It cannot be read (Unsayable).")
