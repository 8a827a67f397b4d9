"""The loop that moves orchestrations along, and the object the development host holds."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sqlite3
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from devhost.durable.api import PREFIX, Api, Links, Response, presented_key
from devhost.durable.control import Control
from devhost.durable.episode import Episode, advance
from devhost.durable.events import Event, EventKind, event, task_failed
from devhost.durable.presence import Presence
from devhost.durable.sdk import DurableFunction, decode_input, encode_result
from devhost.durable.store import ClaimedWork, Store, connect
from devhost.keys import DURABLE, HostKeys
from devhost.running import invocation, on_this_thread
from domain.core.ports import Clock

_TICK_SECONDS = 0.02
_SWEEP_SECONDS = 1.0
_log = logging.getLogger("devhost.durable")

P = ParamSpec("P")
T = TypeVar("T")


class DurableHost:
    """Runs the durable functions of one worker process; any number of processes may share `path`.

    `worker_id` is unique among the hosts alive on the file (letters, digits, `-`, `_`, `.`). The work of a
    process that died is taken over within a second, that of one that hangs after `lease_seconds`. Sync
    activities run on `run_activity_executor`, async ones on the event loop, as in the Functions worker.
    Raises ValueError for entity functions, which this host does not run, and RuntimeError for a taken id.
    """

    def __init__(
        self,
        *,
        functions: Mapping[str, DurableFunction],
        path: Path,
        base_url: str,
        hub_name: str,
        keys: HostKeys,
        worker_id: str,
        clock: Clock,
        run_activity_executor: Executor,
        max_concurrent_activities: int = 10,
        max_concurrent_orchestrators: int = 10,
        lease_seconds: float = 10.0,
    ) -> None:
        entities = sorted(function.name for function in functions.values() if function.kind == "entity")
        if entities:
            raise ValueError(f"the development host does not run durable entities: {', '.join(entities)}")
        self._functions = functions
        self._clock = clock
        self._keys = keys
        self._worker = worker_id
        self._activity_threads = run_activity_executor
        self._room = {"episode": max_concurrent_orchestrators, "activity": max_concurrent_activities}
        self._lease_seconds = lease_seconds
        self._store = Store(path, lease_seconds=lease_seconds)
        self._watch = connect(path)
        self._presence = Presence(path, worker_id)
        self._swept = float("-inf")
        self._store_thread = ThreadPoolExecutor(1, "durable-store")
        self._episode_threads = ThreadPoolExecutor(max_concurrent_orchestrators, "durable-episode")
        self._links = Links(base_url, hub_name, keys.durable)
        orchestrators = {f.name for f in functions.values() if f.kind == "orchestrator"}
        self._api = Api(Control(self._store), self._links, orchestrators)
        self._running: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._wake = asyncio.Event()
        self._stopping = self._closed = False
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def prefix(self) -> str:
        """The path under which `handle` answers."""
        return PREFIX

    def client_binding(self) -> str:
        """Return the JSON string that a durableClient parameter receives."""
        return self._links.binding()

    async def handle(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, *, key: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer a management or client request; `path` is URL-decoded and begins with `prefix`.

        Without the Durable extension's key the answer is 401. A start with `timeout` and `pollingInterval` (seconds)
        waits that long for the end."""
        path, key = presented_key(path, key)
        if not self._keys.allows(DURABLE, key):
            return 401, {}, b""
        if self._closed:
            return 503, {}, b""
        response = await self._respond(method, path, query, body)
        if method.upper() != "GET":
            self._wake.set()
        if (
            response[0] == 202
            and "/orchestrators/" in path
            and {"timeout", "pollingInterval"} <= query.keys()
        ):
            return await self._wait(response, query)
        return response

    async def run(self) -> None:
        """Work until `stop`, then finish what is under way. Call once."""
        self._ended.clear()
        renewal = asyncio.create_task(self._keep_leases())
        try:
            await self._stored(self._store.release, self._worker)  # an earlier process of that name
            while not self._stopping:
                await self._turn()
            if self._running:
                await asyncio.wait(self._running)
        finally:
            renewal.cancel()
            self._ended.set()

    async def stop(self) -> None:
        """Take no more work, wait for what is under way, close the file."""
        self._stopping = True
        self._wake.set()
        await self._ended.wait()
        self._closed = True
        self._episode_threads.shutdown()
        self._store_thread.shutdown()
        self._watch.close()
        self._store.close()
        self._presence.close()

    async def _turn(self) -> None:
        """Claim what there is, then sleep until something may have changed."""
        version = self._version()
        self._wake.clear()
        try:
            if time.monotonic() - self._swept > _SWEEP_SECONDS:
                await self._take_over()
            now = self._clock.now().timestamp()
            await self._claim(now)
            due = await self._stored(self._store.next_due, now)
        except sqlite3.OperationalError as busy:
            _log.warning("durable store is not available, trying again: %s", busy)
            due = None
        await self._sleep(version, due)

    async def _take_over(self) -> None:
        """End the leases of processes that are gone."""
        self._swept = time.monotonic()
        for worker in await self._stored(self._store.holders):
            if self._presence.is_gone(worker):
                await self._stored(self._store.release, worker)

    async def _claim(self, now: float) -> None:
        lease = f"{self._worker}/{uuid.uuid4().hex}"
        for episode in await self._stored(self._store.claim_episodes, self._free("episode"), now, lease):
            self._begin("episode", lease, self._run_episode(episode))
        for work in await self._stored(self._store.claim_activities, self._free("activity"), lease):
            self._begin("activity", lease, self._run_activity(work))

    async def _sleep(self, version: int, due: float | None) -> None:
        """Local work sets the event; other processes change the file; the clock may jump."""
        sweep = time.monotonic() + _SWEEP_SECONDS
        while not self._wake.is_set() and version == self._version() and time.monotonic() < sweep:
            if due is not None and due <= self._clock.now().timestamp():
                return
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _free(self, kind: str) -> int:
        return self._room[kind] - sum(1 for running, _ in self._running.values() if running == kind)

    def _begin(self, kind: str, lease: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running[task] = (kind, lease)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Log a failure. What failed here keeps its lease until it runs out, and is then tried again."""
        del self._running[task]
        self._wake.set()
        if not task.cancelled() and (failure := task.exception()):
            _log.error("durable work will be tried again", exc_info=failure)

    async def _run_episode(self, episode: Episode) -> None:
        function = self._functions.get(episode.name)
        if function and function.kind != "orchestrator":
            function = None
        loop, now = asyncio.get_running_loop(), self._clock.now()
        step = partial(on_this_thread, advance, episode, function, now)
        outcome = await loop.run_in_executor(self._episode_threads, step)
        moment = self._clock.now().timestamp()
        if not await self._stored(self._store.finish_episode, episode, outcome, moment):
            _log.warning("orchestration %s: lease lost, episode discarded", episode.instance_id)
        elif outcome.status == "Failed":
            _log.warning("orchestration %s failed: %s", episode.instance_id, outcome.output)

    async def _run_activity(self, work: ClaimedWork) -> None:
        result = await self._result_of(work)
        moment = self._clock.now().timestamp()
        if not await self._stored(self._store.finish_activity, work, result, moment):
            _log.warning("activity %s of %s: lease lost, result discarded", work.name, work.instance_id)

    async def _result_of(self, work: ClaimedWork) -> Event:
        function = self._functions.get(work.name)
        if function is None or function.kind != "activity":
            return task_failed(work.task, f"The function '{work.name}' is not an activity of this app.")
        try:
            call = partial(function.call, **{function.input_name: decode_input(work.payload)})
            if inspect.iscoroutinefunction(function.call):
                with invocation():
                    value = await call()
            else:
                run = partial(on_this_thread, call)
                value = await asyncio.get_running_loop().run_in_executor(self._activity_threads, run)
            return event(EventKind.TASK_COMPLETED, TaskScheduledId=work.task, Result=encode_result(value))
        except Exception as failure:  # user code: whatever it raised is the activity's failure
            reason = f"Activity function '{work.name}' failed: {type(failure).__name__}: {failure}"
            return task_failed(work.task, reason, "".join(traceback.format_tb(failure.__traceback__)))

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            leases = {lease for _, lease in self._running.values()}
            if leases:
                try:
                    await self._stored(self._store.renew, leases)
                except sqlite3.OperationalError as busy:
                    _log.warning("durable leases could not be renewed: %s", busy)

    async def _wait(self, started: Response, query: Mapping[str, str]) -> Response:
        status_path = started[1]["Location"].partition("?")[0]
        status_path = status_path[status_path.index(PREFIX) :]
        deadline = time.monotonic() + float(query["timeout"])
        while time.monotonic() < deadline:
            await asyncio.sleep(min(float(query["pollingInterval"]), max(0.0, deadline - time.monotonic())))
            status = await self._respond("GET", status_path, {}, b"")
            if status[0] != 202:
                return status
        return started

    async def _respond(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        return await self._stored(self._api.respond, method, path, query, body, moment=self._clock.now())

    def _version(self) -> int:
        """Return a number that changes whenever a commit of another connection, in any process, changed the file."""
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    async def _stored(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Every use of the store happens on its one thread, in turn."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._store_thread, partial(call, *args, **kwargs))
