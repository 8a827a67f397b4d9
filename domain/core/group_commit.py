"""Group commit: callers that wait at the same time share one write, such as a transaction."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_MOST = 64


@dataclass(slots=True)
class _Entry(Generic[T, R]):
    item: T
    done: bool = False
    results: Sequence[R] = ()
    error: Exception | None = None


class GroupCommit(Generic[T, R]):
    """Serves threads: whichever caller gets the turn writes for all that wait. Not for an event loop.

    - `write` gets at most `most` items (None: all that wait) and returns a result for each, in order.
    - When it fails for several, each is written alone, so that no caller is refused because of another's item. With
      `retries_alone=False` all of them get its error instead."""

    def __init__(
        self,
        write: Callable[[Sequence[T]], Sequence[R]],
        *,
        most: int | None = AT_MOST,
        retries_alone: bool = True,
    ) -> None:
        self._write = write
        self._most = sys.maxsize if most is None else most
        self._retries_alone = retries_alone
        self._turn = threading.Lock()
        self._waiting: deque[_Entry[T, R]] = deque()

    def submit(self, item: T) -> R:
        """Return the item's result once it is written. Raises what `write` raised for it."""
        entry: _Entry[T, R] = _Entry(item)
        self._waiting.append(entry)
        while not entry.done:
            with self._turn:
                if not entry.done:
                    self._write_waiting()
        if entry.error is not None:
            raise entry.error
        return entry.results[0]

    def _write_waiting(self) -> None:
        # Appending and taking are atomic, and only the caller that has the turn takes.
        batch: list[_Entry[T, R]] = []
        while self._waiting and len(batch) < self._most:
            batch.append(self._waiting.popleft())
        try:
            self._attempt(batch)
            if self._retries_alone and len(batch) > 1:
                for entry in batch:
                    if entry.error is not None:
                        self._attempt([entry])
        finally:
            for entry in batch:
                entry.done = True

    def _attempt(self, batch: Sequence[_Entry[T, R]]) -> None:
        try:
            results = self._write([entry.item for entry in batch])
        except Exception as error:
            for entry in batch:
                entry.error = error
            return
        for entry, result in zip(batch, results, strict=True):
            entry.error = None
            entry.results = (result,)


@dataclass(slots=True)
class _Waiting(Generic[T, R]):
    loop: asyncio.AbstractEventLoop
    entries: list[tuple[T, asyncio.Future[R]]] = field(default_factory=list)
    writers: set[asyncio.Task[None]] = field(default_factory=set)
    busy: int = 0


class AsyncGroupCommit(Generic[T, R]):
    """Serves the event loop that is running: a task writes for all that wait, so the loop is never blocked.

    - `write` is awaited with at most `most` items and returns a result for each, in order. When it raises, all
      callers of the batch get the error.
    - `gather` is awaited before a writer takes its first batch: it decides how long items gather.
    - At most `writers` batches are under way at once."""

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        gather: Callable[[], Awaitable[None]],
        most: int,
        writers: int = 1,
    ) -> None:
        self._write = write
        self._gather = gather
        self._most = most
        self._writers = writers
        self._waiting: _Waiting[T, R] | None = None

    def submit(self, item: T) -> asyncio.Future[R]:
        """Return a future of the item's result; it holds what `write` raised for the item's batch."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting
        if waiting is None or waiting.loop is not loop:
            waiting = self._waiting = _Waiting(loop)
        result: asyncio.Future[R] = loop.create_future()
        waiting.entries.append((item, result))
        if waiting.busy < self._writers:
            waiting.busy += 1
            # An empty context: what a writer logs is about many items, not about the one that found no writer.
            task = loop.create_task(self._write_waiting(waiting), context=Context())
            waiting.writers.add(task)
            task.add_done_callback(waiting.writers.discard)
        return result

    async def _write_waiting(self, waiting: _Waiting[T, R]) -> None:
        try:
            await self._gather()
            while waiting.entries:
                batch, waiting.entries = waiting.entries[: self._most], waiting.entries[self._most :]
                await self._write_batch(batch)
        finally:
            # In the same step of the loop as the look at what waits: an item submitted later starts the next writer.
            waiting.busy -= 1

    async def _write_batch(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
