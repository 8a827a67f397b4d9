"""What a wire cannot time: which messages are sent again after a failure, how many links are opened, and that
one sender is used by one thread at a time. The SDK's own messages and batches are used; the link to the service is
written by hand below. What goes over sockets is in test_queue_contract.py and test_queue_azure.py.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.exceptions import (
    ServiceBusAuthenticationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
)

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from infra.azure.servicebus.limits import MAX_MESSAGE_BYTES
from infra.azure.servicebus.lines import tls
from infra.azure.servicebus.queue import PAUSE_SECONDS, ServiceBusQueue
from tests.worlds.queue_worlds import eventually

pytestmark = pytest.mark.azure

EVENTS = "domain-events"


class Namespace:
    """Stands for the service: what arrived, how many links were opened, and how the next sends
    fail (None: not)."""

    def __init__(self, max_batch_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.max_batch_bytes = max_batch_bytes
        self.batches: list[tuple[str, list[ServiceBusMessage]]] = []
        self.opened: list[str] = []
        self.closed: list[str] = []
        self.clients = 0
        self.failures: list[Exception | None] = []
        self.busy = threading.Lock()
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def connect(self) -> Any:
        self.clients += 1
        return self

    def get_queue_sender(self, queue: str, **options: float) -> Link:
        self.opened.append(queue)
        return Link(self, queue)

    def close(self) -> None:
        self.closed.append("client")

    def fail_if_told(self) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure

    def numbers(self) -> list[int]:
        return [int(str(message)[-6:]) for _, batch in self.batches for message in batch]


class Link:
    def __init__(self, namespace: Namespace, queue: str) -> None:
        self.namespace, self.queue = namespace, queue
        self.shut = False

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def create_message_batch(self) -> ServiceBusMessageBatch:
        assert not self.shut, "a sender was used after it was closed"
        return ServiceBusMessageBatch(
            max_size_in_bytes=self.namespace.max_batch_bytes,
            amqp_transport=PyamqpTransport,
            tracing_attributes={},
        )

    def send_messages(self, batch: ServiceBusMessageBatch, timeout: float) -> None:
        assert self.namespace.busy.acquire(blocking=False), "a sender was used by two threads at once"
        try:
            self.namespace.fail_if_told()
            assert batch.size_in_bytes <= self.namespace.max_batch_bytes
            self.namespace.batches.append((self.queue, list(batch._messages)))
        finally:
            self.namespace.busy.release()

    def close(self) -> None:
        self.shut = True
        self.namespace.closed.append(self.queue)


@pytest.fixture
def namespace() -> Namespace:
    return Namespace()


@pytest.fixture
def queue(namespace: Namespace) -> Iterator[ServiceBusQueue]:
    made = ServiceBusQueue(connect=namespace.connect, monotonic=namespace.monotonic)
    yield made
    made.close()


def numbered(count: int, size: int = 10) -> list[QueueMessage]:
    return [QueueMessage(f"{number:0{size}}") for number in range(count)]


def test_many_small_messages_go_in_one_call_over_one_link(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    queue.send(EVENTS, numbered(1000))
    queue.send(EVENTS, numbered(1))
    queue.send("alerts", numbered(1))
    assert [len(batch) for _, batch in namespace.batches] == [1000, 1, 1]
    assert namespace.opened == [EVENTS, "alerts"]
    assert namespace.clients == 1


def test_sending_nothing_opens_nothing(queue: ServiceBusQueue, namespace: Namespace) -> None:
    queue.send(EVENTS, [])
    assert namespace.clients == 0


@pytest.mark.parametrize(
    ("limit", "size"), [(MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1), (1000, 1001)], ids=["tier", "link"]
)
def test_a_message_too_large_is_refused(limit: int, size: int) -> None:
    queue = ServiceBusQueue(connect=Namespace(limit).connect)
    with pytest.raises(ValueError, match="message"):
        queue.send(EVENTS, [QueueMessage("x" * size)])


def test_a_broken_link_is_replaced_and_only_the_unconfirmed_are_sent_again(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    queue.send(EVENTS, numbered(1))
    namespace.failures = [None, ServiceBusConnectionError(message="gone")]
    queue.send(EVENTS, numbered(5, size=100_000))
    assert namespace.numbers() == [0, 0, 1, 2, 3, 4]
    assert namespace.opened == [EVENTS, EVENTS]
    eventually(lambda: namespace.closed == [EVENTS], "the end of the broken link")


@pytest.mark.parametrize(
    "error",
    [
        ServiceBusConnectionError(message="Endpoint=sb://x;SharedAccessKey=s3cret"),
        ServiceBusAuthenticationError(message="s3cret"),
        ServiceBusCommunicationError(message="s3cret"),
        ConnectionResetError("s3cret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_service_that_stays_away_is_unavailable_and_a_send_after_the_pause_tries_anew(
    queue: ServiceBusQueue, namespace: Namespace, error: Exception
) -> None:
    namespace.failures = [error, error]
    with pytest.raises(Unavailable, match=type(error).__name__) as caught:
        queue.send(EVENTS, numbered(3))
    assert "s3cret" not in str(caught.value)
    assert namespace.batches == []
    with pytest.raises(Unavailable, match="a moment ago"):
        queue.send(EVENTS, numbered(3))
    namespace.seconds += PAUSE_SECONDS
    queue.send(EVENTS, numbered(3))
    assert namespace.numbers() == [0, 1, 2]


def test_threads_share_a_link_one_at_a_time(queue: ServiceBusQueue, namespace: Namespace) -> None:
    failed: list[BaseException] = []

    def send() -> None:
        try:
            for _ in range(20):
                queue.send(EVENTS, numbered(2))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(namespace.numbers()) == 320
    assert namespace.opened == [EVENTS]


def test_service_bus_needs_exactly_one_address() -> None:
    with pytest.raises(ValueError, match="either"):
        ServiceBusQueue()


def test_a_handshake_that_is_not_answered_ends() -> None:
    context = tls(0.1)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.get_ca_certs()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = socket.create_connection(silent.getsockname())
        with pytest.raises(TimeoutError):
            context.wrap_socket(line, server_hostname="hub.servicebus.windows.net")
