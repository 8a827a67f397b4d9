"""A namespace of queues for the length of a block, and what a test can do to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from proton.reactor import Container

from tests.loopback.servicebus.endpoint import BusHandler
from tests.loopback.servicebus.entities import Entity, QueueRules, Stored
from tests.loopback.servicebus.tokens import KEY, KEY_NAME

QUEUES = ("domain-events", "webhook-deliveries", "sync-jobs", "alerts")
DEAD = "/$deadletterqueue"
_SECONDS = 10.0

T = TypeVar("T")


class Namespace:
    """Serves from construction to `close`. Messages outlive connections and `pull`, not the process."""

    def __init__(
        self,
        queues: Mapping[str, QueueRules] | Sequence[str] = QUEUES,
        *,
        port: int = 0,
        now: Callable[[], float] = time.time,
    ) -> None:
        rules = queues if isinstance(queues, Mapping) else dict.fromkeys(queues, QueueRules())
        self._entities: dict[str, Entity] = {}
        for name, each in rules.items():
            dead = self._entities[name + DEAD] = Entity(each, now)
            self._entities[name] = Entity(each, now, dead)
        self.port = port or _free_port()
        self._flowing = threading.Event()
        self._flowing.set()
        listening = threading.Event()
        self._handler = BusHandler(self._entities, self.port, listening.set)
        self._container = Container(self._handler)
        self._thread = threading.Thread(target=self._container.run, name="service bus", daemon=True)
        self._thread.start()
        if not listening.wait(_SECONDS):
            raise RuntimeError("the Service Bus endpoint did not start")

    @property
    def connection_string(self) -> str:
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName={KEY_NAME};"
            f"SharedAccessKey={KEY};UseDevelopmentEmulator=true"
        )

    @property
    def environment(self) -> dict[str, str]:
        """The settings that make the app use this namespace."""
        return {"ServiceBusConnection": self.connection_string}

    def pull(self) -> None:
        """Pull the plug: connections break, new ones are refused. What is stored stays."""
        self._on_thread(self._handler.vanish)

    def hold(self) -> None:
        """Hang: connections stay and new ones are taken, by the system; nothing is read or answered."""
        self._flowing.clear()
        holding = threading.Event()

        def hold() -> None:
            holding.set()
            self._flowing.wait()

        self._handler.ask(hold)
        if not holding.wait(_SECONDS):
            raise RuntimeError("the Service Bus endpoint did not come to hold")

    def restore(self) -> None:
        """Plug in again, at the same port, after `pull`; go on after `hold`."""
        if self._flowing.is_set():
            self._on_thread(self._handler.listen)
        self._flowing.set()

    def break_connections(self) -> None:
        """Cut every connection; new ones are taken at once."""
        self._on_thread(self._handler.break_connections)

    def detach_links(self, condition: str = "amqp:link:detach-forced") -> None:
        """Close every link and leave its connection."""
        self._on_thread(lambda: self._handler.detach(condition))

    def stored(self, queue: str) -> list[Stored]:
        """The messages of a queue, locked ones too, oldest first; `<queue>/$deadletterqueue` for dead ones."""
        return self._on_thread(lambda: list(self._entities[queue].messages.values()))

    def close(self) -> None:
        self._flowing.set()
        if self._thread.is_alive():
            self._handler.ask(self._handler.stop)
            self._thread.join(_SECONDS)

    def wait(self) -> None:
        """Until the endpoint ends."""
        self._thread.join()

    def _on_thread(self, work: Callable[[], T]) -> T:
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as error:
                result.set_exception(error)

        self._handler.ask(run)
        return result.result(_SECONDS)


@contextmanager
def running(
    queues: Mapping[str, QueueRules] | Sequence[str] = QUEUES,
    *,
    port: int = 0,
    now: Callable[[], float] = time.time,
) -> Iterator[Namespace]:
    """A namespace on a free port (or `port`). `now` tells when scheduled messages are due."""
    namespace = Namespace(queues, port=port, now=now)
    try:
        yield namespace
    finally:
        namespace.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
