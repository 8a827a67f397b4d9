"""A bound on calls that have none of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def in_time(seconds: float, call: Callable[[], T], give_up: Callable[[], None]) -> T:
    """Return what `call` returns, or raise what it raises; it runs in a thread of its own.

    Raises TimeoutError after `seconds`. Before that `give_up` is called, which should make the call end; else it
    goes on unseen until the process ends."""
    outcome: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            outcome.set_result(context.run(call))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="in time", daemon=True).start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if not outcome.done():
            give_up()
        raise
