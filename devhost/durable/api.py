"""The Durable extension's HTTP API under `/runtime/webhooks/durabletask`.

It serves people who manage orchestrations, and the calls of the SDK's `DurableOrchestrationClient`. Status codes
are those of the extension's HttpApiHandler."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from devhost.durable.control import Answer, Control, Filter
from devhost.durable.episode import NewInstance

PREFIX = "/runtime/webhooks/durabletask"
_RPC = "/rpc/"
Response = tuple[int, dict[str, str], bytes]
_CODES: dict[Answer, int] = {"done": 202, "missing": 404, "finished": 410}


class Links:
    """The URLs a client is given, with the key that opens them (letters, digits, `-`, `_`)."""

    def __init__(self, base_url: str, hub_name: str, key: str) -> None:
        self._root = base_url.rstrip("/") + PREFIX
        self._hub = hub_name
        self._key = key
        self._query = f"taskHub={hub_name}&connection=Storage&code={key}"

    def management(self, instance_id: str) -> dict[str, str]:
        """Return the management URLs of one orchestration, as `create_check_status_response` shows them."""
        instance, query = f"{self._root}/instances/{instance_id}", self._query
        return {
            "id": instance_id,
            "statusQueryGetUri": f"{instance}?{query}",
            "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{query}",
            "terminatePostUri": f"{instance}/terminate?reason={{text}}&{query}",
            "rewindPostUri": f"{instance}/rewind?reason={{text}}&{query}",
            "purgeHistoryDeleteUri": f"{instance}?{query}",
            "restartPostUri": f"{instance}/restart?{query}",
            "suspendPostUri": f"{instance}/suspend?reason={{text}}&{query}",
            "resumePostUri": f"{instance}/resume?reason={{text}}&{query}",
        }

    def binding(self) -> str:
        """Return the JSON of a durableClient binding, from which the SDK builds its client."""
        create = f"{self._root}/orchestrators/{{functionName}}[/{{instanceId}}]"
        wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}"
        return json.dumps(
            {
                "taskHubName": self._hub,
                "connectionName": "Storage",
                "creationUrls": {
                    "createNewInstancePostUri": f"{create}?{self._query}",
                    "createAndWaitOnNewInstancePostUri": f"{create}?{wait}&{self._query}",
                },
                "managementUrls": self.management("INSTANCEID"),
                "baseUrl": self._root,
                "requiredQueryStringParameters": f"code={self._key}",
                # The SDK adds no query to this one; on Azure it is an address of its own that only the worker reaches.
                "rpcBaseUrl": f"{self._root}{_RPC}{self._key}/",
            }
        )


def presented_key(path: str, key: str | None) -> tuple[str, str | None]:
    """Return the path without a key in it, and the key: that one, else `key`, which came by query or header."""
    route = path.removeprefix(PREFIX)
    if not route.startswith(_RPC):
        return path, key
    inner, _, rest = route.removeprefix(_RPC).partition("/")
    return f"{PREFIX}/{rest}", inner


class Api:
    """Answers one request at a time from the store."""

    def __init__(self, control: Control, links: Links, orchestrators: Collection[str]) -> None:
        self._control = control
        self._links = links
        self._orchestrators = orchestrators

    def respond(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, *, moment: datetime
    ) -> Response:
        """`path` is decoded and begins with the prefix."""
        now = moment.timestamp()
        route = path.removeprefix(PREFIX).strip("/").split("/")
        try:
            match (method.upper(), *route):
                case ("POST", "orchestrators", name):
                    return self._start(name, uuid.uuid4().hex, body, now)
                case ("POST", "orchestrators", name, instance_id):
                    return self._start(name, instance_id, body, now)
                case ("GET", "instances"):
                    return self._list(query)
                case ("DELETE", "instances"):
                    return self._purge(query)
                case ("GET", "instances", instance_id):
                    return self._status(instance_id, query)
                case ("DELETE", "instances", instance_id):
                    return self._purge_one(instance_id)
                case ("POST", "instances", instance_id, operation):
                    return self._operate(instance_id, operation.lower(), query, now)
                case ("POST", "instances", instance_id, "raiseEvent", name):
                    return self._raise_event(instance_id, name, body, now)
                case (_, "entities", *_):
                    return _error(501, "The development host does not support entities.")
        except ValueError as malformed:
            return _error(400, str(malformed))
        return 404, {}, b""

    def _start(self, name: str, instance_id: str, body: bytes, now: float) -> Response:
        if name not in self._orchestrators:
            return _error(
                400, f"The function '{name}' doesn't exist, is disabled, or is not an orchestrator."
            )
        payload = _json_text(body) if body else None
        if not self._control.start(NewInstance(instance_id, name, payload), now):
            return _error(409, f"An orchestration with the instance ID '{instance_id}' is already running.")
        return self._accepted(instance_id)

    def _accepted(self, instance_id: str) -> Response:
        links = self._links.management(instance_id)
        return _reply(202, links, {"Location": links["statusQueryGetUri"], "Retry-After": "10"})

    def _status(self, instance_id: str, query: Mapping[str, str]) -> Response:
        status = self._control.status(instance_id, show_input=_flag(query, "showInput", default=True))
        if status is None:
            return 404, {}, b""
        if _flag(query, "showHistory"):
            shown = self._control.history(instance_id, show_output=_flag(query, "showHistoryOutput"))
            status["historyEvents"] = shown
        if status["runtimeStatus"] in ("Running", "Pending", "Suspended"):
            link = self._links.management(instance_id)["statusQueryGetUri"]
            return _reply(202, status, {"Location": link, "Retry-After": "5"})
        failed = status["runtimeStatus"] == "Failed" and _flag(query, "returnInternalServerErrorOnFailure")
        return _reply(500 if failed else 200, status)

    def _list(self, query: Mapping[str, str]) -> Response:
        shown = _flag(query, "showInput", default=True)
        page, token = self._control.page(_filter(query), show_input=shown)
        return _reply(200, page, {"x-ms-continuation-token": token})

    def _purge(self, query: Mapping[str, str]) -> Response:
        if "createdTimeFrom" not in query:
            return _error(400, "Please provide value for 'createdTimeFrom' parameter.")
        deleted = self._control.purge(_filter(query))
        return _reply(200, {"instancesDeleted": deleted}) if deleted else (404, {}, b"")

    def _purge_one(self, instance_id: str) -> Response:
        answer = self._control.purge_one(instance_id)
        if answer == "running":
            return _error(412, f"Only finished orchestrations can be purged; '{instance_id}' is running.")
        return _reply(200, {"instancesDeleted": 1}) if answer == "done" else (404, {}, b"")

    def _operate(self, instance_id: str, operation: str, query: Mapping[str, str], now: float) -> Response:
        if operation == "terminate":
            answer = self._control.terminate(instance_id, query.get("reason", ""), now)
        elif operation in ("suspend", "resume"):
            answer = self._control.suspend(instance_id, suspended=operation == "suspend", now=now)
        elif operation == "restart":
            return self._restart(instance_id, query, now)
        elif operation == "rewind":
            return _reply(501, "The development host does not support rewind; start the orchestration again.")
        else:
            return 404, {}, b""
        return _CODES[answer], {}, b""

    def _restart(self, instance_id: str, query: Mapping[str, str], now: float) -> Response:
        origin = self._control.origin(instance_id)
        if origin is None:
            return _error(400, "InstanceId does not match a valid orchestration instance.")
        fresh = _flag(query, "restartWithNewInstanceId", default=True)
        restarted = NewInstance(uuid.uuid4().hex if fresh else instance_id, *origin)
        if not self._control.start(restarted, now):
            return _error(409, "A non-terminal instance with this instance ID already exists.")
        return self._accepted(restarted.instance_id)

    def _raise_event(self, instance_id: str, name: str, body: bytes, now: float) -> Response:
        payload = _json_text(body) if body else "null"
        return _CODES[self._control.raise_event(instance_id, name, payload, now)], {}, b""


def _json_text(body: bytes) -> str:
    text = body.decode()
    try:
        json.loads(text)
    except ValueError as malformed:
        raise ValueError("Invalid JSON content") from malformed
    return text


def _flag(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    return {"true": True, "false": False}.get(query.get(name, "").lower(), default)


def _filter(query: Mapping[str, str]) -> Filter:
    """Read the filter of a query. Raises ValueError for a time or number that is none.

    The continuation token comes as `continuationToken`; the extension takes it from a header."""
    return Filter(
        created_from=_time(query.get("createdTimeFrom")),
        created_to=_time(query.get("createdTimeTo")),
        statuses=[status for status in query.get("runtimeStatus", "").split(",") if status],
        prefix=query.get("instanceIdPrefix", ""),
        after=query.get("continuationToken", ""),
        page_size=max(1, int(query.get("top") or query.get("pageSize") or 100)),
    )


def _time(text: str | None) -> float | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _reply(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(content).encode()


def _error(status: int, message: str) -> Response:
    return _reply(status, {"Message": message, "ExceptionMessage": message})
