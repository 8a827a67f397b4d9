"""Odd messages in a batch, put together as the real host does it: none is lost, none takes another's id."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from sqlalchemy import text

from devhost.messages import Arrived, batch_of
from domain.core.ports import QueueMessage
from functions import queues, sync_orchestration
from functions.messages import MESSAGE_ID, ids_of
from infra.app.build import build, serving
from infra.app.settings import Settings
from infra.embedded.queue import EmbeddedQueue
from tests.worlds.builders import START, TENANT, FakeClock, FlakyDatabase, MemoryQueue, new_database

_BINDING = json.dumps({"taskHubName": "hub", "creationUrls": {}, "managementUrls": {"id": "1"}})


def triggers() -> dict[str, tuple[Any, dict[str, Any]]]:
    """The function and the binding of each queue."""
    app = func.FunctionApp()
    app.register_functions(queues.bp)
    app.register_functions(sync_orchestration.bp)
    found = {}
    for each in app.get_functions():
        for binding in map(json.loads, each.get_raw_bindings()):
            if binding["type"] == "serviceBusTrigger":
                found[binding["queueName"]] = (each.get_user_function(), binding)
    return found


TRIGGERS = triggers()


@dataclass
class Sent:
    """A message of another module on the queue `domain-events`."""

    body: bytes
    number: int
    message_id: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def arrived(self) -> Arrived:
        return Arrived(
            body=self.body,
            texts={"MessageId": self.message_id},
            numbers={"SequenceNumber": self.number},
            moments={"EnqueuedTimeUtc": START + timedelta(seconds=self.number)},
            delivery_count=1,
            properties=self.properties,
        )


def event(number: int, **fields: Any) -> bytes:
    return json.dumps({"tenantId": str(TENANT), "type": "Booked", "data": {"n": number}, **fields}).encode()


def handed(*sent: Sent) -> list[func.ServiceBusMessage]:
    """What the function of `domain-events` gets by its own binding."""
    return batch_of([each.arrived for each in sent], TRIGGERS["domain-events"][1].get("dataType", ""))


class Desk:
    """`fan_out_events` over a database that can be taken away."""

    def __init__(self, home: Path) -> None:
        new_database(home)
        self.clock = FakeClock()
        self.queue = MemoryQueue(self.clock)
        self.database = FlakyDatabase(home)
        self.hub = build(Settings(home=home), clock=self.clock, database=self.database, queue=self.queue)

    def handle(self, *sent: Sent) -> None:
        TRIGGERS["domain-events"][0](messages=handed(*sent))

    def put_off(self) -> list[Sent]:
        """The copies that wait, with the numbers that the queue gives them."""
        self.clock.advance(seconds=600)
        copies = self.queue.take("domain-events")
        return [
            Sent(copy.body.encode(), number, copy.message_id or "", copy.properties)
            for number, copy in enumerate(copies, 900)
        ]

    def stored(self) -> dict[str, list[int]]:
        """The numbers of the events that are stored, by their ids."""
        found: dict[str, list[int]] = {}
        with self.database.read() as connection:
            for event_id, data in connection.execute(text('SELECT "EventId", "Payload" FROM "DomainEvents"')):
                found.setdefault(event_id, []).append(json.loads(data)["n"])
        return found

    def numbers(self) -> list[int]:
        return sorted(number for numbers in self.stored().values() for number in numbers)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    with serving(made.hub):
        yield made
    made.database.close()


def test_every_queue_hands_over_bytes() -> None:
    assert {queue: binding["dataType"] for queue, (_, binding) in TRIGGERS.items()} == dict.fromkeys(
        ("domain-events", "webhook-deliveries", "sync-jobs", "alerts"), "BINARY"
    )


def test_messages_that_all_have_ids_keep_them(desk: Desk) -> None:
    desk.handle(Sent(event(1), 1, "theirs-1"), Sent(event(2), 2, "theirs-2"))
    assert desk.stored() == {"theirs-1": [1], "theirs-2": [2]}


@pytest.mark.parametrize("missing", [{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 2}, {0, 1, 2}])
def test_where_an_id_is_missing_no_event_is_lost_and_none_takes_anothers_id(
    desk: Desk, missing: set[int]
) -> None:
    sent = [Sent(event(n), n, "" if n in missing else f"theirs-{n}") for n in range(3)]
    desk.handle(*sent)
    assert desk.numbers() == [0, 1, 2]
    for event_id, numbers in desk.stored().items():
        assert not event_id.startswith("theirs-") or event_id == f"theirs-{numbers[0]}"


def test_a_batch_delivered_again_stores_nothing_twice(desk: Desk) -> None:
    sent = [Sent(event(1), 1), Sent(event(2), 2, "theirs-2"), Sent(event(3), 3)]
    desk.handle(*sent)
    desk.handle(*reversed(sent))
    assert desk.numbers() == [1, 2, 3]


def test_equal_events_without_ids_are_as_many_as_were_sent(desk: Desk) -> None:
    desk.handle(Sent(event(1), 1), Sent(event(1), 2))
    desk.handle(Sent(event(1), 3))
    assert desk.numbers() == [1, 1, 1]


def test_equal_messages_that_nothing_tells_apart_are_two(desk: Desk) -> None:
    one = Sent(event(1), 0).arrived
    nameless = replace(one, numbers={}, moments={})
    made = ids_of(batch_of([nameless, nameless], "BINARY"))
    assert len(set(made)) == 2
    assert made == ids_of(batch_of([nameless, nameless], "BINARY")), "when they come again"


def test_what_was_put_off_keeps_its_id_among_others_that_have_none(desk: Desk) -> None:
    desk.database.down = True
    desk.handle(Sent(event(1), 1, "theirs-1"), Sent(event(2), 2, "theirs-2"))
    desk.handle(Sent(event(3), 3))
    desk.database.down = False
    waiting = desk.put_off()
    assert len(waiting) == 3
    desk.handle(Sent(event(4), 4), *waiting)
    desk.handle(*waiting)
    assert desk.numbers() == [1, 2, 3, 4]
    assert (desk.stored()["theirs-1"], desk.stored()["theirs-2"]) == ([1], [2])


@pytest.mark.parametrize("kept", ["", "x" * 129])
def test_a_kept_id_that_is_none_is_not_taken(kept: str) -> None:
    made = batch_of([Sent(event(1), 1, "theirs-1", {MESSAGE_ID: kept}).arrived], "BINARY")
    assert ids_of(made) == ["theirs-1"]


@pytest.mark.parametrize("odd", [b"", b"no JSON", b"\xff\xfe", b"[]", b"null", b"[" * 100_000])
def test_a_body_that_is_no_event_stops_no_other(desk: Desk, odd: bytes) -> None:
    desk.handle(Sent(event(1), 1), Sent(odd, 2, "odd"), Sent(event(3), 3))
    assert desk.numbers() == [1, 3]
    [alert] = desk.queue.take("alerts")
    assert json.loads(alert.body)["kind"] == "unreadable-message"
    assert json.loads(alert.body)["data"]["messageId"] != "odd", "it may be another's"


def test_a_byte_order_mark_is_no_part_of_an_event(desk: Desk) -> None:
    desk.handle(Sent(b"\xef\xbb\xbf" + event(1), 1, "theirs-1"))
    assert desk.stored() == {"theirs-1": [1]}


def test_moments_in_an_event_stay_as_they_were_written(desk: Desk) -> None:
    at = "2026-03-01T10:00:00.1200+02:00"
    desk.handle(Sent(event(1, data={"n": 1, "at": at}), 1, "theirs-1"))
    with desk.database.read() as connection:
        data = connection.execute(text('SELECT "Payload" FROM "DomainEvents"')).scalar_one()
    assert json.loads(data)["at"] == at


@pytest.mark.parametrize("queue", ["webhook-deliveries", "sync-jobs", "alerts"])
def test_every_queue_takes_odd_messages_in_one_batch(desk: Desk, queue: str) -> None:
    function, binding = TRIGGERS[queue]
    odd = [Sent(body, number) for number, body in enumerate((b"", b"\xff", b"no JSON", b"[]", b"{}", b"7"))]
    client = {"client": _BINDING} if queue == "sync-jobs" else {}
    returned = function(messages=batch_of([each.arrived for each in odd], binding["dataType"]), **client)
    if inspect.iscoroutine(returned):
        asyncio.run(returned)
    assert desk.queue.take(queue) == [], "none is put off"


async def test_a_message_that_the_hub_sends_has_an_id_and_a_foreign_one_may_have_none(
    tmp_path: Path,
) -> None:
    queue = EmbeddedQueue(tmp_path / "queue.db", FakeClock())
    queue.send("q", [QueueMessage("a"), QueueMessage("b", ""), QueueMessage("c", "c-1")])
    first, second, third = (each.message_id for each in queue.receive("q", 3))
    assert (len(first), second, third) == (32, "", "c-1")
    queue.close()
