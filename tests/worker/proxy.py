"""The worker process: takes the host's requests from the stream and has Azure's library answer them.

In Azure a proxy of the platform stands here. What it adds to the library is what this one does: the thread that
reads the stream, the invocation's id on the task that runs it, and the handler that sends log records to the host."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

_ID = "_worker_invocation_id"


def _load_rpc() -> Any:
    """Our module beside this file; the folder itself stays out of sys.path, where the app's modules are looked for."""
    spec = importlib.util.spec_from_file_location("worker_rpc", Path(__file__).with_name("rpc.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rpc = _load_rpc()
protos = rpc.messages()
_LEVELS = [
    (logging.CRITICAL, protos.RpcLog.Critical),
    (logging.ERROR, protos.RpcLog.Error),
    (logging.WARNING, protos.RpcLog.Warning),
    (logging.INFO, protos.RpcLog.Information),
    (logging.DEBUG, protos.RpcLog.Debug),
]


class InvocationTask(asyncio.Task[Any]):
    """A task that belongs to the invocation of the task that made it, whatever its context."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        try:
            parent = asyncio.current_task(options.get("loop"))
        except RuntimeError:
            parent = None
        setattr(self, _ID, getattr(parent, _ID, None))


class HostHandler(logging.Handler):
    """Sends records to the host, with the id of the invocation that wrote them where there is one to be found."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy

    def emit(self, record: logging.LogRecord) -> None:
        level = next((theirs for ours, theirs in _LEVELS if record.levelno >= ours), protos.RpcLog.Trace)
        is_system = record.name.startswith(("azure.functions", "azure_functions_runtime", "proxy_worker"))
        log = protos.RpcLog(
            category=record.name,
            level=level,
            message=self.format(record),
            log_category=protos.RpcLog.System if is_system else protos.RpcLog.User,
        )
        if invocation := self._proxy.current_invocation():
            log.invocation_id = invocation
        self._proxy.send(rpc_log=log)


class Proxy:
    def __init__(self, worker_id: str, port: int) -> None:
        self._worker_id = worker_id
        self._port = port
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._library: Any = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, work, **options: InvocationTask(work, loop=loop, **options))
        root = logging.getLogger()
        root.handlers[:] = [HostHandler(self)]
        root.setLevel(logging.INFO)
        self.send(start_stream=protos.StartStream(worker_id=self._worker_id))
        threading.Thread(target=self._read, name="stream", daemon=True).start()
        await loop.create_future()

    def send(self, **content: Any) -> None:
        self._out.put(protos.StreamingMessage(request_id=self._worker_id, **content))

    def current_invocation(self) -> str | None:
        """The id that the running task carries, or that the library gave the thread of a `def` function."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            task = None
        if found := getattr(task, _ID, None):
            return str(found)
        return self._library.invocation_id_cv.get() if self._library is not None else None

    def _read(self) -> None:
        channel = grpc.insecure_channel(f"127.0.0.1:{self._port}", rpc.OPTIONS)
        stream = channel.stream_stream(
            rpc.EVENT_STREAM,
            request_serializer=protos.StreamingMessage.SerializeToString,
            response_deserializer=protos.StreamingMessage.FromString,
        )
        try:
            for message in stream(iter(self._out.get, None)):
                # From a thread: the task that this makes has no parent.
                self._loop.call_soon_threadsafe(self._begin, message)
        finally:
            # The host is gone, or has ended the stream.
            os._exit(0)

    def _begin(self, message: Any) -> None:
        task = self._loop.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()):
            # The library answers with a failure whatever a function raises: this is one of our own.
            traceback.print_exception(failure)
            os._exit(1)

    async def _answer(self, message: Any) -> None:
        kind = message.WhichOneof("content")
        if kind == "worker_init_request":
            self._prepare(message.worker_init_request.function_app_directory)
            self.send(worker_init_response=await self._library.worker_init_request(self._wrapped(message)))
        elif kind == "functions_metadata_request":
            found = await self._library.functions_metadata_request(self._wrapped(message))
            self.send(function_metadata_response=found)
        elif kind == "function_load_request":
            loaded = await self._library.function_load_request(self._wrapped(message))
            self.send(function_load_response=loaded)
        elif kind == "invocation_request":
            setattr(asyncio.current_task(), _ID, message.invocation_request.invocation_id)
            done = await self._library.invocation_request(self._wrapped(message))
            self.send(invocation_response=done)
        elif kind == "worker_status_request":
            self.send(worker_status_response=protos.WorkerStatusResponse())
        else:
            raise ValueError(f"the host sent {kind}")

    def _prepare(self, directory: str) -> None:
        """The app's folder comes first among those where modules are found; then the library may be imported."""
        sys.path.insert(0, directory)
        import azure_functions_runtime

        self._library = azure_functions_runtime
        self._library.start_threadpool_executor()

    @staticmethod
    def _wrapped(message: Any) -> SimpleNamespace:
        properties = {"protos": protos, "host": "127.0.0.1"}
        return SimpleNamespace(name=message.WhichOneof("content"), request=message, properties=properties)


if __name__ == "__main__":
    asyncio.run(Proxy(sys.argv[1], int(sys.argv[2])).run())
