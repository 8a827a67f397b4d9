"""What the Service Bus adapter hands to the SDK: batches within the size limit, scheduling, reconnecting.

The SDK's own messages and batches are used; the link to the service is written by hand below.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from azure.servicebus._pyamqp._decode import decode_payload
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.exceptions import (
    ServiceBusAuthenticationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
)

from domain.errors import Unavailable
from domain.ports import QueueMessage
from infra.servicebus.limits import MAX_MESSAGE_BYTES
from infra.servicebus.queue import ServiceBusQueue

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

    def connect(self) -> Any:
        self.clients += 1
        return self

    def get_queue_sender(self, queue: str) -> Link:
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

    def send_messages(self, batch: ServiceBusMessageBatch) -> None:
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
    made = ServiceBusQueue(connect=namespace.connect)
    yield made
    made.close()


def numbered(count: int, size: int = 10) -> list[QueueMessage]:
    return [QueueMessage(f"{number:0{size}}") for number in range(count)]


def test_a_message_carries_id_body_properties_and_schedule(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    moment = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    queue.send(EVENTS, [QueueMessage("größe", "m-1", moment, {"traceparent": "00-ab"})])
    ((name, (message,)),) = namespace.batches
    assert name == EVENTS
    assert b"".join(message.body) == "größe".encode()
    assert message.message_id == "m-1"
    assert message.application_properties == {"traceparent": "00-ab"}
    assert message.scheduled_enqueue_time_utc == moment


def test_a_schedule_in_another_time_zone_is_the_same_moment_on_the_wire(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    moment = datetime(2026, 3, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    queue.send(EVENTS, [QueueMessage("a", scheduled_at=moment)])
    ((_, (message,)),) = namespace.batches
    encoded = encode_payload(bytearray(), PyamqpTransport.to_outgoing_amqp_message(message.raw_amqp_message))
    annotations = decode_payload(memoryview(bytes(encoded))).message_annotations
    assert annotations == {b"x-opt-scheduled-enqueue-time": int(moment.timestamp() * 1000)}


def test_a_plain_message_has_neither_properties_nor_schedule(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    queue.send(EVENTS, [QueueMessage("a")])
    ((_, (message,)),) = namespace.batches
    assert message.scheduled_enqueue_time_utc is None
    assert not message.application_properties


def test_many_small_messages_go_in_one_call_over_one_link(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    queue.send(EVENTS, numbered(1000))
    queue.send(EVENTS, numbered(1))
    queue.send("alerts", numbered(1))
    assert [len(batch) for _, batch in namespace.batches] == [1000, 1, 1]
    assert namespace.opened == [EVENTS, "alerts"]
    assert namespace.clients == 1


def test_what_does_not_fit_one_batch_is_split_in_order(queue: ServiceBusQueue, namespace: Namespace) -> None:
    queue.send(EVENTS, numbered(10, size=100_000))
    assert [len(batch) for _, batch in namespace.batches] == [2, 2, 2, 2, 2]
    assert namespace.numbers() == list(range(10))


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
    assert namespace.closed == [EVENTS]


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
def test_a_service_that_stays_away_is_unavailable_and_the_next_send_tries_anew(
    queue: ServiceBusQueue, namespace: Namespace, error: Exception
) -> None:
    namespace.failures = [error, error]
    with pytest.raises(Unavailable, match=type(error).__name__) as caught:
        queue.send(EVENTS, numbered(3))
    assert "s3cret" not in str(caught.value)
    assert namespace.batches == []
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


def test_ping_opens_a_link_of_its_own_and_closes_it(queue: ServiceBusQueue, namespace: Namespace) -> None:
    queue.ping()
    assert (namespace.opened, namespace.closed) == ([EVENTS], [EVENTS])


def test_a_closed_queue_closes_its_links_and_is_unavailable(
    queue: ServiceBusQueue, namespace: Namespace
) -> None:
    queue.send(EVENTS, numbered(1))
    queue.close()
    queue.close()
    assert namespace.closed == [EVENTS, "client"]
    with pytest.raises(Unavailable, match="closed"):
        queue.send(EVENTS, numbered(1))


def test_a_namespace_that_is_not_there_is_unavailable() -> None:
    queue = ServiceBusQueue(
        "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=n;SharedAccessKey=s3cret;UseDevelopmentEmulator=true"
    )
    with pytest.raises(Unavailable) as caught:
        queue.ping()
    assert "s3cret" not in str(caught.value)
    queue.close()


def test_service_bus_needs_exactly_one_address() -> None:
    with pytest.raises(ValueError, match="either"):
        ServiceBusQueue()
