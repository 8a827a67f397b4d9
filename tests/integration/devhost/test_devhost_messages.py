"""Batches are put together as the real host does it, with all that this loses or moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devhost.messages import Arrived, UnreadableBatch, batch_of, single_of


def arrived(body: bytes = b"{}", message_id: str = "", number: int = 1, **texts: str) -> Arrived:
    return Arrived(
        body=body,
        texts={"MessageId": message_id, **texts},
        numbers={"SequenceNumber": number},
        moments={},
        delivery_count=number,
        properties={"number": number},
    )


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (["a", "b", "c"], ["a", "b", "c"]),
        (["", "b", "c"], ["b", "c", None]),
        (["a", "", "c"], ["a", "c", None]),
        (["a", "b", ""], ["a", "b", None]),
        (["", "", ""], [None, None, None]),
    ],
)
def test_ids_that_are_missing_are_left_out_so_that_the_others_move_up(
    sent: list[str], seen: list[str | None]
) -> None:
    batch = [arrived(message_id=name, number=number) for number, name in enumerate(sent)]
    made = batch_of(batch, "BINARY")
    assert [message.message_id for message in made] == seen
    assert [message.sequence_number for message in made] == [0, 1, 2]
    assert [message.delivery_count for message in made] == [0, 1, 2]
    assert [message.application_properties for message in made] == [{"number": n} for n in range(3)]


def test_whatever_is_text_moves_up_with_its_own_kind_alone() -> None:
    batch = [arrived(message_id="a"), arrived(message_id="b", CorrelationId="of b")]
    made = batch_of(batch, "BINARY")
    assert [(each.message_id, each.correlation_id) for each in made] == [("a", "of b"), ("b", None)]


def test_bytes_arrive_as_they_were_sent() -> None:
    bodies = [b"", b"\xff\x00", b'{"at": "2026-03-01T10:00:00+02:00"}', b" not JSON "]
    made = batch_of([arrived(body) for body in bodies], "BINARY")
    assert [message.get_body() for message in made] == bodies


@pytest.mark.parametrize("bodies", [[b"", b"x"], [b"x", b""], [b""]])
def test_an_empty_body_fails_a_batch_of_strings(bodies: list[bytes]) -> None:
    with pytest.raises(UnreadableBatch, match="empty"):
        batch_of([arrived(body) for body in bodies], "STRING")


@pytest.mark.parametrize("odd", [b"", b"plain", b"\xff", b"{'a': 1}"])
def test_one_body_that_is_not_json_fails_a_batch_without_a_data_type(odd: bytes) -> None:
    with pytest.raises(UnreadableBatch, match="not JSON"):
        batch_of([arrived(b"{}"), arrived(odd)], "")


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00+00:00"),
        ("2026-03-01T10:00:00.1200Z", "2026-03-01T10:00:00.12Z"),
        ("2026-03-01T10:00:00", "2026-03-01T10:00:00"),
        ("2026-03-01", "2026-03-01"),
    ],
)
def test_moments_are_rewritten_without_a_data_type(text: str, rewritten: str) -> None:
    [made] = batch_of([arrived(json.dumps({"deep": [{"at": text}]}).encode())], "")
    assert json.loads(made.get_body()) == {"deep": [{"at": rewritten}]}


@pytest.mark.parametrize(("data_type", "body"), [("BINARY", b"\xff"), ("", "\ufffd".encode())])
def test_a_single_message_has_its_own_metadata(data_type: str, body: bytes) -> None:
    made: Any = single_of(arrived(b"\xff", "m-1", 7, ContentType="text/plain"), data_type)
    assert (made.get_body(), made.message_id, made.content_type) == (body, "m-1", "text/plain")
    assert (made.sequence_number, made.delivery_count, made.user_properties) == (7, 7, {"number": 7})
