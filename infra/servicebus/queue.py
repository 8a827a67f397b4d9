"""Azure Service Bus queues by the SDK: the sending side. Receiving is the Functions host's."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from domain.errors import Unavailable
from domain.ports import QueueMessage
from infra.servicebus.limits import check_size

if TYPE_CHECKING:
    from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusMessageBatch, ServiceBusSender

_OPTIONS: dict[str, Any] = {"retry_total": 1, "retry_backoff_factor": 0.2, "retry_backoff_max": 2}
_SEND_SECONDS = 10.0
"""For one batch with its retries; the SDK would wait for ever for an answer that does not come."""

QUEUES = ("domain-events", "webhook-deliveries", "sync-jobs", "alerts")
_PEEK_AT_MOST = 100

PAUSE_SECONDS = 2.0
"""How long sends fail at once after one found the service away. Without it every request that raises an event
would wait for the same answer, one after another; what was not sent is sent by the sweeper."""


class ServiceBusQueue:
    """One client with one open sender per queue. Implements QueueSender; thread-safe.

    Give a `connection_string`, or a `namespace` (`<name>.servicebus.windows.net`) to be entered with the
    managed identity `client_id` (none: DefaultAzureCredential). `connect` replaces the way a client is made.
    A send that fails is repeated once over a new link, from the first message not confirmed; when that fails
    too, sends to the queue fail at once for `PAUSE_SECONDS` of `monotonic`.
    """

    def __init__(
        self,
        connection_string: str | None = None,
        *,
        namespace: str | None = None,
        client_id: str | None = None,
        connect: Callable[[], ServiceBusClient] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if connect is None and (connection_string is None) == (namespace is None):
            raise ValueError("Service Bus needs either a connection string or a namespace")
        self._connection_string = connection_string
        self._namespace = namespace
        self._client_id = client_id
        self._connect = connect or self._new_client
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._client: ServiceBusClient | None = None
        self._links: dict[str, _Link] = {}
        self._closed = False

    def send(self, queue: str, messages: Sequence[QueueMessage]) -> None:
        """As the port says. Raises ValueError when a message is over 256 KB."""
        outgoing = deque(_to_service_bus(message) for message in messages)
        if not outgoing:
            return
        with _as_unavailable():
            self._link(queue).send(outgoing)

    def dead_letter_counts(self) -> dict[str, int]:
        """How many dead letters each queue has that has any; counts to 100. Peeks, which the right to receive
        allows, and leaves them where they are. Raises Unavailable."""
        from azure.servicebus import ServiceBusSubQueue

        counts: dict[str, int] = {}
        for queue in QUEUES:
            with _as_unavailable():
                dead = self._service().get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
                with dead:
                    counts[queue] = len(dead.peek_messages(_PEEK_AT_MOST, timeout=_SEND_SECONDS))
        return {queue: count for queue, count in counts.items() if count}

    def ping(self, queue: str = "domain-events") -> None:
        """Opens and closes a link to `queue`. Raises Unavailable if the namespace does not answer, or does not
        let us in. That a queue is missing shows only when something is sent to it (azure-servicebus 7.15)."""
        with _as_unavailable(), self._service().get_queue_sender(queue) as sender:
            sender.create_message_batch()

    def close(self) -> None:
        """Close all links. Closing twice is harmless; sending afterwards raises Unavailable."""
        with self._lock:
            self._closed = True
            links, self._links = list(self._links.values()), {}
            client, self._client = self._client, None
        for link in links:
            link.close()
        if client is not None:
            client.close()

    def _service(self) -> ServiceBusClient:
        with self._lock:
            if self._closed:
                raise Unavailable("The Service Bus client is closed")
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _link(self, queue: str) -> _Link:
        client = self._service()
        with self._lock:
            return self._links.setdefault(
                queue, _Link(lambda: client.get_queue_sender(queue), self._monotonic)
            )

    def _new_client(self) -> ServiceBusClient:
        from azure.servicebus import ServiceBusClient

        if self._connection_string is not None:
            return ServiceBusClient.from_connection_string(self._connection_string, **_OPTIONS)
        from azure.identity import DefaultAzureCredential

        assert self._namespace is not None
        credential = DefaultAzureCredential(managed_identity_client_id=self._client_id)
        return ServiceBusClient(self._namespace, credential, **_OPTIONS)


class _Link:
    """The sender of one queue. The SDK's senders are not thread-safe: one send at a time."""

    def __init__(self, open_sender: Callable[[], ServiceBusSender], monotonic: Callable[[], float]) -> None:
        self._open_sender = open_sender
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sender: ServiceBusSender | None = None
        self._paused_until = float("-inf")

    def send(self, outgoing: deque[ServiceBusMessage]) -> None:
        """Send until `outgoing` is empty; what is confirmed leaves it. Raises Unavailable during a pause."""
        from azure.core.exceptions import AzureError

        with self._lock:
            if self._monotonic() < self._paused_until:
                raise Unavailable("Service Bus was away a moment ago")
            try:
                self._drain(outgoing)
            except (AzureError, OSError):
                self._drop()
                try:
                    self._drain(outgoing)
                except (AzureError, OSError):
                    self._drop()
                    self._paused_until = self._monotonic() + PAUSE_SECONDS
                    raise

    def close(self) -> None:
        with self._lock:
            self._drop()

    def _drain(self, outgoing: deque[ServiceBusMessage]) -> None:
        if self._sender is None:
            self._sender = self._open_sender()
        while outgoing:
            batch, count = _fill(self._sender, outgoing)
            self._sender.send_messages(batch, timeout=_SEND_SECONDS)
            for _ in range(count):
                outgoing.popleft()

    def _drop(self) -> None:
        from azure.core.exceptions import AzureError

        sender, self._sender = self._sender, None
        if sender is not None:
            # A broken link may fail to say goodbye; there is nothing left to lose on it.
            with suppress(AzureError, OSError):
                sender.close()


def _fill(sender: ServiceBusSender, outgoing: deque[ServiceBusMessage]) -> tuple[ServiceBusMessageBatch, int]:
    from azure.servicebus.exceptions import MessageSizeExceededError

    batch, count = sender.create_message_batch(), 0
    for message in outgoing:
        try:
            batch.add_message(message)
        except MessageSizeExceededError:
            if count == 0:
                raise ValueError("A message is larger than the queue accepts") from None
            break
        count += 1
    return batch, count


def _to_service_bus(message: QueueMessage) -> ServiceBusMessage:
    from azure.servicebus import ServiceBusMessage

    body = message.body.encode()
    check_size(body, message.properties)
    properties: dict[Any, Any] = dict(message.properties)
    return ServiceBusMessage(
        body,
        message_id=message.message_id,
        application_properties=properties or None,
        scheduled_enqueue_time_utc=message.scheduled_at,
    )


@contextmanager
def _as_unavailable() -> Iterator[None]:
    from azure.core.exceptions import AzureError

    try:
        yield
    except (AzureError, OSError) as error:
        # The SDK's message may quote the endpoint with its key; the type is enough.
        raise Unavailable(f"Service Bus does not take the messages: {type(error).__name__}") from None
