"""Service Bus queue triggers over a real namespace, when `ServiceBusConnection` names one."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from devhost.config import HostJson
from devhost.invocation import Invocations, trace_of
from devhost.loading import Function
from devhost.messages import Arrived, batch_of, single_of
from infra.azure.credential import managed_identity
from infra.azure.servicebus.lines import cut
from infra.deadline import in_time
from infra.observability import logs

if TYPE_CHECKING:
    from azure.servicebus import (
        AutoLockRenewer,
        ServiceBusClient,
        ServiceBusReceivedMessage,
        ServiceBusReceiver,
    )

_log = logging.getLogger("devhost.queues")

_WAIT_SECONDS = 1.0
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 0.1, 5.0
"""A detached link is opened again at once; a service that is away is asked ever more rarely."""

OPEN_SECONDS = 5.0
"""To open a link; the SDK would wait for ever for a service that hangs, and a host that stops for it."""
_OPTIONS: dict[str, Any] = {"retry_total": 0}
"""What fails is opened anew by the listener."""
_RENEW_FOR_SECONDS = 300.0
"""The extension's default maxAutoLockRenewalDuration."""


def is_configured(connection: str) -> bool:
    """Whether the setting `connection` names a real namespace, by string or for managed identity."""
    return bool(os.environ.get(connection) or os.environ.get(f"{connection}__fullyQualifiedNamespace"))


class AzureQueueTriggers:
    """One receiving thread per function; functions run on the loop that called `run`."""

    def __init__(
        self, *, functions: Sequence[Function], host_json: HostJson, invocations: Invocations
    ) -> None:
        self._functions = functions
        self._host_json = host_json
        self._invocations = invocations
        self._stopping = threading.Event()

    async def run(self) -> None:
        """Serve until `stop`; returns when every message in hand is settled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for function in self._functions:
                serving = asyncio.to_thread(self._serve, function, loop)
                group.create_task(serving, name="devhost listener")

    def stop(self) -> None:
        """Receive no more."""
        self._stopping.set()

    def _serve(self, function: Function, loop: asyncio.AbstractEventLoop) -> None:
        from azure.servicebus import AutoLockRenewer
        from azure.servicebus.exceptions import ServiceBusError

        queue = str(function.trigger["queueName"])
        pause = _FIRST_RETRY_SECONDS
        with AutoLockRenewer(max_lock_renewal_duration=_RENEW_FOR_SECONDS) as renewer:
            while not self._stopping.is_set():
                try:
                    with (
                        _client(str(function.trigger["connection"])) as client,
                        _opened(client.get_queue_receiver(queue)) as receiver,
                    ):
                        pause = _FIRST_RETRY_SECONDS
                        self._receive(function, receiver, renewer, loop)
                except (ServiceBusError, OSError, ValueError):
                    _log.exception("Receiving failed; trying again", extra={"queue": queue})
                    self._stopping.wait(pause)
                    pause = min(2 * pause, _LAST_RETRY_SECONDS)

    def _receive(
        self,
        function: Function,
        receiver: ServiceBusReceiver,
        renewer: AutoLockRenewer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        many = str(function.trigger.get("cardinality", "ONE")).upper() == "MANY"
        limit = self._host_json.max_message_batch_size if many else self._host_json.max_concurrent_calls
        while not self._stopping.is_set():
            messages = receiver.receive_messages(max_message_count=limit, max_wait_time=_WAIT_SECONDS)
            if not many:  # the locks of a batch are never renewed
                for message in messages:
                    renewer.register(receiver, message)
            # Single messages of one receive run side by side. Settling stays on this thread: a receiver is not
            # safe for several. It begins when all have ended, so that a link that breaks leaves none running.
            groups = [messages] if many and messages else [[message] for message in messages]
            runs = [
                asyncio.run_coroutine_threadsafe(self._process(function, group, many), loop)
                for group in groups
            ]
            for group, completed in zip(groups, [run.result() for run in runs], strict=True):
                _settle(receiver, group, completed=completed)

    async def _process(
        self, function: Function, messages: Sequence[ServiceBusReceivedMessage], many: bool
    ) -> bool:
        arrived = [_arrived(message) for message in messages]
        properties = arrived[0].properties
        data_type = str(function.trigger.get("dataType", ""))
        parent = None if many else properties.get("traceparent") or properties.get("Diagnostic-Id")
        with logs.bind(trace=trace_of(parent)):
            try:
                argument = batch_of(arrived, data_type) if many else single_of(arrived[0], data_type)
                await self._invocations.call(function, argument, parent=parent or "")
            except Exception:
                queue = function.trigger["queueName"]
                _log.exception("Messages failed", extra={"function": function.name, "queue": queue})
                return False
        return True


@contextmanager
def _opened(receiver: ServiceBusReceiver) -> Iterator[ServiceBusReceiver]:
    in_time(OPEN_SECONDS, receiver.__enter__, lambda: cut(receiver))
    with closing(receiver):
        yield receiver


def _settle(
    receiver: ServiceBusReceiver, messages: Sequence[ServiceBusReceivedMessage], *, completed: bool
) -> None:
    from azure.servicebus.exceptions import MessageAlreadySettled, MessageLockLostError

    settle = receiver.complete_message if completed else receiver.abandon_message
    for message in messages:
        try:
            settle(message)
        except (MessageLockLostError, MessageAlreadySettled):
            _log.warning("A lock was lost before settling; the message comes again")


def _client(connection: str) -> ServiceBusClient:
    from azure.servicebus import ServiceBusClient

    if text := os.environ.get(connection):
        return ServiceBusClient.from_connection_string(text, **_OPTIONS)
    credential = managed_identity(os.environ.get(f"{connection}__clientId") or None)
    return ServiceBusClient(os.environ[f"{connection}__fullyQualifiedNamespace"], credential, **_OPTIONS)


def _arrived(message: ServiceBusReceivedMessage) -> Arrived:
    body: Any = message.body
    return Arrived(
        body=body if isinstance(body, bytes) else b"".join(body),
        texts={
            "MessageId": message.message_id,
            "ContentType": message.content_type,
            "CorrelationId": message.correlation_id,
            "Label": message.subject,
            "Subject": message.subject,
            "LockToken": str(message.lock_token),
            "PartitionKey": message.partition_key,
            "ReplyTo": message.reply_to,
            "SessionId": message.session_id,
            "To": message.to,
        },
        numbers={
            "SequenceNumber": message.sequence_number,
            "EnqueuedSequenceNumber": message.enqueued_sequence_number,
        },
        moments={
            "EnqueuedTimeUtc": message.enqueued_time_utc,
            "ExpiresAtUtc": message.expires_at_utc,
            "LockedUntil": message.locked_until_utc,
            "ScheduledEnqueueTimeUtc": message.scheduled_enqueue_time_utc,
        },
        delivery_count=(message.delivery_count or 0) + 1,
        properties={
            _text(key): _text(value) for key, value in (message.application_properties or {}).items()
        },
    )


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
