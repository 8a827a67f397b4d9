"""One serving process: loads the app, serves its triggers, drains on SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from devhost.azure_listener import AzureQueueTriggers, is_configured
from devhost.config import HostJson, home, load_host_json
from devhost.errors import HostError
from devhost.invocation import Invocations, thread_pool
from devhost.keys import load_keys
from devhost.loading import Function, load_functions
from devhost.names import OwnNames
from devhost.queues import QueueTriggers
from devhost.signalr import SignalR
from devhost.timers import Timers
from devhost.web import WebApp
from infra.clock import AdjustableClock
from infra.embedded.queue import EmbeddedQueue
from infra.embedded.realtime import EmbeddedRealtime

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from devhost.durable import DurableHost

_log = logging.getLogger("devhost")
#: make forwards a signal that its whole process group has had already: that is one request, not two.
_SAME_REQUEST_SECONDS = 1.0

BACKLOG = 4096
KEEP_ALIVE_SECONDS = 75


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What a serving process is told.

    That is where the app is, the address it serves under, its number among the workers, how many seconds a drain may
    take, and what reads the app's functions. One that `ends_at_once` leaves SIGTERM alone, as the real worker does:
    unless the app handles it, it ends the process and what runs there."""

    app_dir: Path
    base_url: str
    worker: int = 0
    drain_seconds: float = 30.0
    ends_at_once: bool = False
    load: Callable[[Path], list[Function]] = load_functions


