"""Which code runs inside an invocation: the real host keeps the log lines of no other.

Nothing heavy is imported here: the supervising process uses it too."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_HOSTS = frozenset({"devhost", "uvicorn"})


class _Running:
    """An invocation: of an `async def`, or on the thread of a `def`."""

    def __init__(self, thread: int | None) -> None:
        self.thread = thread
        self.is_over = False


_running: ContextVar[_Running | None] = ContextVar("running_invocation", default=None)


@contextmanager
def invocation(thread: int | None = None) -> Iterator[None]:
    """Let the block be an invocation of an `async def`, or of a `def` on `thread`."""
    running = _Running(thread)
    token = _running.set(running)
    try:
        yield
    finally:
        running.is_over = True
        _running.reset(token)


def on_this_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call as an invocation that has this thread."""
    with invocation(threading.get_ident()):
        return call(*args, **kwargs)


class InvocationsOnly(logging.Filter):
    """Drops the app's records, as the real host does, where they were not written inside a running invocation.

    Inside are the tasks of an `async def` and those that these start in their own context, and the one thread of a
    `def`. What the app prints is not looked at."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] in _HOSTS or _is_inside()


def _is_inside() -> bool:
    running = _running.get()
    if running is None or running.is_over:
        return False
    if running.thread is not None:
        return running.thread == threading.get_ident()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
