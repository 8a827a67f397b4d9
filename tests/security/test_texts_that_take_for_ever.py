"""Texts that patterns and the library once read in the square of their length, or twice as long for each letter."""

from __future__ import annotations

import json
import time

import pytest

from domain.core.web_address import BadAddress, read_address
from domain.privacy.rules import DigestedPeople, IdentifiedPerson, digest_of, without_person
from domain.providers.contract import ProviderResponse
from infra.providers._kit.contents import read_in_parts
from infra.providers._kit.rate_limits import is_rate_limit
from infra.providers._kit.refusal import scrub
from infra.providers.custom_rest.records import next_link
from infra.providers.ical.caldav import multistatus

KEY = b"k" * 32
SECONDS = 1.0


@pytest.fixture(autouse=True)
def _clock() -> object:
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS, "The text took more than linear time."


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a.b-" * 50_000 + "@",
        "@" + "a." * 100_000,
        "a@b" * 60_000,
        "a" + "\u0301\u0327" * 100_000,
    ],
    ids=lambda text: text[:8],
)
def test_a_record_that_is_one_long_almost_address_is_searched_for_suppressed_people(text: str) -> None:
    people = DigestedPeople(KEY, [digest_of(KEY, "ann@a.example")])
    record = json.dumps({"note": f"{text} ann@a.example"})
    assert "ann@a.example" not in without_person(record, people)[0]
    assert "ann@a.example" not in without_person(record, IdentifiedPerson(["ann@a.example"]))[0]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a@b@ann@a.example", "a@b@[erased]"),
        ("x@y.z+ann@a.example", "x@y.z+ann@a.example"),
        ("ann@a.example+ann@a.example", "[erased]+ann@a.example"),
        ("joann@a.example, ann@a.example.", "joann@a.example, [erased]."),
        ("to:ann@a.example;ann@a.example", "to:[erased];[erased]"),
    ],
)
def test_addresses_are_found_where_they_were_found_before(text: str, left: str) -> None:
    assert DigestedPeople(KEY, [digest_of(KEY, "ann@a.example")]).without(text) == left


@pytest.mark.parametrize("unit", ['"\\', '"\\"', '["', '{"a":'])
def test_a_list_that_is_no_json_is_divided(unit: str) -> None:
    try:
        read_in_parts(f'[1,{unit * 50_000}{{"b":1}}]')
    except Exception as refused:
        assert type(refused).__name__ == "ProviderFailure"


def test_what_stands_before_a_text_without_an_end_is_read() -> None:
    assert [type(part).__name__ for part in read_in_parts('[{"a":1},{"b":"}]"},{"c":"x}]')] == [
        "dict",
        "dict",
        "_Text",
    ]


def test_a_link_header_of_blanks_and_signs_is_read() -> None:
    for unit in ("; a= ", " ;a", ";a=b=", ' "', "<a>;", '<a>;x="', "; rel=next"):
        next_link("<https://p.example/2>" + unit * 20_000 + "\x00")


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://p.example/2>; rel="next"', "https://p.example/2"),
        (
            '<https://p.example/1>; rel=prev, <https://p.example/2> ; title="a, <b>; c" ; rel=next',
            "https://p.example/2",
        ),
        ('<https://p.example/2>;rel="last next"', "https://p.example/2"),
        ('<https://p.example/2>; rel=next; anchor="#x"', None),
        ("<https://p.example/2> rel=next", None),
        ("<https://p.example/2>", None),
    ],
)
def test_a_link_is_found_where_it_was_found_before(header: str, target: str | None) -> None:
    assert next_link(header) == target


def test_headers_about_limits_with_endless_names_are_read() -> None:
    for name in ("x-ratelimit" + "-remaining" * 5_000 + "!", "x-" + "a" * 50_000 + "-rate" * 5_000):
        assert not is_rate_limit(ProviderResponse(403, {name: "0"}, b"", 1))
    assert is_rate_limit(ProviderResponse(403, {"x-hubspot-ratelimit-daily-remaining": "0"}, b"", 1))
    assert not is_rate_limit(ProviderResponse(403, {"x-hubspot-ratelimit-daily-remained": "0"}, b"", 1))


def test_an_error_text_of_half_tokens_is_scrubbed() -> None:
    text = "eyJ-" * 20_000 + " bearer " + " " * 50_000
    assert len(scrub(text, [])) <= 300
    assert scrub("token eyJhbGciOiJSUzI1.eyJzdWIiOiIx.c2lnbmF0dXJl is old", []).endswith("is old")
    assert "eyJ" not in scrub("token eyJhbGciOiJSUzI1.eyJzdWIiOiIx.c2lnbmF0dXJl is old", [])


def test_an_answer_of_responses_without_an_end_is_read() -> None:
    text = "<D:multistatus xmlns:D='DAV:'>" + "<D:response>\x01" * 20_000 + "</D:multistatus>"
    assert len(multistatus(ProviderResponse(207, {}, text.encode(), 1))) == 0


def test_a_host_of_endless_marks_is_no_host() -> None:
    with pytest.raises(BadAddress):
        read_address("https://a" + "\u0301\u0327" * 100_000 + ".example/")
