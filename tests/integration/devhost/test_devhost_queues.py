"""Queue listeners over the embedded queue, and the commands that show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from devhost.cli import main
from devhost.config import HostJson
from devhost.invocation import Invocations
from devhost.loading import Function
from devhost.queues import QueueTriggers
from domain.core.ports import QueueMessage
from infra.clock import SystemClock
from infra.embedded.queue import EmbeddedQueue
from infra.observability.logs import trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@asynccontextmanager
async def listening(
    home: Path, call: Callable[..., Any], cardinality: str, **limits: Any
) -> AsyncIterator[EmbeddedQueue]:
    """A host that hands the messages of queue `q` to `call`; leaving stops it and waits for it."""
    queue = EmbeddedQueue(home / "queue.db", SystemClock())
    trigger = {
        "type": "serviceBusTrigger",
        "name": "m",
        "queueName": "q",
        "cardinality": cardinality,
        "dataType": "BINARY",
    }
    triggers = QueueTriggers(
        functions=[Function("f", "serviceBusTrigger", trigger, call, True, False, (), "")],
        queue=queue,
        clock=SystemClock(),
        host_json=HostJson(**limits),
        invocations=Invocations(ThreadPoolExecutor(1)),
    )
    running = asyncio.create_task(triggers.run())
    try:
        yield queue
    finally:
        triggers.stop()
        await asyncio.wait_for(running, 5)
        queue.close()


async def emptied(queue: EmbeddedQueue) -> None:
    async with asyncio.timeout(5):
        while (depth := queue.depths().get("q")) is not None and depth.active + depth.locked:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(("cardinality", "most"), [("MANY", 1), ("ONE", 3)])
async def test_batches_go_one_at_a_time_and_single_messages_side_by_side(
    tmp_path: Path, cardinality: str, most: int
) -> None:
    running, seen, bodies = 0, 0, []

    async def call(m: Any) -> None:
        nonlocal running, seen
        running += 1
        seen = max(seen, running)
        await asyncio.sleep(0.005)
        bodies.extend(each.get_body() for each in (m if isinstance(m, list) else [m]))
        running -= 1

    limits = {"max_message_batch_size": 4, "max_concurrent_calls": 3}
    async with listening(tmp_path, call, cardinality, **limits) as queue:
        queue.send("q", [QueueMessage(str(number)) for number in range(12)])
        await emptied(queue)
    assert seen == most
    assert sorted(bodies, key=int) == [str(number).encode() for number in range(12)]


async def test_a_failing_batch_comes_again_whole(tmp_path: Path) -> None:
    counts: list[list[int | None]] = []

    async def call(m: list[func.ServiceBusMessage]) -> None:
        counts.append([message.delivery_count for message in m])
        if len(counts) < 3:
            raise RuntimeError("not yet")

    async with listening(tmp_path, call, "MANY") as queue:
        queue.send("q", [QueueMessage("a"), QueueMessage("b")])
        await emptied(queue)
        assert queue.depths() == {}
    assert counts == [[1, 1], [2, 2], [3, 3]]


async def test_stopping_settles_the_message_in_hand(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def call(m: func.ServiceBusMessage) -> None:
        started.set()
        await asyncio.sleep(0.05)

    async with listening(tmp_path, call, "ONE") as queue:
        queue.send("q", [QueueMessage("a")])
        await asyncio.wait_for(started.wait(), 5)
    assert EmbeddedQueue(tmp_path / "queue.db", SystemClock()).depths() == {}


async def test_a_message_carries_its_properties_and_its_senders_trace(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def call(m: func.ServiceBusMessage) -> None:
        seen.append((m.message_id, dict(m.application_properties), m.delivery_count, trace_id.get()))

    properties = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "kind": "k"}
    async with listening(tmp_path, call, "ONE") as queue:
        queue.send("q", [QueueMessage("a", message_id="m1", properties=properties)])
        await emptied(queue)
    assert seen == [("m1", properties, 1, TRACE)]


async def test_a_batch_waits_for_its_minimum_but_not_for_ever(tmp_path: Path) -> None:
    sizes: list[int] = []

    async def call(m: list[func.ServiceBusMessage]) -> None:
        sizes.append(len(m))

    limits = {"min_message_batch_size": 2, "max_batch_wait_seconds": 0.2}
    async with listening(tmp_path, call, "MANY", **limits) as queue:
        queue.send("q", [QueueMessage("a")])
        await asyncio.sleep(0.03)
        queue.send("q", [QueueMessage("b")])
        await emptied(queue)
        queue.send("q", [QueueMessage("c")])
        await emptied(queue)
    assert sizes == [2, 1]


def test_dead_letters_are_listed_and_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_HOME", str(tmp_path))
    queue = EmbeddedQueue(tmp_path / "queue.db", SystemClock())
    queue.send("q", [QueueMessage("the body", message_id="m1"), QueueMessage("b")])
    received = queue.receive("q", 1)
    queue.dead_letter("q", [received[0].lock_token], reason="Because")
    queue.close()

    def said(*arguments: str) -> list[list[str]]:
        assert main(["queues", "--app-dir", str(tmp_path), *arguments]) == 0
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    assert said()[1] == ["q", "1", "0", "0", "1"]
    listed = said("--dead", "q")[1]
    assert (listed[1], listed[4:]) == ("m1", ["Because", "the", "body"])
    assert said("--requeue", "q") == [["1", "requeued"]]
    assert said()[1] == ["q", "2", "0", "0", "0"]
    main(["queues", "--app-dir", str(tmp_path), "--requeue", "Q"])
    assert capsys.readouterr().err == "The queue 'Q' holds no message. Queues that hold some: q.\n"


def test_the_clock_is_shown_moved_and_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HUB_HOME", str(tmp_path))

    def moment(*arguments: str) -> str:
        assert main(["clock", "--app-dir", str(tmp_path), *arguments]) == 0
        return capsys.readouterr().out.strip()

    start = moment()
    assert moment("--advance", "86400")[:10] > start[:10]
    assert moment("--reset")[:10] == start[:10]
