"""Incoming webhooks: the decisions."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.incoming.events import NotRaisable, payload_of
from domain.incoming.model import IncomingEndpoint
from domain.incoming.rules import (
    event_type,
    is_address,
    new_token,
    query_of,
    read_request,
    request_text,
    shown_headers,
    stored_event_id,
    token_hash,
    unreadable_id,
)
from domain.journal.events import EVENT_ID_PATTERN, EVENT_TYPE_PATTERN, event_data
from domain.providers.contract import IncomingRequest
from tests.worlds.builders import START

ID = UUID(int=1)


@pytest.mark.parametrize(
    ("provider", "type_", "expected"),
    [
        ("Stripe", "charge.succeeded", "stripe.charge.succeeded"),
        ("GA4", "x", "ga4.x"),
        ("Twilio", "message delivered!", "twilio.message.delivered"),
        ("REST", "../../etc", "rest.etc"),
        ("REST", "", "rest.event"),
        ("REST", "é", "rest.event"),
        ("Square", "a" * 300, "square." + "a" * 93),
    ],
)
def test_an_event_is_named_after_its_provider(provider: str, type_: str, expected: str) -> None:
    assert event_type(provider, type_) == expected


@given(st.text(max_size=300))
def test_every_name_a_provider_gives_makes_an_event_type(type_: str) -> None:
    import re

    assert re.fullmatch(EVENT_TYPE_PATTERN, event_type("Stripe", type_))


@given(st.text(max_size=400))
def test_every_id_a_provider_gives_can_be_stored_and_stays_itself(event_id: str) -> None:
    stored = stored_event_id(event_id)
    assert 0 < len(stored) <= 200
    assert stored.isascii()
    assert stored == stored_event_id(event_id)


def test_ids_that_differ_stay_different() -> None:
    ids = ["evt_1", "evt_1 ", "evt_2", "x" * 200, "x" * 201, "x" * 202, "", " "]
    assert len({stored_event_id(id_) for id_ in ids}) == len(ids)
    assert stored_event_id("evt_1") == "evt_1"
    assert len(unreadable_id(b"x")) <= 200


@given(st.binary(max_size=300), st.dictionaries(st.text(st.characters(codec="latin-1")), st.text()))
def test_a_stored_request_comes_back_byte_for_byte(body: bytes, headers: dict[str, str]) -> None:
    request = IncomingRequest("POST", "https://hub.example/x?a=1&a=2", headers, {"a": "2"}, body, START)
    read = read_request(request_text(request), START)
    assert read.body == body
    assert read == request


def test_the_last_value_of_a_query_parameter_counts_and_is_decoded() -> None:
    assert query_of("https://hub.example/x?validationToken=a%20b%2Bc&e=&d=1&d=2") == {
        "validationToken": "a b+c",
        "e": "",
        "d": "2",
    }


def test_headers_that_authenticate_are_not_shown() -> None:
    headers = {"authorization": "Basic x", "stripe-signature": "t=1", "content-type": "a/b", "user-agent": ""}
    assert shown_headers(headers) == {"content-type": "a/b"}


def _rotated(**fields: object) -> IncomingEndpoint:
    return IncomingEndpoint(ID, ID, **fields)  # type: ignore[arg-type]


def test_the_plain_address_is_good_until_the_first_rotation() -> None:
    assert is_address(_rotated(), None, START)
    assert not is_address(_rotated(), "", START)
    assert not is_address(_rotated(), new_token(), START)


def test_after_a_rotation_the_old_address_is_good_for_the_overlap_and_no_longer() -> None:
    token = new_token()
    ends = START + timedelta(hours=24)
    endpoint = _rotated(token_hash=token_hash(token), previous_token_hash="", previous_expires_at=ends)
    assert is_address(endpoint, token, START)
    assert is_address(endpoint, None, ends - timedelta(seconds=1))
    assert not is_address(endpoint, None, ends)
    assert is_address(endpoint, token, ends)
    assert not is_address(endpoint, token[:-1] + ("A" if token[-1] != "A" else "B"), START)
    assert not is_address(endpoint, "", START)


def test_tokens_never_repeat_and_fit_a_path_segment() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 43 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)


def test_an_event_id_made_from_the_inbox_id_is_one_that_events_take() -> None:
    import re

    for suffix in ("", ".2", ".received"):
        assert re.fullmatch(EVENT_ID_PATTERN, f"{ID}{suffix}")
    assert event_data({"a": 1}) == '{"a":1}'


def test_a_content_may_be_as_large_as_an_event_may_be_and_no_larger__BR_WH_08() -> None:
    size = len(payload_of({"name": "größe"}, 1_000).encode())
    assert payload_of({"name": "größe"}, size)
    with pytest.raises(NotRaisable, match="BR-WH-08"):
        payload_of({"name": "größe"}, size - 1)
