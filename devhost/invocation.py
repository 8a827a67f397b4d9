"""Calling functions: on the loop or in the thread pool, counted, traced and logged."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any
from uuid import uuid4

import azure.functions as func
from azure.functions._abc import TraceContext as _TraceContext

from devhost.loading import Function
from devhost.running import invocation, on_this_thread

_log = logging.getLogger("devhost.invocation")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NO_TRACE = "0" * 32


def trace_of(traceparent: str | None) -> str:
    """Return the trace id of a W3C `traceparent`, or a new one when there is none or it is malformed.

    https://www.w3.org/TR/trace-context/#traceparent-header"""
    if traceparent is not None:
        match = _TRACEPARENT.match(traceparent)
        if match is not None and match[1] != _NO_TRACE:
            return match[1]
    return os.urandom(16).hex()


class TraceContext(_TraceContext):
    """What `func.Context.trace_context` shows: the caller's span, since this host has none of its own."""

    def __init__(self, parent: str, state: str) -> None:
        self._parent = parent
        self._state = state

    @property
    def trace_state(self) -> str:
        return self._state

    @property
    def trace_parent(self) -> str:
        return self._parent

    @property
    def attributes(self) -> dict[str, str]:
        return {}

    # The worker shows both spellings.
    Traceparent = trace_parent
    Tracestate = trace_state


class Context(func.Context):
    """What a function that has a parameter `context` receives."""

    def __init__(self, function: Function, parent: str, trace_state: str = "") -> None:
        self._function = function
        self._trace = TraceContext(parent, trace_state)
        self._invocation_id = str(uuid4())
        self._local = threading.local()

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def thread_local_storage(self) -> Any:
        return self._local

    @property
    def function_name(self) -> str:
        return self._function.name

    @property
    def function_directory(self) -> str:
        return self._function.directory

    @property
    def trace_context(self) -> TraceContext:
        return self._trace

    @property
    def retry_context(self) -> Any:
        return None


class Invocations:
    """Calls functions, and knows how many calls are running."""

    def __init__(self, pool: ThreadPoolExecutor, client_binding: Callable[[], str] | None = None) -> None:
        self._pool = pool
        self._client_binding = client_binding
        self.active = 0

    async def call(
        self, function: Function, argument: Any, *, parent: str = "", trace_state: str = ""
    ) -> Any:
        """Run the function with what triggered it; a `def` runs in the thread pool.

        It runs in the caller's context variables, which must name the trace; `parent` is the `traceparent` that
        came with the trigger. Whatever the function raises comes out."""
        arguments = {function.parameter: argument}
        if function.wants_context:
            arguments["context"] = Context(function, parent, trace_state)
        if function.client_parameters and self._client_binding is not None:
            binding = self._client_binding()
            arguments.update(dict.fromkeys(function.client_parameters, binding))
        verbose = _log.isEnabledFor(logging.DEBUG)
        started = time.perf_counter() if verbose else 0.0
        self.active += 1
        try:
            if function.is_async:
                with invocation():
                    return await function.call(**arguments)
            run = partial(copy_context().run, partial(on_this_thread, function.call, **arguments))
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        finally:
            self.active -= 1
            if verbose:
                milliseconds = round((time.perf_counter() - started) * 1000, 3)
                _log.debug("Invoked", extra={"function": function.name, "durationMs": milliseconds})


def thread_pool() -> ThreadPoolExecutor:
    """Return a pool for `def` functions as large as the worker's (`PYTHON_THREADPOOL_THREAD_COUNT`)."""
    count = os.environ.get("PYTHON_THREADPOOL_THREAD_COUNT")
    size = int(count) if count else min(32, (os.cpu_count() or 1) + 4)
    return ThreadPoolExecutor(max_workers=size, thread_name_prefix="function")
