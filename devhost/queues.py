"""Service Bus queue triggers over the embedded queue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from devhost.config import HostJson
from devhost.invocation import Invocations, trace_of
from devhost.loading import Function
from devhost.messages import Arrived, batch_of, single_of
from domain.core.errors import Unavailable
from domain.core.ports import Clock
from infra.embedded.queue import EmbeddedQueue, ReceivedMessage
from infra.observability import logs

_log = logging.getLogger("devhost.queues")
T = TypeVar("T")

LOCK_SECONDS = 60.0
"""The lockDuration of the queues on Azure: how long messages of a process that was killed stay out of reach."""

RENEW_SECONDS = LOCK_SECONDS / 3
_BUSY_POLL_SECONDS, _IDLE_POLL_SECONDS, _BUSY_FOR_SECONDS = 0.001, 0.008, 0.25


class QueueTriggers:
    """All queue listeners of this process, and the one loop that tells them when to look."""

    def __init__(
        self,
        *,
        functions: Sequence[Function],
        queue: EmbeddedQueue,
        clock: Clock,
        host_json: HostJson,
        invocations: Invocations,
    ) -> None:
        self._queue = queue
        self._clock = clock
        # Settling may wait for another process's write: that must not hold up the loop.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="queue")
        self._listeners = [
            QueueListener(function, queue, host_json, invocations=invocations, thread=self._thread)
            for function in functions
        ]
        self._stopping = False

    async def run(self) -> None:
        """Serve until `stop`; returns when every message in hand is settled."""
        async with asyncio.TaskGroup() as group:
            for listener in self._listeners:
                group.create_task(listener.run(), name="devhost listener")
            group.create_task(self._watch(), name="devhost queue watch")
        self._thread.shutdown()

    def stop(self) -> None:
        """Receive no more."""
        self._stopping = True
        for listener in self._listeners:
            listener.stop()

    async def _watch(self) -> None:
        busy_until = 0.0
        while not self._stopping:
            if self._changed():
                busy_until = time.monotonic() + _BUSY_FOR_SECONDS
                for listener in self._listeners:
                    listener.look()
            else:
                now = self._clock.now()
                for listener in self._listeners:
                    if listener.due is not None and listener.due <= now:
                        listener.look()
            await asyncio.sleep(_BUSY_POLL_SECONDS if time.monotonic() < busy_until else _IDLE_POLL_SECONDS)

    def _changed(self) -> bool:
        try:
            return self._queue.changed()
        except Unavailable:
            _log.exception("The queue does not answer")
            return False


class QueueListener:
    """Receives for one function.

    As in the Service Bus extension, a batch function gets one batch at a time, whose locks nobody renews; a function
    of single messages up to `maxConcurrentCalls` at once, whose locks are renewed while it runs."""

    def __init__(
        self,
        function: Function,
        queue: EmbeddedQueue,
        host_json: HostJson,
        *,
        invocations: Invocations,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._function = function
        self._queue = queue
        self._name = str(function.trigger["queueName"])
        self._many = str(function.trigger.get("cardinality", "ONE")).upper() == "MANY"
        self._data_type = str(function.trigger.get("dataType", ""))
        self._limit = host_json.max_message_batch_size if self._many else host_json.max_concurrent_calls
        self._enough = min(host_json.min_message_batch_size, self._limit) if self._many else 1
        self._patience = host_json.max_batch_wait_seconds
        self._invocations = invocations
        self._thread = thread
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.due: datetime | None = None

    def look(self) -> None:
        """Something may have become receivable."""
        self.due = None
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                messages = await self._receive(self._limit - len(self._running))
            except Unavailable:
                _log.exception("Receiving failed", extra={"queue": self._name})
                await asyncio.sleep(1.0)
                self._wake.set()
                continue
            if messages and self._many:
                await self._process(await self._fill(messages))
            elif messages:
                for message in messages:
                    self._start(message)
            if not messages or len(self._running) >= self._limit:
                await self._wake.wait()
        if self._running:
            await asyncio.wait(self._running)

    def _start(self, message: ReceivedMessage) -> None:
        task = asyncio.create_task(self._process([message]), name="devhost message")
        self._running.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _receive(self, count: int) -> list[ReceivedMessage]:
        if count <= 0:
            return []
        messages = await self._call(self._queue.receive, self._name, count, lock_seconds=LOCK_SECONDS)
        if not messages:
            self.due = await self._call(self._queue.next_due, self._name)
        return messages

    async def _fill(self, messages: list[ReceivedMessage]) -> list[ReceivedMessage]:
        """Wait for `minMessageBatchSize` messages, at most `maxBatchWaitTime` and well within the locks."""
        until = time.monotonic() + min(self._patience, RENEW_SECONDS)
        while len(messages) < self._enough and not self._stopping and time.monotonic() < until:
            await asyncio.sleep(_IDLE_POLL_SECONDS)
            messages += await self._receive(self._limit - len(messages))
        return messages

    async def _process(self, messages: list[ReceivedMessage]) -> None:
        parent = None if self._many else _traceparent(messages[0])
        arrived = [_arrived(message) for message in messages]
        tokens = [message.lock_token for message in messages]
        renewal = (
            None if self._many else asyncio.create_task(self._renew(tokens), name="devhost lock renewal")
        )
        with logs.bind(trace=trace_of(parent)):
            try:
                argument = (
                    batch_of(arrived, self._data_type)
                    if self._many
                    else single_of(arrived[0], self._data_type)
                )
                await self._invocations.call(self._function, argument, parent=parent or "")
                settle = self._queue.complete
            except Exception:
                _log.exception(
                    "Messages failed",
                    extra={"function": self._function.name, "queue": self._name, "messages": len(messages)},
                )
                settle = self._queue.abandon
            finally:
                if renewal is not None:
                    renewal.cancel()
            try:
                settled = await self._call(settle, self._name, tokens)
            except Unavailable:
                _log.exception("Settling failed; the locks will run out", extra={"queue": self._name})
                return
            if settled < len(tokens):
                lost = {"queue": self._name, "messages": len(tokens) - settled}
                _log.warning("Locks were lost before settling; the messages come again", extra=lost)

    async def _renew(self, tokens: list[str]) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._call(self._queue.renew, self._name, tokens, lock_seconds=LOCK_SECONDS)
            except Unavailable:
                _log.exception("Renewing locks failed", extra={"queue": self._name})

    async def _call(self, operation: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: operation(*arguments, **options)
        )


def _traceparent(message: ReceivedMessage) -> str | None:
    # The Azure SDKs write either property on what they send.
    return message.properties.get("traceparent") or message.properties.get("Diagnostic-Id")


def _arrived(message: ReceivedMessage) -> Arrived:
    return Arrived(
        body=message.body,
        texts={"MessageId": message.message_id, "LockToken": message.lock_token},
        numbers={
            "SequenceNumber": message.sequence_number,
            "EnqueuedSequenceNumber": message.sequence_number,
        },
        moments={"EnqueuedTimeUtc": message.enqueued_at, "LockedUntil": message.locked_until},
        delivery_count=message.delivery_count,
        properties=message.properties,
    )
