"""Where a person occurs in JSON, and what is left without them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.privacy.rules import (
    DigestedPeople,
    Found,
    IdentifiedPerson,
    digest_of,
    normalised,
    occurs_in,
    without_person,
)

JANE = "Jane.Doe@example.com"
KEY = b"k" * 32


def erased(value: Any, *identifiers: str) -> tuple[Any, Found]:
    text, found = without_person(json.dumps(value), IdentifiedPerson(identifiers or (JANE,)))
    return json.loads(text), found


@pytest.mark.parametrize(
    ("value", "left", "found"),
    [
        ({"email": "john@example.com"}, {"email": "john@example.com"}, Found.Nothing),
        ({"email": "jane.doe@EXAMPLE.com", "name": "Jane"}, {"email": None, "name": None}, Found.About),
        ({"email": " mailto:jane.doe@example.com "}, {"email": None}, Found.About),
        (
            {"booking": 42, "guest": {"email": JANE, "address": {"city": "Bonn"}}},
            {"booking": 42, "guest": {"email": None, "address": {"city": None}}},
            Found.Within,
        ),
        (
            {"attendees": [{"email": JANE, "name": "Jane"}, {"email": "john@example.com", "name": "John"}]},
            {"attendees": [{"email": None, "name": None}, {"email": "john@example.com", "name": "John"}]},
            Found.Within,
        ),
        ({"to": [JANE, "john@example.com"], "n": 1}, {"to": [], "n": None}, Found.About),
        ({"fields": {"mail": JANE, "vip": True}}, {"fields": {"mail": None, "vip": None}}, Found.About),
        (
            {"note": "Call jane.doe@example.com, then John."},
            {"note": "Call [erased], then John."},
            Found.Within,
        ),
        (
            {"note": "Call mary-jane.doe@example.com"},
            {"note": "Call mary-jane.doe@example.com"},
            Found.Nothing,
        ),
        ({"note": "jane.doe@example.com.au"}, {"note": "jane.doe@example.com.au"}, Found.Nothing),
        ({"by": {JANE: {"seats": 2}, "x": 1}}, {"by": {"x": 1}}, Found.Within),
        ([1, JANE], [], Found.About),
    ],
)
def test_the_smallest_object_that_names_the_person_is_emptied(value: Any, left: Any, found: Found) -> None:
    assert erased(value) == (left, found)


def test_a_number_is_an_id_only_when_it_is_long() -> None:
    assert erased({"customer": 4711042, "n": 2}, "4711042") == ({"customer": None, "n": None}, Found.About)
    assert erased({"amount": 1000, "n": 2}, "1000") == ({"amount": 1000, "n": 2}, Found.Nothing)


def test_the_numbers_beside_a_person_keep_their_form() -> None:
    numbers = '"n":[10.10,1e400,-0,0.123456789012345678,1E2]'
    text, left = f'{{"mail":"to {JANE}", {numbers}}}', f'{{"mail":"to [erased]",{numbers}}}'
    assert without_person(text, IdentifiedPerson([JANE])) == (left, Found.Within)


def test_escapes_hide_nobody() -> None:
    text = '{"email":"\\u006aane.doe\\u0040example.com","name":"Jane"}'
    assert without_person(text, IdentifiedPerson([JANE])) == ('{"email":null,"name":null}', Found.About)
    assert erased({"mail": "jürgen@müller.example"}, "Jürgen@Müller.example")[1] == Found.About


def test_what_is_no_json_is_erased_as_text() -> None:
    assert without_person("Refused jane.doe@example.com!", IdentifiedPerson([JANE])) == (
        "Refused [erased]!",
        Found.Within,
    )
    deep = "[" * 100_000 + json.dumps(JANE) + "]" * 100_000
    assert JANE not in without_person(deep, IdentifiedPerson([JANE]))[0]


def test_nothing_is_left_of_a_person_who_is_erased_twice() -> None:
    once = without_person(json.dumps({"a": {"email": JANE}, "b": f"x {JANE}"}), IdentifiedPerson([JANE]))[0]
    assert without_person(once, IdentifiedPerson([JANE])) == (once, Found.Nothing)


@pytest.mark.parametrize(
    ("body", "occurs"),
    [
        ('{"data":{"email":"jane.doe@example.com"}}', True),
        ("From=%2B49301234&email=jane.doe%40example.com", True),
        ("hello jane.doe@example.com", True),
        ("email=john%40example.com", False),
    ],
)
def test_a_request_is_searched_whatever_its_form(body: str, occurs: bool) -> None:
    assert occurs_in(body, IdentifiedPerson([JANE])) is occurs


def test_a_digest_recognises_values_and_addresses_within_texts() -> None:
    person = DigestedPeople(KEY, {digest_of(KEY, JANE)})
    value = {
        "a": {"email": "JANE.DOE@example.com", "x": 1},
        "b": "to jane.doe@example.com",
        "c": "john@x.example",
    }
    text, found = without_person(json.dumps(value), person)
    assert json.loads(text) == {"a": {"email": None, "x": None}, "b": "to [erased]", "c": "john@x.example"}
    assert found == Found.Within
    assert JANE not in repr(digest_of(KEY, JANE))
    assert digest_of(b"o" * 32, JANE) != digest_of(KEY, JANE)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(JANE) | st.just(f"see {JANE}."),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_no_identifier_survives(value: Any) -> None:
    text, found = without_person(json.dumps(value), IdentifiedPerson([JANE]))
    assert normalised(JANE) not in normalised(text)
    assert (found == Found.Nothing) == (JANE not in json.dumps(value))
