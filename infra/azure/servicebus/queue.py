"""Azure Service Bus queues by the SDK: the sending side. Receiving is the Functions host's."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from domain.core.errors import Unavailable
from domain.core.ports import QueueMessage
from domain.monitoring.dead_letters import QUEUES, DeadLetter
from infra.azure.credential import managed_identity
from infra.azure.outage import Outage
from infra.azure.servicebus.limits import check_size
from infra.azure.servicebus.lines import cut, tls
from infra.deadline import in_time

if TYPE_CHECKING:
    from azure.servicebus import (
        ServiceBusClient,
        ServiceBusMessage,
        ServiceBusMessageBatch,
        ServiceBusReceivedMessage,
        ServiceBusReceiver,
        ServiceBusSender,
    )

_PEEK_AT_MOST = 100

DEAD_LETTER_SECONDS = 60.0
"""To look through the dead letters of a queue for those that are meant; locks hold for as long."""

_LOOKED_THROUGH = 5_000
_LAST_SECONDS = 1.0
"""Without a further message for so long there is none."""

ANSWER_SECONDS = 5.0
"""To open a link, to send a batch over it, to look at a queue. The SDK does not bound the opening of a connection: its
reads wait for ever where a service takes connections and says nothing."""

PAUSE_SECONDS = 2.0
"""How long sends fail at once after one found the service away; then one at a time asks whether it is back. Without
it every request that raises an event would wait for the same answer, one after another; what was not sent is sent
by the sweeper."""

_ADDED = {"DeadLetterReason", "DeadLetterErrorDescription"}
_BUSY_SECONDS = 0.4
"""Before a service that throttles us is asked once more."""

T = TypeVar("T")
Handler = TypeVar("Handler", "ServiceBusSender", "ServiceBusReceiver")


class ServiceBusQueue:
    """One client with one open sender per queue. Implements QueueSender; thread-safe.

    Give a `connection_string`, or a `namespace` (`<name>.servicebus.windows.net`) to be entered with the
    managed identity `client_id` (none: see `managed_identity`). `connect` replaces the way a client is made; it should
    make one that does not try again by itself. A send that fails is repeated once over a new link, from the first
    message not confirmed, unless no answer came within `answer_seconds`; when that fails too, sends to the queue fail
    at once for `PAUSE_SECONDS` of `monotonic`.
    """

    def __init__(
        self,
        connection_string: str | None = None,
        *,
        namespace: str | None = None,
        client_id: str | None = None,
        connect: Callable[[], ServiceBusClient] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        if connect is None and (connection_string is None) == (namespace is None):
            raise ValueError("Service Bus needs either a connection string or a namespace")
        self._connection_string = connection_string
        self._namespace = namespace
        self._client_id = client_id
        self._connect = connect or self._new_client
        self._answer_seconds = answer_seconds
        self._new_outage = partial(
            Outage, "Service Bus", _is_away, pause_seconds=PAUSE_SECONDS, monotonic=monotonic
        )
        self._looking = self._new_outage()
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
        """Count the dead letters of each queue that has any, up to 100.

        Peeks, which the right to receive allows, and leaves them where they are. Raises Unavailable."""
        counts: dict[str, int] = {}
        for queue in QUEUES:
            counts[queue] = self._looked(
                self._dead(queue),
                lambda dead: len(dead.peek_messages(_PEEK_AT_MOST, timeout=self._answer_seconds)),
            )
        return {queue: count for queue, count in counts.items() if count}

    def dead_letters(self, queue: str, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """Peek at up to `limit`, from the first whose sequence number is above `after`. Raises Unavailable."""

        def peeked(dead: ServiceBusReceiver) -> list[DeadLetter]:
            found = dead.peek_messages(limit, sequence_number=after + 1, timeout=self._answer_seconds)
            return [_to_dead_letter(message) for message in found]

        return self._looked(self._dead(queue), peeked)

    def resend_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> list[DeadLetter]:
        """Send copies of these, then complete them, and return those that were there. Raises Unavailable."""
        return self._taken(queue, sequence_numbers, is_sent=True)

    def discard_dead_letters(self, queue: str, sequence_numbers: Collection[int]) -> list[DeadLetter]:
        """Complete these, and return those that were there. Raises Unavailable."""
        return self._taken(queue, sequence_numbers, is_sent=False)

    def _taken(self, queue: str, sequence_numbers: Collection[int], *, is_sent: bool) -> list[DeadLetter]:
        """Receive dead letters until all that are meant came; the others are given back.

        A message has no address: by its sequence number only one that was deferred can be had."""
        wanted = set(sequence_numbers)

        def take(dead: ServiceBusReceiver) -> list[DeadLetter]:
            meant: list[ServiceBusReceivedMessage] = []
            others: list[ServiceBusReceivedMessage] = []
            try:
                while wanted and len(others) < _LOOKED_THROUGH:
                    received = dead.receive_messages(_PEEK_AT_MOST, max_wait_time=_LAST_SECONDS)
                    if not received:
                        break
                    for message in received:
                        number = message.sequence_number
                        (meant if number in wanted else others).append(message)
                        wanted.discard(number or 0)
                if is_sent and meant:
                    self._link(queue).send(deque(_copy(message) for message in meant))
                for message in meant:
                    dead.complete_message(message)
            finally:
                with suppress(*_failures()):
                    for message in others:
                        dead.abandon_message(message)
            return sorted(map(_to_dead_letter, meant), key=lambda letter: letter.sequence_number)

        return self._looked(self._dead(queue), take, seconds=DEAD_LETTER_SECONDS) if wanted else []

    def _dead(self, queue: str) -> ServiceBusReceiver:
        from azure.servicebus import ServiceBusSubQueue

        return self._service().get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)

    def message_counts(self) -> dict[str, dict[str, int]]:
        """Return the dead letters only.

        How many messages wait is told to nobody without the right to manage the queue. Azure Monitor has that
        (`ActiveMessages`). Raises Unavailable."""
        return {queue: {"dead": count} for queue, count in self.dead_letter_counts().items()}

    def ping(self, queue: str = "domain-events") -> None:
        """Open and close a link to `queue`.

        Raises Unavailable if the namespace does not answer, or does not let us in. That a queue is missing shows
        only when something is sent to it (azure-servicebus 7.15)."""
        self._looked(self._service().get_queue_sender(queue), lambda sender: sender.create_message_batch())

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

    def _looked(self, handler: Handler, look: Callable[[Handler], T], *, seconds: float | None = None) -> T:
        """Look over a link of its own, for the usual time or for `seconds`."""

        def looked() -> T:
            try:
                return look(handler)
            finally:
                _leave(handler)

        with _as_unavailable(), self._looking.asked():
            return in_time(seconds or self._answer_seconds, looked, lambda: cut(handler))

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
            if queue not in self._links:
                self._links[queue] = _Link(
                    # It covers a token that is to be renewed, too.
                    lambda: client.get_queue_sender(queue, auth_timeout=self._answer_seconds),
                    self._new_outage(in_turn=True),
                    self._answer_seconds,
                )
            return self._links[queue]

    def _new_client(self) -> ServiceBusClient:
        from azure.servicebus import ServiceBusClient

        # Whoever is cut off is not to be connected again unseen: it is the link that tries anew.
        options: dict[str, Any] = {"retry_total": 0, "ssl_context": tls(self._answer_seconds)}
        if self._connection_string is not None:
            return ServiceBusClient.from_connection_string(self._connection_string, **options)
        assert self._namespace is not None
        return ServiceBusClient(self._namespace, managed_identity(self._client_id), **options)


class _Link:
    """The sender of one queue. The SDK's senders are not thread-safe: one send at a time, by an outage `in_turn`."""

    def __init__(
        self, open_sender: Callable[[], ServiceBusSender], outage: Outage, answer_seconds: float
    ) -> None:
        self._open_sender = open_sender
        self._outage = outage
        self._answer_seconds = answer_seconds
        self._sender: ServiceBusSender | None = None

    def send(self, outgoing: deque[ServiceBusMessage]) -> None:
        """Send until `outgoing` is empty; what is confirmed leaves it. Raises Away while the queue is away."""
        with self._outage.asked():
            while outgoing:
                for _ in range(self._send_batch(outgoing)):
                    outgoing.popleft()

    def close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            _close(sender)

    def _send_batch(self, outgoing: Sequence[ServiceBusMessage]) -> int:
        """As many as one batch holds, and how many those were."""
        from azure.servicebus.exceptions import OperationTimeoutError, ServiceBusServerBusyError

        try:
            return self._try(outgoing)
        except (TimeoutError, OperationTimeoutError):
            raise
        except _failures() as error:
            if isinstance(error, ServiceBusServerBusyError):
                time.sleep(_BUSY_SECONDS)
            return self._try(outgoing)

    def _try(self, outgoing: Sequence[ServiceBusMessage]) -> int:
        sender = self._sender or self._opened()
        try:
            batch, count = _fill(sender, outgoing)
            sender.send_messages(batch, timeout=self._answer_seconds)
        except _failures():
            self._sender = None
            _leave(sender)
            raise
        self._sender = sender
        return count

    def _opened(self) -> ServiceBusSender:
        """Open the link under a deadline.

        Over an open link the SDK keeps a deadline itself, and it opens none anew while it sends."""
        sender = self._open_sender()
        try:
            in_time(self._answer_seconds, sender.create_message_batch, lambda: cut(sender))
        except _failures():
            _leave(sender)
            raise
        return sender