def serve(options: ServeOptions, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; `ready` is called once, when requests are answered.

    Raises HostError for an app that cannot be served."""
    host_json = load_host_json(options.app_dir)
    functions = options.load(options.app_dir)
    # What is loaded by now lives as long as the process: the collector need not walk it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_Host(options, host_json, functions).run(listening, ready))


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: the host has its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_started.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Host:
    def __init__(self, options: ServeOptions, host_json: HostJson, functions: list[Function]) -> None:
        self._options = options
        self._pool = thread_pool()
        self._home = home()
        self._clock = AdjustableClock(self._home / "clock")
        self._keys = load_keys(self._home)
        self._durable = self._durable_host(host_json, functions)
        binding = self._durable.client_binding if self._durable else None
        self._invocations = invocations = Invocations(self._pool, binding)
        app = WebApp(
            functions=functions,
            host_json=host_json,
            keys=self._keys,
            names=OwnNames((options.base_url, os.environ.get("HUB_PUBLIC_URL", ""))),
            invocations=invocations,
            durable=self._durable,
            realtime=SignalR(EmbeddedRealtime(self._home, options.base_url, self._clock), self._clock),
        )
        self._server = _Server(_uvicorn_config(app, options.drain_seconds))
        self._timers = Timers(
            functions=_of_kind(functions, "timerTrigger"),
            home=self._home,
            clock=self._clock,
            invocations=invocations,
        )
        self._queues = self._queue_triggers(_of_kind(functions, "serviceBusTrigger"), host_json)
        self._own: set[asyncio.Task[Any]] = set()

    async def run(self, listening: socket.socket, ready: Callable[[], None]) -> None:
        stop = StopRequest()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT,) if self._options.ends_at_once else (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.signalled)
        self._own.add(asyncio.current_task())  # type: ignore[arg-type]
        serving = self._start(self._server.serve(sockets=[listening]), "http")
        started = self._start(self._server.is_started.wait(), "start")
        await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
        timers = self._start(self._timers.run(), "timers")
        queues = [self._start(each.run(), "queues") for each in self._queues]
        durable = [self._start(self._durable.run(), "durable")] if self._durable else []
        ready()
        _log.info("Serving", extra={"worker": self._options.worker, "pid": os.getpid()})
        parts = [serving, timers, *queues, *durable]
        await asyncio.wait([*parts, self._start(stop.wait(), "stop")], return_when=asyncio.FIRST_COMPLETED)
        await self._drain(timers, [serving, *queues, *durable])
        _log.info("Stopped", extra={"worker": self._options.worker, "pid": os.getpid()})
        for part in parts:
            # A part that ended by itself failed, and the process with it.
            if part.done() and not part.cancelled():
                part.result()

    async def _drain(self, timers: asyncio.Task[None], parts: list[asyncio.Task[None]]) -> None:
        _log.info("Draining", extra={"active": self._invocations.active, "worker": self._options.worker})
        self._server.should_exit = True
        timers.cancel()
        for each in self._queues:
            each.stop()
        ending = [*parts, self._start(self._timers.drain(), "timer drain")]
        if self._durable:
            ending.append(self._start(self._durable.stop(), "durable drain"))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.drain_seconds
        await asyncio.wait(ending, timeout=self._options.drain_seconds)
        left = await finish_tasks(self._own, deadline)
        if left:
            names = sorted({task.get_name() for task in left})
            _log.warning("Not finished in time, cancelled", extra={"tasks": names})
        self._pool.shutdown(wait=not left, cancel_futures=True)

    def _start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=f"devhost {name}")
        self._own.add(task)
        return task

    def _queue_triggers(
        self, functions: list[Function], host_json: HostJson
    ) -> list[QueueTriggers | AzureQueueTriggers]:
        for function in functions:
            if "queueName" not in function.trigger:
                raise HostError(f"Function '{function.name}': subscriptions of topics are not served here")
        real = [each for each in functions if is_configured(str(each.trigger["connection"]))]
        embedded = [each for each in functions if each not in real]
        triggers: list[QueueTriggers | AzureQueueTriggers] = []
        if real:
            triggers.append(
                AzureQueueTriggers(functions=real, host_json=host_json, invocations=self._invocations)
            )
        if embedded:
            triggers.append(
                QueueTriggers(
                    functions=embedded,
                    queue=EmbeddedQueue(self._home / "queue.db", self._clock),
                    clock=self._clock,
                    host_json=host_json,
                    invocations=self._invocations,
                )
            )
        return triggers

    def _durable_host(self, host_json: HostJson, functions: list[Function]) -> DurableHost | None:
        if not any(each.is_durable or each.client_parameters for each in functions):
            return None
        from devhost.durable import DurableFunction, DurableHost

        kinds = {
            "orchestrationTrigger": "orchestrator",
            "activityTrigger": "activity",
            "entityTrigger": "entity",
        }
        pool: Executor = self._pool
        return DurableHost(
            functions={
                each.name: DurableFunction(
                    name=each.name,
                    kind=kinds[each.kind],  # type: ignore[arg-type]
                    call=each.call,
                    input_name=each.parameter,
                    elsewhere=each.elsewhere,
                )
                for each in functions
                if each.is_durable
            },
            path=self._home / "durable.db",
            base_url=self._options.base_url,
            hub_name=host_json.hub_name,
            keys=self._keys,
            worker_id=f"{socket.gethostname()}-{os.getpid()}",
            clock=self._clock,
            run_activity_executor=pool,
        )


async def finish_tasks(own: set[asyncio.Task[Any]], deadline: float) -> set[asyncio.Task[Any]]:
    """Wait for tasks that functions left in the background, and cancel and return those that are left.

    Waits until the loop's time `deadline`, also for the tasks that these start."""
    loop = asyncio.get_running_loop()
    while pending := asyncio.all_tasks() - own:
        remaining = deadline - loop.time()
        if remaining <= 0:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=1.0)
            return pending
        await asyncio.wait(pending, timeout=remaining)
    return set()


class StopRequest(asyncio.Event):
    """Set by the first SIGTERM or SIGINT; a second one ends the process without waiting for the drain."""

    def __init__(self) -> None:
        super().__init__()
        self._asked_at = 0.0

    def signalled(self) -> None:
        now = time.monotonic()
        if not self.is_set():
            self._asked_at = now
            self.set()
        elif now - self._asked_at > _SAME_REQUEST_SECONDS:
            os._exit(1)


def _uvicorn_config(app: Any, drain_seconds: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        # Looked at only when a request asks for an upgrade.
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(drain_seconds)),
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _of_kind(functions: list[Function], kind: str) -> list[Function]:
    return [function for function in functions if function.kind == kind]
