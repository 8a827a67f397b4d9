"""The host's end of the stream: starts the worker, asks for its functions, invokes them, and keeps of what it writes
what Azure's host keeps."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

import grpc

from tests.worker import rpc

protos = rpc.messages()
_START_SECONDS = 60.0


class InvocationFailed(Exception):
    """The function raised, or the library could not call it."""

    def __init__(self, exception: Any) -> None:
        super().__init__(exception.message)
        self.stack = str(exception.stack_trace)


class Journal:
    """One JSON line for everything that a worker did or said, for tests to read."""

    def __init__(self, path: Path) -> None:
        # Line by line into one file, whatever the number of hosts that share it.
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def write(self, kind: str, **fields: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"kind": kind, **fields}) + "\n")


class Worker:
    """One worker process and the invocations that run in it."""

    def __init__(self, app_dir: Path, journal: Journal) -> None:
        self._app_dir = app_dir
        self._journal = journal
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers: dict[str, Future[Any]] = {}
        self._running: dict[str, tuple[str, float, Future[Any]]] = {}
        self._lock = threading.Lock()
        self._gone: str | None = None
        self.functions: dict[str, Any] = {}

    def start(self) -> None:
        """Start the process and have it index and load the app. Raises RuntimeError when it cannot."""
        self._server = grpc.server(ThreadPoolExecutor(2, "stream"), options=rpc.OPTIONS)
        service, _, method = rpc.EVENT_STREAM.strip("/").partition("/")
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=protos.StreamingMessage.FromString,
            response_serializer=protos.StreamingMessage.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        proxy = Path(__file__).with_name("proxy.py")
        awaited = self._awaited("start_stream")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(proxy), str(uuid.uuid4()), str(port)],
            cwd=self._app_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the host, which ends its worker itself.
            process_group=0,
        )
        for name, said, shown in (
            ("stdout", self._process.stdout, sys.stdout),
            ("stderr", self._process.stderr, sys.stderr),
        ):
            threading.Thread(target=self._forward, args=(name, said, shown), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()
        awaited.result(_START_SECONDS)
        init = protos.WorkerInitRequest(host_version="4.1045.0", function_app_directory=str(self._app_dir))
        answer = self._ask("worker_init_response", worker_init_request=init)
        if answer.result.status != protos.StatusResult.Success:
            raise RuntimeError(f"the worker cannot index the app: {answer.result.exception.message}")
        self.runtime = answer.worker_metadata.runtime_version
        self.capabilities = dict(answer.capabilities)
        request = protos.FunctionsMetadataRequest(function_app_directory=str(self._app_dir))
        indexed = self._ask("function_metadata_response", functions_metadata_request=request)
        for metadata in indexed.function_metadata_results:
            load = protos.FunctionLoadRequest(function_id=metadata.function_id, metadata=metadata)
            loaded = self._ask("function_load_response", function_load_request=load)
            if loaded.result.status != protos.StatusResult.Success:
                raise RuntimeError(f"{metadata.name} cannot be loaded: {loaded.result.exception.message}")
            self.functions[metadata.name] = metadata

    def invoke(
        self, name: str, data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None, **context: Any
    ) -> Future[Any]:
        """Invoke a function. `data` and `metadata` are TypedData by name; the future gives an InvocationResponse."""
        request = protos.InvocationRequest(
            function_id=self.functions[name].function_id,
            input_data=[protos.ParameterBinding(name=key, data=value) for key, value in data.items()],
            trigger_metadata=metadata or {},
            trace_context=protos.RpcTraceContext(**context),
        )
        return self.send(name, request)

    def send(self, name: str, request: Any) -> Future[Any]:
        """Send a request as it is, but for its id."""
        request.invocation_id = str(uuid.uuid4())
        future: Future[Any] = Future()
        with self._lock:
            if self._gone is not None:
                raise RuntimeError(self._gone)
            self._running[request.invocation_id] = (name, time.monotonic(), future)
        self._send(invocation_request=request)
        return future

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """SIGTERM, as the host sends it: the worker ends at once, with whatever it was doing."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        self._out.put(None)
        self._server.stop(None)

    def _send(self, **content: Any) -> None:
        self._out.put(protos.StreamingMessage(**content))

    def _awaited(self, kind: str) -> Future[Any]:
        future: Future[Any] = Future()
        self._answers[kind] = future
        return future

    def _ask(self, kind: str, **content: Any) -> Any:
        awaited = self._awaited(kind)
        self._send(**content)
        return awaited.result(_START_SECONDS)

    def _serve(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        threading.Thread(target=self._take, args=(requests,), name="worker says", daemon=True).start()
        return iter(self._out.get, None)

    def _take(self, requests: Iterator[Any]) -> None:
        try:
            for message in requests:
                kind = message.WhichOneof("content")
                content = getattr(message, kind)
                if kind == "rpc_log":
                    self._log(content)
                elif kind == "invocation_response":
                    self._finish(content)
                else:
                    self._answers.pop(kind).set_result(content)
        except grpc.RpcError:
            pass  # `_watch` tells what became of the process

    def _finish(self, response: Any) -> None:
        with self._lock:
            name, begun, future = self._running.pop(response.invocation_id)
        succeeded = response.result.status == protos.StatusResult.Success
        failure = "" if succeeded else response.result.exception.message
        seconds = round(time.monotonic() - begun, 3)
        self._journal.write(
            "invocation", id=response.invocation_id, function=name, failure=failure, seconds=seconds
        )
        future.set_result(response)

    def _log(self, log: Any) -> None:
        """Keep what names an invocation that runs. The worker's own lines go to the platform, not to the app's log."""
        with self._lock:
            running = self._running.get(log.invocation_id)
        is_own = log.log_category == protos.RpcLog.System
        kept = running is not None and not is_own
        self._journal.write(
            "log",
            id=log.invocation_id,
            function=running[0] if running else None,
            kept=kept,
            own=is_own,
            level=protos.RpcLog.Level.Name(log.level),
            category=log.category,
            message=log.message,
        )
        if kept:
            sys.stderr.write(f"{log.message}\n")
            sys.stderr.flush()

    def _forward(self, name: str, said: TextIO, shown: TextIO) -> None:
        for line in said:
            self._journal.write("printed", stream=name, line=line.rstrip("\n"))
            shown.write(line)
            shown.flush()

    def _watch(self) -> None:
        code = self._process.wait()
        with self._lock:
            self._gone = f"the worker ended with {code}"
            lost, self._running = list(self._running.values()), {}
        for future in [*self._answers.values(), *(future for *_, future in lost)]:
            if not future.done():
                future.set_exception(RuntimeError(self._gone))