def _leave(handler: Handler) -> None:
    """Close it and do not wait: it takes the SDK a second to end the thread that keeps the connection alive."""
    threading.Thread(target=_close, args=(handler,), name="leaving Service Bus", daemon=True).start()


def _close(sender: Handler) -> None:
    # A broken link may fail to say goodbye; there is nothing left to lose on it.
    with suppress(*_failures()):
        sender.close()


def _failures() -> tuple[type[Exception], ...]:
    from azure.core.exceptions import AzureError

    return AzureError, OSError


def _is_away(error: Exception) -> bool:
    return isinstance(error, _failures())


def _fill(
    sender: ServiceBusSender, outgoing: Sequence[ServiceBusMessage]
) -> tuple[ServiceBusMessageBatch, int]:
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
        # The host can tell whose ids are whose only in a batch in which every message has one.
        message_id=uuid4().hex if message.message_id is None else message.message_id or None,
        application_properties=properties or None,
        scheduled_enqueue_time_utc=message.scheduled_at,
    )


def _to_dead_letter(message: ServiceBusReceivedMessage) -> DeadLetter:
    return DeadLetter(
        sequence_number=message.sequence_number or 0,
        message_id=str(message.message_id or ""),
        body=_body(message),
        properties={name: str(value) for name, value in _properties(message).items()},
        delivery_count=message.delivery_count or 0,
        enqueued_at=message.enqueued_time_utc or datetime.fromtimestamp(0, UTC),
        dead_at=None,
        reason=message.dead_letter_reason or "",
        description=message.dead_letter_error_description or "",
    )


def _copy(message: ServiceBusReceivedMessage) -> ServiceBusMessage:
    """Return the message as it was sent: a dead letter cannot be sent back itself."""
    from azure.servicebus import ServiceBusMessage

    properties: dict[Any, Any] = dict(_properties(message))
    return ServiceBusMessage(
        _body(message),
        message_id=message.message_id,
        application_properties=properties or None,
        content_type=message.content_type,
        correlation_id=message.correlation_id,
        subject=message.subject,
    )


def _body(message: ServiceBusReceivedMessage) -> bytes:
    body = message.body
    return bytes(body) if isinstance(body, bytes) else b"".join(body)


def _properties(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    """Those that the sender set: the service adds why the message is dead."""
    given = {_text(name): _text(value) for name, value in (message.application_properties or {}).items()}
    return {name: value for name, value in given.items() if name not in _ADDED}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        # The SDK's message may quote the endpoint with its key; the type is enough.
        raise Unavailable(f"Service Bus does not take the messages: {type(error).__name__}") from None
