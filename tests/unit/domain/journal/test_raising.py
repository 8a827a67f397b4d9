"""The body of `POST /api/events`: which events it holds, what is wrong with it and where, and what it costs."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from pydantic import ValidationError

from domain.core.errors import TooLarge, ValidationFailed
from domain.core.json_text import MalformedJson
from domain.journal.raising import read_raised

MOST = 1024 * 1024
ONE = b'{"type":"A","data":{}}'


def batch(*events: bytes) -> bytes:
    return b'{"events":[' + b",".join(events) + b"]}"


def pointers(body: bytes) -> list[str]:
    with pytest.raises(ValidationFailed) as refused:
        read_raised(body, payload_at_most=MOST)
    return [error.pointer for error in refused.value.errors]


def test_each_event_of_a_list_keeps_its_own_text() -> None:
    body = b'{ "events" : [{"type":"A","data":{"n":1.0}}, {"data" : { "n":1.00 },"type":"B"} ] }\n'
    raised = read_raised(body, payload_at_most=MOST)
    assert [event.data.text for event in raised.events] == ['{"n":1.0}', '{ "n":1.00 }']
    assert raised.in_batch


@pytest.mark.parametrize(
    "body",
    [ONE, b'{"data":{"events":[1]},"type":"events"}', b'{"type":"A","data":{},"subject":"\\"events\\""}'],
)
def test_the_word_events_inside_an_event_makes_no_batch(body: bytes) -> None:
    raised = read_raised(body, payload_at_most=MOST)
    assert len(raised.events) == 1 and not raised.in_batch


def test_a_thousand_events_are_taken_and_one_more_is_not() -> None:
    assert len(read_raised(batch(*[ONE] * 1000), payload_at_most=MOST).events) == 1000
    with pytest.raises(ValidationError, match="at most 1000"):
        read_raised(batch(*[ONE] * 1001), payload_at_most=MOST)


def test_a_name_with_escapes_is_the_same_name() -> None:
    assert read_raised(b'{"\\u0065vents":[' + ONE + b"]}", payload_at_most=MOST).in_batch


@pytest.mark.parametrize(
    ("body", "places"),
    [
        (batch(ONE, b'{"type":"1","data":{}}'), ["/events/1/type"]),
        (batch(ONE, b'{"type":"A","data":{},"a/b":1}'), ["/events/1/a~1b"]),
        (batch(ONE, b'{"type":"A","data":{"x":[1,{"y":1,"\\u0079":2}]}}'), ["/events/1/data/x/1/y"]),
        (batch(b'{"type":"A"}', b"5", ONE, b'{"data":[]}'), ["/events/0/data", "/events/1", "/events/3/type",
                                                            "/events/3/data"]),
        (batch(b'{"type":"A","data":{"x":' + b"9" * 5_000 + b"}}"), ["/events/0/data/x"]),
        (b'{"events":[' + ONE + b'],"events":[' + ONE + b"]}", ["/events"]),
        (b'{"events":[' + ONE + b'],"x":' + b" " * MOST + b"1}", [""]),
        (b'{"events":[' + ONE + b'],"events":[' + b" " * MOST + ONE + b"]}", ["/events"]),
        (batch(*[b"{}"] * 2_000_000), [""]),
        (batch(*[b"{}"] * 1_000), [f"/events/{n // 2}/{('type', 'data')[n % 2]}" for n in range(100)]),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(body: bytes, places: list[str]) -> None:
    assert pointers(body) == places


@pytest.mark.parametrize(
    "body",
    [
        b"{", batch(ONE)[:-1], batch(ONE) + b"x", batch(b"[" * 50_000), batch(b"[" * 5_000 + b"]" * 5_000),
        b'{"type":"A","data":{"x":' + b"[" * 500_000 + b"]" * 500_000 + b"}}",
        b"[" * 3_000_000, batch(b'{"type":"A","data":{"x":"\xff"}}'), b'{"events":[' + ONE + b",]}",
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)  # fmt: skip
def test_what_is_no_json_is_malformed_or_too_deep(body: bytes) -> None:
    with pytest.raises((MalformedJson, ValidationFailed)):
        read_raised(body, payload_at_most=MOST)


def test_no_object_is_told_as_such() -> None:
    for body in (b"[]", b"5", b'"text"', b"null"):
        with pytest.raises(ValidationError, match="Input should be an object"):
            read_raised(body, payload_at_most=MOST)


@pytest.mark.parametrize(("size", "code"), [(MOST, None), (MOST + 1, "BR-WH-08")])
@pytest.mark.parametrize("frame", [b"%b", b'{"events":[%b]}'])
def test_every_payload_is_measured_as_it_is_written__BR_WH_08(
    frame: bytes, size: int, code: str | None
) -> None:
    data = b'{"x":"' + b"y" * (size - 8) + b'"}'
    body = frame % (b'{"data":' + data + b',"type":"A"}')
    if code is None:
        assert len(read_raised(body, payload_at_most=MOST).events[0].data.text) == size
        return
    with pytest.raises(TooLarge) as refused:
        read_raised(body, payload_at_most=MOST)
    assert refused.value.code == code
    assert refused.value.errors[0].pointer.endswith("/data")


def test_what_stands_beside_a_payload_is_measured_too() -> None:
    body = b'{"type":"A","data":{},"extra":"' + b"x" * (MOST + 64 * 1024) + b'"}'
    with pytest.raises(TooLarge) as refused:
        read_raised(body, payload_at_most=MOST)
    assert refused.value.code == "too-large"


EIGHT_MEBIBYTES = 8 * 1024 * 1024


def events_of(data: str) -> bytes:
    """A batch of 8 MiB whose payloads consist of `data`."""
    one = json.dumps({"type": "A", "data": {}}).replace(
        "{}", '{"x":[' + data * (1_000_000 // len(data)) + "0]}"
    )
    return batch(*[one.encode()] * (EIGHT_MEBIBYTES // (len(one) + 1)))


@pytest.mark.parametrize(
    "body",
    [
        events_of("{},"), events_of('{"":[]},'), events_of('"\N{GRINNING FACE}",'),
        batch(*[b"{}"] * (EIGHT_MEBIBYTES // 3 - 10)),
        b'{"events":[' + ONE + b"]," + b",".join(b'"%d":[]' % n for n in range(EIGHT_MEBIBYTES // 12)) + b"}",
        b'{"type":"A","data":{},' + b",".join(b'"%d":[]' % n for n in range(EIGHT_MEBIBYTES // 12)) + b"}",
        b"[" + b"[]," * (EIGHT_MEBIBYTES // 3 - 2) + b"0]",
        b'{"events":' + b"[" + b"{}," * (EIGHT_MEBIBYTES // 3 - 20) + b"0]" + b',"events":[]}',
    ],
    ids=lambda body: body[:24].decode(),
)  # fmt: skip
def test_eight_mebibytes_never_take_more_than_fifteen_times_their_size(body: bytes) -> None:
    tracemalloc.start()
    try:
        read_raised(body, payload_at_most=MOST)
    except (ValidationFailed, ValidationError, MalformedJson):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 15 * EIGHT_MEBIBYTES
