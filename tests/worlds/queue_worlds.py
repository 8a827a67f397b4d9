"""A queue with both its ends: the adapter that sends, and the host's listener that receives for a function.
Once embedded, once over AMQP to the Service Bus endpoint on loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from azure.functions.servicebus import ServiceBusMessage

from devhost import queues as embedded_listener
from devhost.config import HostJson
from devhost.invocation import Invocations, thread_pool
from devhost.loading import Function
from domain.core.ports import QueueSender
from domain.monitoring.alerts.ports import DeadLetterCounts
from domain.monitoring.dead_letters import DeadLetterBox
from infra.clock import SystemClock

JOBS = "sync-jobs"
LOCK_SECONDS = 2.0
MAX_DELIVERIES = 3
HOST = HostJson(max_message_batch_size=10, max_concurrent_calls=4)
PATIENCE_SECONDS = 15.0

Messages = list[ServiceBusMessage]


class Sender(QueueSender, DeadLetterCounts, DeadLetterBox, Protocol):
    def ping(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter, as both sides tell of it."""

    message_id: str
    body: bytes
    reason: str


class World(Protocol):
    """`sender` sends to what `triggers` receive from."""

    sender: Sender

    def triggers(self, function: Function, invocations: Invocations) -> Any: ...

    def dead(self) -> list[Dead]: ...

    def left(self) -> int:
        """Messages still in the queue, locked ones too."""


class EmbeddedWorld:
    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from infra.embedded.queue import EmbeddedQueue

        monkeypatch.setattr(embedded_listener, "LOCK_SECONDS", LOCK_SECONDS)
        monkeypatch.setattr(embedded_listener, "RENEW_SECONDS", LOCK_SECONDS / 3)
        self._queue = EmbeddedQueue(path, SystemClock(), max_delivery_count=MAX_DELIVERIES)
        self.sender: Sender = EmbeddedQueue(path, SystemClock())

    def triggers(self, function: Function, invocations: Invocations) -> embedded_listener.QueueTriggers:
        return embedded_listener.QueueTriggers(
            functions=[function],
            queue=self._queue,
            clock=SystemClock(),
            host_json=HOST,
            invocations=invocations,
        )

    def dead(self) -> list[Dead]:
        return [Dead(each.message_id, each.body, each.reason) for each in self._queue.dead_letters(JOBS)]

    def left(self) -> int:
        depth = self._queue.depths().get(JOBS)
        return depth.active + depth.scheduled + depth.locked if depth else 0

    def close(self) -> None:
        self.sender.close()
        self._queue.close()


class AzureWorld:
    """Also shows its `namespace`, for what only Service Bus has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from infra.azure.servicebus.queue import ServiceBusQueue
        from tests.loopback.servicebus import QUEUES, Namespace, QueueRules

        rules = QueueRules(lock_seconds=LOCK_SECONDS, max_deliveries=MAX_DELIVERIES)
        self.namespace = Namespace(dict.fromkeys(QUEUES, rules))
        for name, value in self.namespace.environment.items():
            monkeypatch.setenv(name, value)
        self.sender: Sender = ServiceBusQueue(self.namespace.connection_string)

    def triggers(self, function: Function, invocations: Invocations) -> Any:
        from devhost.azure_listener import AzureQueueTriggers

        return AzureQueueTriggers(functions=[function], host_json=HOST, invocations=invocations)

    def dead(self) -> list[Dead]:
        from tests.loopback.servicebus import DEAD

        return [
            Dead(str(each.message.id), bytes(each.message.body), str(each.dead_reason))
            for each in self.namespace.stored(JOBS + DEAD)
        ]

    def left(self) -> int:
        return len(self.namespace.stored(JOBS))

    def close(self) -> None:
        self.sender.close()
        self.namespace.close()


class Heard:
    """What a function was called with, and what it does about it."""

    def __init__(self, respond: Callable[[Messages], None] | None = None) -> None:
        self.calls: list[Messages] = []
        self._respond = respond
        self._lock = threading.Lock()

    def __call__(self, message: ServiceBusMessage | Messages) -> None:
        messages = message if isinstance(message, list) else [message]
        with self._lock:
            self.calls.append(messages)
        if self._respond is not None:
            self._respond(messages)

    @property
    def bodies(self) -> list[str]:
        with self._lock:
            return [message.get_body().decode() for messages in self.calls for message in messages]

    def wait(self, count: int) -> list[str]:
        """The bodies heard, once there are `count`."""
        eventually(lambda: len(self.bodies) >= count, f"{count} messages")
        return self.bodies


@contextmanager
def listening(world: World, heard: Heard, *, many: bool = True) -> Iterator[None]:
    """A host that gives the queue's messages to `heard`, drained at the end of the block."""
    trigger = {
        "queueName": JOBS,
        "connection": "ServiceBusConnection",
        "cardinality": "MANY" if many else "ONE",
        "dataType": "BINARY",
    }
    function = function_of(heard, trigger)
    pool = thread_pool()
    started: list[Any] = []
    ready = threading.Event()

    async def serve() -> None:
        triggers = world.triggers(function, Invocations(pool))
        started.append(triggers)
        ready.set()
        await triggers.run()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        started[0].stop()
        thread.join(PATIENCE_SECONDS)
        pool.shutdown()
        assert not thread.is_alive(), "the listener did not stop"


def function_of(call: Callable[..., Any], trigger: dict[str, Any]) -> Function:
    """A queue function as the host has it loaded."""
    return Function(
        name="heard",
        kind="serviceBusTrigger",
        trigger={"name": "message", **trigger},
        call=call,
        is_async=False,
        wants_context=False,
        client_parameters=(),
        directory="",
    )


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.01)


def numbers(bodies: Sequence[str]) -> list[int]:
    return [int(body[-6:]) for body in bodies]
