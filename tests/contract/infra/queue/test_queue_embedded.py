"""The embedded queue keeps the promises of a Service Bus queue that the product relies on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from infra.clock import SystemClock
from infra.embedded import queue as queue_module
from infra.embedded.queue import MAX_MESSAGE_BYTES, EmbeddedQueue, QueueDepth, ReceivedMessage
from tests import ROOT
from tests.worlds.builders import FakeClock

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JOBS = "sync-jobs"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def queue(tmp_path: Path, clock: FakeClock) -> Iterator[EmbeddedQueue]:
    made = EmbeddedQueue(tmp_path / "queue.db", clock, max_delivery_count=3)
    yield made
    made.close()


def tokens(messages: list[ReceivedMessage]) -> list[str]:
    return [message.lock_token for message in messages]


def bodies(messages: list[ReceivedMessage]) -> list[str]:
    return [message.body.decode() for message in messages]


def send(queue: EmbeddedQueue, *texts: str) -> None:
    queue.send(JOBS, [QueueMessage(text) for text in texts])


def test_a_message_arrives_as_it_was_sent(queue: EmbeddedQueue) -> None:
    queue.send(JOBS, [QueueMessage("größe", message_id="m-1", properties={"traceparent": "00-ab"})])
    (message,) = queue.receive(JOBS, 10, lock_seconds=30)
    assert message.body == "größe".encode()
    assert (message.message_id, dict(message.properties)) == ("m-1", {"traceparent": "00-ab"})
    assert (message.delivery_count, message.enqueued_at) == (1, START)
    assert message.locked_until == START + timedelta(seconds=30)


def test_messages_without_an_id_get_one_each_and_have_no_properties(queue: EmbeddedQueue) -> None:
    send(queue, "a", "b")
    first, second = queue.receive(JOBS, 10)
    assert first.message_id
    assert first.message_id != second.message_id
    assert dict(first.properties) == {}


def test_messages_come_oldest_first_and_no_more_than_asked_for(
    queue: EmbeddedQueue, clock: FakeClock
) -> None:
    queue.send(JOBS, [QueueMessage("later", scheduled_at=START + timedelta(seconds=5))])
    send(queue, "a", "b", "c")
    assert bodies(queue.receive(JOBS, 2)) == ["a", "b"]
    clock.advance(seconds=5)
    assert bodies(queue.receive(JOBS, 5)) == ["c", "later"]


def test_queues_do_not_see_each_other(queue: EmbeddedQueue) -> None:
    send(queue, "a")
    assert queue.receive("alerts", 10) == []
    (message,) = queue.receive(JOBS, 1)
    assert queue.complete("alerts", [message.lock_token]) == 0
    assert queue.complete(JOBS, [message.lock_token]) == 1


def test_a_locked_message_is_not_given_out_twice(queue: EmbeddedQueue) -> None:
    send(queue, "a")
    assert len(queue.receive(JOBS, 1)) == 1
    assert queue.receive(JOBS, 1) == []


def test_a_completed_message_is_gone(queue: EmbeddedQueue, clock: FakeClock) -> None:
    send(queue, "a", "b")
    assert queue.complete(JOBS, tokens(queue.receive(JOBS, 2))) == 2
    clock.advance(seconds=3600)
    assert queue.receive(JOBS, 1) == []
    assert queue.depths() == {}


def test_an_expired_lock_gives_the_message_to_another_with_the_count_raised(
    queue: EmbeddedQueue, clock: FakeClock
) -> None:
    send(queue, "a", "b")
    (lost,) = queue.receive(JOBS, 1, lock_seconds=60)
    clock.advance(seconds=60)
    again, other = queue.receive(JOBS, 10)
    assert (again.sequence_number, again.delivery_count) == (lost.sequence_number, 2)
    assert other.delivery_count == 1
    assert queue.complete(JOBS, [lost.lock_token]) == 0
    assert queue.complete(JOBS, tokens([again, other])) == 2


def test_an_expired_lock_cannot_be_settled_even_when_nobody_took_the_message(
    queue: EmbeddedQueue, clock: FakeClock
) -> None:
    send(queue, "a")
    held = tokens(queue.receive(JOBS, 1, lock_seconds=10))
    clock.advance(seconds=10)
    assert queue.complete(JOBS, held) == 0
    assert queue.abandon(JOBS, held) == 0
    assert queue.renew(JOBS, held) == 0
    assert queue.dead_letter(JOBS, held, reason="Broken") == 0


def test_a_renewed_lock_lasts_from_the_renewal(queue: EmbeddedQueue, clock: FakeClock) -> None:
    send(queue, "a")
    held = tokens(queue.receive(JOBS, 1, lock_seconds=60))
    clock.advance(seconds=50)
    assert queue.renew(JOBS, held, lock_seconds=60) == 1
    clock.advance(seconds=50)
    assert queue.receive(JOBS, 1) == []
    assert queue.complete(JOBS, held) == 1


def test_an_abandoned_message_returns_at_once_to_its_old_place(queue: EmbeddedQueue) -> None:
    send(queue, "a", "b")
    assert queue.abandon(JOBS, tokens(queue.receive(JOBS, 1))) == 1
    assert bodies(queue.receive(JOBS, 2)) == ["a", "b"]


def test_a_message_delivered_too_often_is_dead_lettered_by_abandon_and_by_expiry(
    queue: EmbeddedQueue, clock: FakeClock
) -> None:
    send(queue, "a", "b")
    for _ in range(3):
        first, _second = queue.receive(JOBS, 2, lock_seconds=60)
        queue.abandon(JOBS, [first.lock_token])
        clock.advance(seconds=60)
    assert queue.receive(JOBS, 2) == []
    dead = queue.dead_letters(JOBS)
    assert [(letter.body, letter.reason, letter.delivery_count) for letter in dead] == [
        (b"a", "MaxDeliveryCountExceeded", 3),
        (b"b", "MaxDeliveryCountExceeded", 3),
    ]


def test_a_dead_lettered_message_keeps_its_reason_and_can_be_requeued(
    queue: EmbeddedQueue, clock: FakeClock
) -> None:
    queue.send(JOBS, [QueueMessage("a", message_id="m-1", properties={"k": "v"})])
    held = tokens(queue.receive(JOBS, 1))
    assert queue.dead_letter(JOBS, held, reason="Broken", description="no such job") == 1
    (letter,) = queue.dead_letters(JOBS)
    assert (letter.reason, letter.description, letter.dead_at) == ("Broken", "no such job", START)
    assert queue.resend_dead_letters(JOBS, [letter.sequence_number]) == [letter]
    assert queue.dead_letters(JOBS) == []
    (message,) = queue.receive(JOBS, 1)
    assert (message.message_id, message.delivery_count, dict(message.properties)) == ("m-1", 1, {"k": "v"})


def test_the_same_message_id_is_delivered_as_often_as_it_is_sent(queue: EmbeddedQueue) -> None:
    queue.send(JOBS, [QueueMessage("a", message_id="m-1"), QueueMessage("a", message_id="m-1")])
    assert len(queue.receive(JOBS, 10)) == 2


def test_a_message_over_256_kilobytes_is_refused_with_the_whole_batch(queue: EmbeddedQueue) -> None:
    queue.send(JOBS, [QueueMessage("x" * MAX_MESSAGE_BYTES)])
    with pytest.raises(ValueError, match="262144 bytes"):
        queue.send(JOBS, [QueueMessage("fits"), QueueMessage("x" * (MAX_MESSAGE_BYTES + 1))])
    assert len(queue.receive(JOBS, 10)) == 1


def test_next_due_names_the_first_moment_something_can_be_received(
    queue: EmbeddedQueue, clock: FakeClock
) -> None:
    assert queue.next_due(JOBS) is None
    scheduled = START + timedelta(seconds=90)
    queue.send(JOBS, [QueueMessage("later", scheduled_at=scheduled)])
    assert queue.next_due(JOBS) == scheduled
    send(queue, "now")
    assert queue.next_due(JOBS) == START
    queue.receive(JOBS, 1, lock_seconds=60)
    assert queue.next_due(JOBS) == START + timedelta(seconds=60)


def test_depths_tell_active_scheduled_locked_and_dead_apart(queue: EmbeddedQueue, clock: FakeClock) -> None:
    send(queue, "a", "b", "c", "d")
    queue.send(JOBS, [QueueMessage("later", scheduled_at=START + timedelta(seconds=90))])
    first, second = queue.receive(JOBS, 2, lock_seconds=60)
    queue.dead_letter(JOBS, [first.lock_token], reason="Broken")
    assert queue.depths() == {JOBS: QueueDepth(active=2, scheduled=1, locked=1, dead=1)}
    clock.advance(seconds=60)
    assert queue.depths() == {JOBS: QueueDepth(active=3, scheduled=1, locked=0, dead=1)}
    assert second.delivery_count == 1


def test_changed_reports_what_this_and_other_processes_did_once(
    queue: EmbeddedQueue, tmp_path: Path, clock: FakeClock
) -> None:
    queue.changed()
    assert not queue.changed()
    send(queue, "a")
    assert queue.changed()
    assert not queue.changed()
    queue.complete(JOBS, tokens(queue.receive(JOBS, 1)))
    assert not queue.changed()
    other = EmbeddedQueue(tmp_path / "queue.db", clock)
    send(other, "b")
    other.close()
    assert queue.changed()
    assert not queue.changed()


def test_a_closed_queue_and_one_that_cannot_be_opened_are_unavailable(
    queue: EmbeddedQueue, tmp_path: Path, clock: FakeClock
) -> None:
    queue.ping()
    queue.close()
    with pytest.raises(Unavailable):
        queue.ping()
    with pytest.raises(Unavailable):
        send(queue, "a")
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        EmbeddedQueue(tmp_path / "file" / "queue.db", clock).ping()


def test_a_vanished_file_fails_the_ping(queue: EmbeddedQueue, tmp_path: Path) -> None:
    queue.ping()
    (tmp_path / "queue.db").unlink()
    with pytest.raises(Unavailable, match="vanished"):
        queue.ping()


def test_a_token_that_is_none_is_refused(queue: EmbeddedQueue) -> None:
    with pytest.raises(ValueError, match="lock token"):
        queue.complete(JOBS, ["not-a-token"])


def test_threads_share_the_work_without_taking_a_message_twice(tmp_path: Path) -> None:
    queue = EmbeddedQueue(tmp_path / "queue.db", SystemClock())
    send(queue, *(str(number) for number in range(2000)))
    seen: list[str] = []

    def drain() -> None:
        while batch := queue.receive(JOBS, 25):
            seen.extend(bodies(batch))
            assert queue.complete(JOBS, tokens(batch)) == len(batch)

    threads = [threading.Thread(target=drain) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, seen)) == list(range(2000))
    queue.close()


def _send_and_drain(path: Path, start: int, barrier: object, results: object) -> None:
    queue = EmbeddedQueue(path, SystemClock())
    barrier.wait()  # type: ignore[attr-defined]
    for offset in range(0, 1000, 50):
        send(queue, *(str(start + offset + n) for n in range(50)))
    while batch := queue.receive(JOBS, 20):
        queue.complete(JOBS, tokens(batch))
        results.put(bodies(batch))  # type: ignore[attr-defined]
    results.put(None)  # type: ignore[attr-defined]


def test_processes_starting_at_once_on_a_fresh_file_share_it_exactly(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(3), spawn.Queue()
    workers = [
        spawn.Process(target=_send_and_drain, args=(tmp_path / "queue.db", index * 1000, barrier, results))
        for index in range(3)
    ]
    for worker in workers:
        worker.start()
    seen: list[str] = []
    for _ in workers:
        while (batch := results.get(timeout=30)) is not None:
            seen.extend(batch)
    for worker in workers:
        worker.join(10)
        assert worker.exitcode == 0
    assert sorted(map(int, seen)) == list(range(3000))


_KILLED = """
import sys
from pathlib import Path
from domain.core.ports import QueueMessage
from infra.clock import SystemClock
from infra.embedded.queue import EmbeddedQueue
queue = EmbeddedQueue(Path(sys.argv[1]), SystemClock())
for number in range(1_000_000):
    queue.send("sync-jobs", [QueueMessage(str(number))])
    print(number, flush=True)
"""


def test_what_was_sent_before_kill_9_is_there_after_it(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 500:
            process.send_signal(signal.SIGKILL)
            break
    confirmed = [500, *map(int, process.stdout.read().split())][-1]
    process.wait()
    queue = EmbeddedQueue(path, SystemClock())
    received = bodies(queue.receive(JOBS, 100_000))
    assert received == [str(number) for number in range(len(received))]
    assert len(received) > confirmed
    queue.close()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (queue_module._CLAIM, "messages_waiting (queue=? AND enqueued_at<?)"),
        (queue_module._EXPIRED, "messages_locked (queue=? AND locked_until<?)"),
        (queue_module._COMPLETE, "INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_the_hot_statements_search_an_index_and_sort_nothing(
    queue: EmbeddedQueue, tmp_path: Path, statement: str, index: str
) -> None:
    queue.ping()
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        arguments = [1] * statement.count("?")
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments)]
    assert any(index in step for step in plan), plan
    assert not any("SCAN" in step or "B-TREE" in step for step in plan), plan
