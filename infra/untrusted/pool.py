"""Untrusted work in processes of its own, which are ended when it takes too long or grows too large."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as Overdue
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING, Any, Final, TypeVar

from domain.providers.untrusted import WorkStopped
from infra.untrusted.child import perform_task, prepare
from infra.untrusted.pieces import Pieces, cut, joined
from infra.untrusted.turns import WorkTurns

if TYPE_CHECKING:
    from pebble import ProcessPool

T = TypeVar("T")

IDLE_SECONDS: Final = 60.0
#: Seconds that work waits for a place.
WAIT_SECONDS: Final = 60.0
#: Seconds that a process may take to begin with its work, loading the libraries included.
START_SECONDS: Final = 30.0
#: A process does so many tasks, and then another takes its place.
TASKS_AT_MOST: Final = 500
#: Bytes that are given to a process at most; the largest page of a provider is smaller.
GIVEN_BYTES_MAX: Final = 160 * 1024 * 1024
_WATCH_SECONDS = 0.25


class WorkPool:
    """Implements UntrustedWork by up to `processes` processes (`spawn`), started when first needed.

    Each is ended after 60 s without work. A task has `seconds` and its process `memory_bytes`: Linux refuses more;
    elsewhere `size_of`, which tells the bytes of a process by its id, is asked."""

    def __init__(
        self,
        *,
        processes: int = 2,
        seconds: float = 30.0,
        memory_bytes: int = 1024 * 1024 * 1024,
        idle_seconds: float = IDLE_SECONDS,
        size_of: Callable[[int], int] | None = None,
    ) -> None:
        self._turns = WorkTurns(processes)
        self._seconds = seconds
        if size_of is None and sys.platform != "linux":
            size_of = _resident_bytes
        self._places = [_Place(seconds, memory_bytes, idle_seconds, size_of) for _ in range(processes)]

    async def perform(self, tenant: str, task: Callable[..., T], *arguments: Any) -> T:
        given = await asyncio.to_thread(cut, arguments, GIVEN_BYTES_MAX)
        place = await self._place(tenant)
        began = time.monotonic()
        try:
            is_well, told = await self._places[place].serve(task, given)
        finally:
            self._turns.leave(place, tenant, time.monotonic() - began)
        if len(told.parts) == 1:
            result = joined(told)
        else:
            result = await asyncio.to_thread(joined, told)
        if not is_well:
            raise result
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End all processes; the next work starts them again."""
        for place in self._places:
            place.close()

    async def _place(self, tenant: str) -> int:
        turn = self._turns.enter(tenant)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.wrap_future(turn)
        except (TimeoutError, asyncio.CancelledError) as error:
            if not turn.cancel() and turn.exception() is None:
                self._turns.leave(turn.result(), tenant, 0.0)
            if isinstance(error, TimeoutError):
                raise WorkStopped("busy", "There was no room to read it for a minute.") from None
            raise


class _Place:
    """One process at a time, and the pool that replaces it."""

    def __init__(
        self,
        seconds: float,
        memory_bytes: int,
        idle_seconds: float,
        size_of: Callable[[int], int] | None,
    ) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._idle_seconds = idle_seconds
        self._size_of = size_of
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._ending: threading.Timer | None = None
        self._context = _Remembering()

    async def serve(self, task: Callable[..., Any], given: Pieces) -> tuple[bool, Pieces]:
        future = await asyncio.to_thread(self._schedule, task, given)
        watch = asyncio.ensure_future(self._watch(self._size_of)) if self._size_of is not None else None
        try:
            async with asyncio.timeout(START_SECONDS + self._seconds):
                return await asyncio.wrap_future(future)
        except (Overdue, TimeoutError):
            if not future.done():
                await asyncio.to_thread(self.close)
            raise WorkStopped("time", f"Reading it took more than {self._seconds:g} s.") from None
        except (CancelledError, asyncio.CancelledError):
            future.cancel()
            raise
        except (BrokenProcessPool, RuntimeError, OSError):
            await asyncio.to_thread(self.close)
            if watch is not None and watch.done():
                raise WorkStopped("memory", "Reading it needs more memory than it may have.") from None
            raise WorkStopped("ended", "The process that read it ended before it was done.") from None
        finally:
            if watch is not None:
                watch.cancel()
            self._rest()

    def _schedule(self, task: Callable[..., Any], given: Pieces) -> Future[tuple[bool, Pieces]]:
        for is_second in (False, True):
            pool = self._opened()
            try:
                return pool.schedule(perform_task, args=(task, given), timeout=self._seconds)
            except RuntimeError:  # its process died without work
                self.close()
                if is_second:
                    break
        raise WorkStopped("ended", "No process could be started to read it.")

    def _opened(self) -> ProcessPool:
        from pebble import ProcessPool  # here: most processes read nothing that is large

        with self._lock:
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None
            if self._pool is None:
                self._pool = ProcessPool(
                    max_workers=1,
                    max_tasks=TASKS_AT_MOST,
                    initializer=prepare,
                    initargs=(self._memory_bytes,),
                    context=self._context,
                )
            return self._pool

    def _rest(self) -> None:
        """End the process if nothing comes for a while."""
        with self._lock:
            if self._ending is not None:
                self._ending.cancel()
            self._ending = threading.Timer(self._idle_seconds, self.close)
            self._ending.daemon = True
            self._ending.start()

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
            if self._ending is not None:
                self._ending.cancel()
                self._ending = None
        if pool is not None:
            with suppress(RuntimeError):
                pool.stop()  # type: ignore[no-untyped-call]
                pool.join()

    async def _watch(self, size_of: Callable[[int], int]) -> None:
        """Kill the process once it is too large; ends then, and not before."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            process = self._context.latest
            if process is None or process.pid is None or not process.is_alive():
                continue
            if await asyncio.to_thread(size_of, process.pid) > self._memory_bytes:
                process.kill()
                return


class _Remembering(SpawnContext):
    """The context `spawn`, which knows the process that it started last."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: SpawnProcess | None = None

    def Process(self, *arguments: Any, **named: Any) -> SpawnProcess:  # type: ignore[override] # noqa: N802
        self.latest = SpawnProcess(*arguments, **named)
        return self.latest


def _resident_bytes(process_id: int) -> int:
    """Return the bytes of memory that a process holds, 0 for one that has ended."""
    import psutil

    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except (psutil.Error, OSError):
        return 0
