"""What the product relies on in a queue, from the sending port to the function that a message triggers: once
embedded, once by azure-servicebus over AMQP 1.0. The Azure side is skipped where its endpoint cannot run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from tests.loopback.amqp import MISSING
from tests.worlds.queue_worlds import (
    HOST,
    JOBS,
    LOCK_SECONDS,
    MAX_DELIVERIES,
    AzureWorld,
    Dead,
    EmbeddedWorld,
    Heard,
    Messages,
    World,
    eventually,
    listening,
    numbers,
)

_AZURE = pytest.param(
    "azure", marks=[pytest.mark.azure, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
)


@pytest.fixture(params=["embedded", _AZURE])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = (
        EmbeddedWorld(tmp_path / "queue.db", monkeypatch)
        if request.param == "embedded"
        else AzureWorld(monkeypatch)
    )
    yield made
    made.close()


def send(world: World, *bodies: str) -> None:
    world.sender.send(JOBS, [QueueMessage(body) for body in bodies])


def test_a_function_is_given_what_was_sent(world: World) -> None:
    before = datetime.now(UTC)
    world.sender.send(JOBS, [QueueMessage("größe", message_id="m-1", properties={"traceparent": "00-ab"})])
    heard = Heard()
    with listening(world, heard):
        heard.wait(1)
    ((message,),) = heard.calls
    assert message.get_body() == "größe".encode()
    assert (message.message_id, message.delivery_count) == ("m-1", 1)
    assert dict(message.application_properties) == {"traceparent": "00-ab"}
    assert message.sequence_number is not None
    assert message.enqueued_time_utc is not None
    assert abs(message.enqueued_time_utc - before) < timedelta(seconds=10)
    assert world.left() == 0


def test_messages_come_in_order_and_in_batches_no_larger_than_the_host_says(world: World) -> None:
    send(world, *(str(number) for number in range(95)))
    heard = Heard()
    with listening(world, heard):
        heard.wait(95)
    assert numbers(heard.bodies) == list(range(95))
    assert max(len(call) for call in heard.calls) == HOST.max_message_batch_size


def test_single_messages_run_side_by_side_up_to_the_hosts_limit(world: World) -> None:
    together = threading.Barrier(HOST.max_concurrent_calls)
    heard = Heard(lambda messages: together.wait(10) and None)
    send(world, *(str(number) for number in range(2 * HOST.max_concurrent_calls)))
    with listening(world, heard, many=False):
        heard.wait(2 * HOST.max_concurrent_calls)
        eventually(lambda: world.left() == 0, "completion")
    assert {len(call) for call in heard.calls} == {1}
    assert sorted(numbers(heard.bodies)) == list(range(2 * HOST.max_concurrent_calls))


def test_a_scheduled_message_comes_at_its_moment_in_whatever_zone_it_is_told(world: World) -> None:
    arrivals: dict[str, datetime] = {}

    def note(messages: Messages) -> None:
        arrivals.update({message.get_body().decode(): datetime.now(UTC) for message in messages})

    heard = Heard(note)
    with listening(world, heard):
        send(world, "both links are open")
        heard.wait(1)
        moment = datetime.now(timezone(timedelta(hours=5))) + timedelta(seconds=1)
        world.sender.send(JOBS, [QueueMessage("later", scheduled_at=moment), QueueMessage("now")])
        assert heard.wait(3)[1:] == ["now", "later"]
    assert arrivals["now"] < moment
    assert timedelta() <= arrivals["later"] - moment + timedelta(milliseconds=2) < timedelta(seconds=1.5)


def test_a_message_scheduled_for_the_past_comes_at_once(world: World) -> None:
    world.sender.send(JOBS, [QueueMessage("late", scheduled_at=datetime.now(UTC) - timedelta(hours=1))])
    heard = Heard()
    with listening(world, heard):
        heard.wait(1)


def test_a_failing_batch_comes_again_with_its_count_raised(world: World) -> None:
    counts: list[int | None] = []

    def fail_once(messages: Messages) -> None:
        counts.append(messages[0].delivery_count)
        if len(counts) == 1:
            raise RuntimeError("the first time")

    send(world, "a")
    with listening(world, Heard(fail_once)):
        eventually(lambda: len(counts) == 2, "a second delivery")
    assert counts == [1, 2]
    assert world.left() == 0
    assert world.dead() == []


def test_a_message_that_fails_every_time_is_dead_lettered_and_hinders_no_other(world: World) -> None:
    def fail(messages: Messages) -> None:
        if messages[0].get_body() == b"poison":
            raise RuntimeError("every time")

    world.sender.send(JOBS, [QueueMessage("poison", "p-1")])
    heard = Heard(fail)
    with listening(world, heard, many=False):
        eventually(lambda: world.left() == 0, "the dead letter")
        send(world, "good")
        eventually(lambda: "good" in heard.bodies, "the other message")
    assert heard.bodies.count("poison") == MAX_DELIVERIES
    assert world.dead() == [Dead("p-1", b"poison", "MaxDeliveryCountExceeded")]
    assert [world.sender.dead_letter_counts() for _ in range(2)] == [{JOBS: 1}] * 2


def test_dead_letters_are_listed_sent_again_and_given_up(world: World) -> None:
    def fail(messages: Messages) -> None:
        raise RuntimeError("every time")

    messages = [QueueMessage(f"{number}", f"p-{number}", properties={"kind": "test"}) for number in range(5)]
    world.sender.send(JOBS, messages)
    with listening(world, Heard(fail), many=False):
        eventually(lambda: world.left() == 0, "the dead letters")
    letters = world.sender.dead_letters(JOBS)
    assert sorted(letter.message_id for letter in letters) == [f"p-{number}" for number in range(5)]
    facts = {(letter.reason, dict(letter.properties)["kind"]) for letter in letters}
    assert facts == {("MaxDeliveryCountExceeded", "test")}
    assert all(letter.delivery_count >= MAX_DELIVERIES - 1 for letter in letters)
    assert all(letter.body == letter.message_id[-1:].encode() for letter in letters)
    numbers = [letter.sequence_number for letter in letters]
    assert numbers == sorted(numbers)
    first_two = world.sender.dead_letters(JOBS, limit=2)
    assert [*first_two, *world.sender.dead_letters(JOBS, after=numbers[1])] == letters

    again = world.sender.resend_dead_letters(JOBS, [numbers[3], numbers[0], max(numbers) + 7])
    assert [letter.sequence_number for letter in again] == [numbers[0], numbers[3]]
    given_up = world.sender.discard_dead_letters(JOBS, [numbers[1], numbers[3]])
    assert [letter.sequence_number for letter in given_up] == [numbers[1]]
    left = world.sender.dead_letters(JOBS)
    assert [letter.message_id for letter in left] == [letters[2].message_id, letters[4].message_id]
    assert world.sender.resend_dead_letters(JOBS, []) == []
    seen: list[tuple[str, int | None, str]] = []

    def note(messages: Messages) -> None:
        (message,) = messages
        kind = dict(message.application_properties)["kind"]
        seen.append((message.message_id, message.delivery_count, kind))

    with listening(world, Heard(note), many=False):
        eventually(lambda: len(seen) == 2, "those that were sent again")
    assert sorted(seen) == sorted((letter.message_id, 1, "test") for letter in again)


def test_a_function_slower_than_its_lock_keeps_a_single_message(world: World) -> None:
    heard = Heard(lambda messages: time.sleep(LOCK_SECONDS * 1.25))
    send(world, "slow")
    with listening(world, heard, many=False):
        eventually(lambda: world.left() == 0, "completion")
    assert heard.bodies == ["slow"]


def test_a_batch_slower_than_its_locks_comes_again_since_nobody_renews_them(world: World) -> None:
    heard = Heard(lambda messages: time.sleep(LOCK_SECONDS * 1.25 if len(heard.calls) == 1 else 0))
    send(world, "slow")
    with listening(world, heard):
        eventually(lambda: world.left() == 0, "completion")
    assert heard.bodies == ["slow", "slow"]


def test_stopping_settles_what_is_in_hand_and_leaves_the_rest_to_the_next(world: World) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(messages: Messages) -> None:
        entered.set()
        go_on.wait(10)

    send(world, *(str(number) for number in range(30)))
    first, second = Heard(wait), Heard()
    with listening(world, first):
        assert entered.wait(10)
        threading.Timer(0.3, go_on.set).start()
    assert world.left() == 30 - len(first.bodies)
    with listening(world, second):
        second.wait(30 - len(first.bodies))
    assert sorted(numbers(first.bodies + second.bodies)) == list(range(30))


def test_two_hosts_share_the_work_and_take_no_message_twice(world: World) -> None:
    send(world, *(str(number) for number in range(200)))
    one, other = Heard(lambda messages: time.sleep(0.01)), Heard(lambda messages: time.sleep(0.01))
    with listening(world, one), listening(world, other):
        eventually(lambda: len(one.bodies) + len(other.bodies) >= 200, "all messages")
    assert sorted(numbers(one.bodies + other.bodies)) == list(range(200))
    assert one.bodies
    assert other.bodies


def test_the_same_message_id_comes_as_often_as_it_is_sent(world: World) -> None:
    world.sender.send(JOBS, [QueueMessage("a", "same"), QueueMessage("b", "same")])
    heard = Heard()
    with listening(world, heard):
        assert heard.wait(2) == ["a", "b"]


def test_more_than_one_batch_holds_is_sent_whole_and_in_order(world: World) -> None:
    send(world, *(f"{number:0100000}" for number in range(7)))
    heard = Heard()
    with listening(world, heard):
        assert numbers(heard.wait(7)) == list(range(7))


def test_a_message_over_256_kilobytes_is_refused_and_nothing_is_sent(world: World) -> None:
    with pytest.raises(ValueError, match="message"):
        send(world, "small", "x" * (256 * 1024 + 1))
    assert world.left() == 0


def test_sending_nothing_is_no_error(world: World) -> None:
    world.sender.send(JOBS, [])
    assert world.left() == 0


def test_threads_send_through_one_sender(world: World) -> None:
    def send_some(start: int) -> None:
        for number in range(start, start + 25):
            send(world, str(number))

    threads = [threading.Thread(target=send_some, args=(25 * each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = Heard()
    with listening(world, heard):
        assert sorted(numbers(heard.wait(200))) == list(range(200))


def test_a_ping_is_silent_when_all_is_well_and_a_closed_sender_is_unavailable(world: World) -> None:
    world.sender.ping()
    world.sender.close()
    world.sender.close()
    with pytest.raises(Unavailable):
        send(world, "a")
