"""A host with the real worker beneath it: requests of a test's own making go in, and everything that the worker did
or said is read back."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.harness import HostProcess

Typed = dict[str, Any]
"""A TypedData in protobuf's JSON form."""


@dataclass(frozen=True)
class Answer:
    """An invocation's outcome as the worker told it."""

    failure: str
    value: Any


class WorkerHost:
    """The invocations of a running host, and what came of them."""

    def __init__(self, host: HostProcess) -> None:
        self.host = host
        self._control = f"http://127.0.0.1:{(host.home / 'worker.port').read_text()}/"
        self._journal: Path = host.home / "worker.jsonl"
        with urllib.request.urlopen(self._control, timeout=30) as answer:
            described = json.loads(answer.read())
        self.runtime: str = described["runtime"]
        self.pid: int = described["pid"]
        self.capabilities: dict[str, str] = described["capabilities"]
        self.functions: dict[str, list[dict[str, Any]]] = described["functions"]

    def trigger(self, name: str) -> dict[str, Any]:
        """The binding that triggers a function."""
        [found] = [each for each in self.functions[name] if each["type"].lower().endswith("trigger")]
        return found

    def of_kind(self, kind: str) -> list[str]:
        """The names of the functions of a trigger type."""
        return [name for name in self.functions if self.trigger(name)["type"] == kind]

    def invoke(self, name: str, triggered_by: Typed, **metadata: Typed) -> Answer:
        """Invoke a function by what triggers it; a durable client is added where it has one."""
        data = [{"name": self.trigger(name)["name"], "data": triggered_by}]
        for binding in self.functions[name]:
            if binding["type"] == "durableClient":
                data.append({"name": binding["name"], "data": {"string": self._client()}})
        asked = {"function": name, "inputData": data, "triggerMetadata": metadata}
        request = urllib.request.Request(self._control, json.dumps(asked).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            told = json.loads(answer.read())
        result = told["result"]
        failure = "" if result.get("status") == "Success" else result["exception"]["message"]
        return Answer(failure, told.get("returnValue"))

    def http(self, name: str, method: str, path: str = "", body: bytes = b"", **fields: Any) -> Answer:
        """Invoke an HTTP function; `fields` are those of RpcHttp. An empty body is no body at all."""
        http = {"method": method, "url": f"https://hub.test/api/{path}", **fields}
        if body:
            http["body"] = {"bytes": base64.b64encode(body).decode()}
        return self.invoke(name, {"http": http})

    def tick(self, name: str) -> Answer:
        """Fire a timer."""
        last = "2026-01-01T00:00:00+00:00"
        status = {"Last": last, "Next": last, "LastUpdated": last}
        tick = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": status, "IsPastDue": False}
        return self.invoke(name, {"json": json.dumps(tick)})

    def messages(self, name: str, bodies: Typed, count: int, ids: Sequence[str] = ()) -> Answer:
        """Hand a batch over. `ids` are those that there are: the array has no place for the others."""
        none = {"json": json.dumps([{}] * count)}
        metadata: dict[str, Typed] = {
            "UserPropertiesArray": none,
            "ApplicationPropertiesArray": none,
            "DeliveryCountArray": {"collectionSint64": {"sint64": ["1"] * count}},
        }
        if ids:
            metadata["MessageIdArray"] = {"collectionString": {"string": list(ids)}}
        return self.invoke(name, bodies, **metadata)

    def journal(self, **wanted: Any) -> list[dict[str, Any]]:
        """What the worker did and said so far, where it is as wanted."""
        entries = [json.loads(line) for line in self._journal.read_text().splitlines()]
        return [each for each in entries if wanted.items() <= each.items()]

    def eventually(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """The condition's first true value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not come true"
            time.sleep(0.02)
        return value

    def _client(self) -> str:
        root = f"http://127.0.0.1:{self.host.port}/runtime/webhooks/durabletask"
        return json.dumps(
            {
                "taskHubName": "IntegrationHub",
                "creationUrls": {},
                "managementUrls": {"id": "INSTANCEID"},
                "baseUrl": root,
                "requiredQueryStringParameters": "code=none",
                "rpcBaseUrl": f"{root}/rpc/none/",
            }
        )


def as_bytes(*bodies: str) -> Typed:
    """A batch as a binding of binary data gets it."""
    return {"collectionBytes": {"bytes": [base64.b64encode(body.encode()).decode() for body in bodies]}}


def as_strings(*bodies: str) -> Typed:
    """A batch as a binding of texts gets it."""
    return {"collectionString": {"string": list(bodies)}}


def as_json(*bodies: str) -> Typed:
    """A batch as a binding without a type of data gets it: one JSON array, read and written by the host."""
    return {"json": f"[{','.join(bodies)}]"}
