"""The development host with the real worker beneath it: `python -m tests.worker.host start`.

Sockets, queues, timers and the durable engine are the development host's; every function runs in a process of its
own, under the library of Azure's worker. `HUB_HOME`/worker.jsonl tells what happened there, and
`HUB_HOME`/worker.port where tests may post requests of their own making."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import azure.functions as func
from azure.functions.timer import TimerRequest
from google.protobuf import json_format

from devhost import cli
from devhost.config import home
from devhost.durable.sdk import decode_input, encode_result
from devhost.loading import Function, load_functions
from devhost.start import Program, start, work
from tests.worker import convert
from tests.worker.channel import InvocationFailed, Journal, Worker, protos


class Remote:
    """The worker's functions in the place of the app's own."""

    def __init__(self, app_dir: Path) -> None:
        self.journal = Journal(home() / "worker.jsonl")
        self.worker = Worker(app_dir, self.journal)

    def functions(self, app_dir: Path) -> list[Function]:
        """Load the app here, for its bindings, and in the worker, to be called there."""
        self.worker.start()
        own = load_functions(app_dir)
        names = {function.name for function in own}
        if names != self.worker.functions.keys():
            raise RuntimeError(f"the worker indexes {sorted(names ^ self.worker.functions.keys())} otherwise")
        Control(self.worker, home() / "worker.port").start()
        return [self._remote(function) for function in own]

    def _remote(self, function: Function) -> Function:
        call = partial(self._call, function)
        elsewhere = partial(self._replay, function) if function.kind == "orchestrationTrigger" else None
        # The bookkeeping of orchestrations replays them here as well, and compares.
        own = function.call if elsewhere else call
        return replace(function, call=own, is_async=True, wants_context=True, elsewhere=elsewhere)

    async def _call(self, function: Function, /, **arguments: Any) -> Any:
        context = arguments.pop("context", None)
        metadata: dict[str, Any] = {}
        data: dict[str, Any] = {}
        for name, value in arguments.items():
            if name in function.client_parameters:
                data[name] = protos.TypedData(string=value)
            elif function.kind == "httpTrigger":
                data[name] = convert.http(value)
            elif function.kind == "timerTrigger":
                assert isinstance(value, TimerRequest)
                data[name] = convert.timer(value)
            elif function.kind == "serviceBusTrigger":
                data_type = str(function.trigger.get("dataType") or "").upper()
                data[name], metadata = convert.batch(value, data_type)
            else:
                data[name] = protos.TypedData(string=encode_result(value))
        trace = {"trace_parent": _parent(context), "trace_state": _state(context)} if context else {}
        answer = await asyncio.wrap_future(self.worker.invoke(function.name, data, metadata, **trace))
        return _returned(function, answer)

    def _replay(self, function: Function, body: str) -> str:
        data = {function.parameter: protos.TypedData(string=body)}
        answer = self.worker.invoke(function.name, data).result()
        return str(_checked(answer).return_value.json)


def _parent(context: func.Context) -> str:
    return str(context.trace_context.trace_parent or "")


def _state(context: func.Context) -> str:
    return str(context.trace_context.trace_state or "")


def _checked(answer: Any) -> Any:
    if answer.result.status != protos.StatusResult.Success:
        raise InvocationFailed(answer.result.exception)
    return answer


def _returned(function: Function, answer: Any) -> Any:
    value = _checked(answer).return_value
    if function.kind == "httpTrigger":
        return convert.response(value)
    if function.kind == "activityTrigger":
        text = convert.value_of(value)
        return None if text is None else decode_input(text)
    return None


class Control:
    """Posted requests: `{"function": name, ...}` with the rest an InvocationRequest in protobuf's JSON form."""

    def __init__(self, worker: Worker, announced: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                name = asked.pop("function")
                request = json_format.ParseDict(asked, protos.InvocationRequest())
                request.function_id = worker.functions[name].function_id
                answer = json_format.MessageToJson(worker.send(name, request).result()).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                described = {
                    "runtime": worker.runtime,
                    "pid": worker.pid,
                    "capabilities": worker.capabilities,
                    "functions": {
                        name: [json.loads(raw) for raw in metadata.raw_bindings]
                        for name, metadata in worker.functions.items()
                    },
                }
                answer = json.dumps(described).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        announced.write_text(str(self._server.server_port))

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()


def main() -> int:
    """Serve as the development host does, with the app in a worker."""
    arguments = cli.parser().parse_args()
    if sys.pycache_prefix:
        # For the processes that this one starts.
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    remote: list[Remote] = []

    def load(app_dir: Path) -> list[Function]:
        remote.append(Remote(app_dir))
        return remote[0].functions(app_dir)

    run = {"start": start, "worker": work}[sys.argv[1]]
    try:
        return run(arguments, Program("tests.worker.host", load))
    finally:
        for each in remote:
            each.worker.stop()


if __name__ == "__main__":
    # As the host of the platform ends: with its worker, and with nothing left running in the background.
    code = main()
    sys.stdout.flush()
    os._exit(code)
