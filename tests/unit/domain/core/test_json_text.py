"""JSON text: what is refused and where, what is cut out, and numbers that keep their form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from domain.core.errors import ValidationFailed
from domain.core.json_text import (
    DIGITS_AT_MOST,
    JsonText,
    MalformedJson,
    Number,
    check_json,
    compact_json,
    cut_members,
    read_json,
)
from domain.journal.events import RaiseEvent
from tests.worlds.json_texts import objects

_TWICE = "The name occurs twice in its object."
_HALF = "half a surrogate pair, which is no character"
_DEEP = "A value may lie beneath at most 200 others."
_DIGITS = "A whole number may have 4,300 digits."


@given(text=objects)
@settings(max_examples=25, deadline=None)
def test_what_is_json_passes_and_is_cut_out_as_it_is(text: str) -> None:
    body = f' {{"type" : "A",\n"data":{text} , "id":null}}\n'.encode()
    check_json(body)
    kept = cut_members(body, "data")
    assert (kept["type"], kept["data"].text, kept["id"]) == ("A", text, None)
    assert RaiseEvent.of_json(body).data.text == text


@given(text=objects)
@settings(max_examples=25, deadline=None)
def test_reading_and_writing_changes_no_number(text: str) -> None:
    again = compact_json(read_json(text))
    assert json.loads(again, parse_float=str, parse_int=str) == json.loads(
        text, parse_float=str, parse_int=str
    )
    assert json.loads(compact_json(read_json(text), is_canonical=True), parse_float=str, parse_int=str) == (
        json.loads(text, parse_float=str, parse_int=str)
    )


@pytest.mark.parametrize(
    ("text", "flaws"),
    [
        ('{"a":1,"a":1}', [("/a", _TWICE)]),
        ('{"a":1,"\\u0061":{}}', [("/a", _TWICE)]),
        ('{"é":1,"\\u00e9":{}}', [("/é", _TWICE)]),
        ('{"":1,"":2}', [("/", _TWICE)]),
        ('{"x":[{},{"y":{"b/c":1,"b/c":2}}]}', [("/x/1/y/b~1c", _TWICE)]),
        ('{"x":NaN}', [("/x", "NaN is not JSON.")]),
        ("[1,-Infinity,Infinity]", [("/1", "-Infinity is not JSON."), ("/2", "Infinity is not JSON.")]),
        ('{"x":"caf\\ud83d"}', [("/x", f"The text holds {_HALF}.")]),
        ('{"x":"\\udc00\\ud83d"}', [("/x", f"The text holds {_HALF}.")]),
        ('{"x":{"\\udfff":1}}', [("/x", f"A name holds {_HALF}.")]),
        ("[" + "9" * 4301 + "]", [("/0", _DIGITS)]),
        ("[-" + "9" * 4301 + "]", [("/0", _DIGITS)]),
        ("[" * 201 + "1" + "]" * 201, [("/0" * 201, _DEEP)]),
        ('{"a":' * 200 + "[{}]" + "}" * 200, [("/a" * 200 + "/0", _DEEP)]),
        ("[" * 90_000 + "]" * 90_000, [("", _DEEP)]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_receivers_read_differently_is_refused_with_its_place(
    text: str, flaws: list[tuple[str, str]]
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_json(text.encode())
    assert [(error.pointer, error.detail) for error in refused.value.errors] == flaws


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"A":2,"b":{"a":3},"c":[{"a":4},{"a":5}]}',
        '["\\ud83d\\ude00", "\\u0000", "\\\\ud83d"]',
        "[" + "9" * 4300 + ",-" + "9" * 4300 + ",0." + "9" * 9000 + ",1e" + "9" * 5000 + "]",
        "[" * 200 + "1" + "]" * 200,
        '{"a":' * 200 + "{}" + "}" * 200,
        '{"NaN":"Infinity"}',
    ],
    ids=lambda text: text[:40],
)
def test_what_only_looks_like_it_passes(text: str) -> None:
    check_json(text.encode())


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"{]", b"[1,]", b"{} {}", b"{'a':1}", b"\xef\xbb\xbf{}"),
        *(b"[01]", b"[1.]", b"[.5]", b"[+1]", b"[1e]", b"nan", b"[NaN"),
        *(b'["\x01"]', b'["\xff"]', b'["\\x"]', b'["\xed\xa0\xbd"]'),
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        check_json(body)


def test_at_most_100_flaws_are_told() -> None:
    with pytest.raises(ValidationFailed) as refused:
        check_json(json.dumps([float("nan")] * 101).encode())
    assert len(refused.value.errors) == 100


@pytest.mark.parametrize("body", [b"[]", b"5", b'"text"', b"null"])
def test_only_objects_have_members(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        cut_members(body, "data")
    with pytest.raises(ValidationError, match="Input should be an object"):
        RaiseEvent.of_json(body)


@pytest.mark.parametrize("data", ["[]", "5", '"{}"', "null", "true"])
def test_data_is_an_object(data: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RaiseEvent.of_json(f'{{"type":"A","data":{data}}}'.encode())
    assert [(error["loc"], error["msg"]) for error in refused.value.errors()] == [
        (("data",), "Input should be an object")
    ]
    with pytest.raises(ValidationError):
        RaiseEvent.model_validate({"type": "A", "data": JsonText(data)})


def test_only_names_in_camel_case_are_members() -> None:
    with pytest.raises(ValidationError, match="occurred_at"):
        RaiseEvent.of_json(b'{"type":"A","data":{},"occurred_at":"2026-01-31T12:00:00Z"}')


def test_a_number_is_still_a_number() -> None:
    value = read_json("[10.10, 1e400, -0, 12345678901234567890]")
    assert value == [10.1, float("inf"), 0, 12345678901234567890]
    assert [isinstance(item, Number) for item in value] == [True, True, True, False]


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"\ud800": 1}, {"a": [float("inf")]}])
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    with pytest.raises(ValueError, match=r"surrogates|JSON compliant"):
        compact_json(value)


def test_whole_numbers_are_numbers_up_to_the_digits_that_python_reads_without_asking() -> None:
    assert type(read_json("9" * DIGITS_AT_MOST)) is int
    assert type(read_json("-" + "9" * DIGITS_AT_MOST)) is int
    assert type(read_json("9" * (DIGITS_AT_MOST + 1))) is Number
