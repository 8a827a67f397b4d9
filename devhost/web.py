"""HTTP triggers as one bare ASGI callable: what runs per request is kept to the least."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

import azure.functions as func

from devhost.bodies import LIMIT_SETTING, BodyReader, BodyTooLarge, BodyTooSlow, ClientGone
from devhost.config import HostJson
from devhost.invocation import Invocations, trace_of
from devhost.keys import ANONYMOUS, HostKeys
from devhost.loading import Function
from devhost.names import OwnNames
from devhost.routes import RouteTable
from domain.core.memory_budget import Busy
from infra.observability import logs

_log = logging.getLogger("devhost.http")

NEGOTIATE_PATH = "/client/negotiate"
"""Where a SignalR client asks how to connect, as at Azure SignalR Service."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}
_BODILESS = frozenset({204, 304})


class DurableEndpoints(Protocol):
    """The part of the durable host that answers HTTP."""

    @property
    def prefix(self) -> str: ...

    async def handle(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, *, key: str | None
    ) -> tuple[int, dict[str, str], bytes]: ...


class RealtimeEndpoints(Protocol):
    """The part of the host that holds SignalR connections."""

    async def negotiate(
        self, method: str, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]: ...

    async def connect(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None: ...


class WebResponse(NamedTuple):
    """A response, ready for ASGI but for its content-length."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class WebApp:
    """Serves the app's HTTP functions, the durable endpoints and the realtime ones."""

    def __init__(
        self,
        *,
        functions: list[Function],
        host_json: HostJson,
        keys: HostKeys,
        names: OwnNames,
        invocations: Invocations,
        durable: DurableEndpoints | None = None,
        realtime: RealtimeEndpoints | None = None,
        bodies: BodyReader | None = None,
    ) -> None:
        """Build the routes. Raises HostError when two functions serve one route and method."""
        self._table: RouteTable[Function] = RouteTable()
        for function in functions:
            if function.kind == "httpTrigger":
                self._table.add(route_of(function, host_json), function.methods, function)
        self._keys = keys
        self._names = names
        self._invocations = invocations
        self._durable = durable
        self._realtime = realtime
        self._outstanding = 0
        self._max_outstanding = host_json.max_outstanding_requests
        self._bodies = bodies or BodyReader()
        limit = host_json.max_concurrent_requests
        self._slots = asyncio.Semaphore(limit) if limit > 0 else None

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send)
            return
        headers = _headers(scope["headers"])
        _add_peer(headers, scope.get("client"))
        trace = trace_of(headers.get("traceparent"))
        logs.trace_id.set(trace)
        logs.request_id.set(headers.get("x-request-id"))
        path = _path(scope)
        if (stranger := self._stranger(headers, path, trace)) is not None:
            answer = stranger
        elif 0 <= self._max_outstanding <= self._outstanding:
            answer = _problem(429, "The host has too many requests outstanding.", path, trace)
        else:
            self._outstanding += 1
            try:
                answer = await self._answer(scope, headers, path, receive=receive, trace=trace)
            finally:
                self._outstanding -= 1
        status, fields, body = answer
        if status not in _BODILESS:
            fields.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send(
            {"type": "http.response.body", "body": body} if body and status not in _BODILESS else _LAST
        )

    def _stranger(self, headers: dict[str, str], path: str, trace: str) -> WebResponse | None:
        """Return the refusal of what a page of somebody else had a browser send, before its body is read."""
        host = headers.get("host")
        if not self._names.know(host):
            told = "This host is not known by that name: HUB_PUBLIC_URL gives it one."
            return _problem(421, told, path, trace, close=True)
        # SignalR's own endpoints are for pages of any origin, as the service's are: a token lets them in.
        if path != NEGOTIATE_PATH and not self._names.trust(headers.get("origin"), host):
            told = "Pages of other origins may not call this host."
            return _problem(403, told, path, trace, close=True)
        return None

    async def _connect(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if self._realtime is None or not self._names.know(_headers(scope["headers"]).get("host")):
            await receive()
            await send({"type": "websocket.close"})
            return
        await self._realtime.connect(scope, receive, send)

    async def _answer(
        self, scope: Mapping[str, Any], headers: dict[str, str], path: str, *, receive: Receive, trace: str
    ) -> WebResponse:
        method = scope["method"]
        query = _query(scope["query_string"])
        found = self._table.find(method, path)
        if found is None and path == NEGOTIATE_PATH and self._realtime is not None:
            status, answered, content = await self._realtime.negotiate(method, headers, query)
            return WebResponse(status, _encoded(answered), content)
        if found is None and not self._is_durable(path):
            return _problem(404, "No function serves this method and path.", path, trace)
        try:
            async with self._bodies.body(headers, receive, _sender(scope)) as body:
                return await self._called(scope, headers, query, found=found, body=body, trace=trace)
        except BodyTooLarge:
            detail = f"A request body may have {self._bodies.most:,} bytes ({LIMIT_SETTING})."
            return _problem(413, detail, path, trace, close=True, code="too-large")
        except Busy as busy:
            return _problem(503, busy.detail, path, trace, close=True, code=busy.code)
        except BodyTooSlow:
            return _problem(408, "The request body did not arrive in time.", path, trace, close=True)
        except ClientGone:
            # Nobody hears this answer; the function must not see half a body.
            return _problem(400, "The request body did not arrive.", path, trace, close=True)

    async def _called(
        self,
        scope: Mapping[str, Any],
        headers: dict[str, str],
        query: dict[str, str],
        *,
        found: tuple[Function, Mapping[str, str]] | None,
        body: bytes,
        trace: str,
    ) -> WebResponse:
        method, path = scope["method"], _path(scope)
        try:
            if found is None:
                assert self._durable is not None
                key = headers.get("x-functions-key") or query.get("code")
                status, fields, content = await self._durable.handle(method, path, query, body, key=key)
                return WebResponse(status, _encoded(fields), content)
            function, route_params = found
            level = function.trigger["authLevel"].lower()
            if level != ANONYMOUS:
                presented = headers.get("x-functions-key") or query.get("code")
                if not self._keys.allows(level, presented):
                    return _problem(401, "A function key is needed: x-functions-key, or code.", path, trace)
            url = _url(scope, headers)
            request = func.HttpRequest(
                method, url, headers=headers, params=query, route_params=route_params, body=body
            )
            told = {"parent": headers.get("traceparent", ""), "trace_state": headers.get("tracestate", "")}
            if self._slots is None:
                return _shaped(await self._invocations.call(function, request, **told))
            async with self._slots:
                return _shaped(await self._invocations.call(function, request, **told))
        except Exception:
            # A path of the Durable extension may hold its key.
            shown = self._durable.prefix if found is None and self._durable else path
            _log.exception("Request failed", extra={"method": method, "path": shown})
            return _problem(500, "The function failed; the log has the trace.", shown, trace)

    def _is_durable(self, path: str) -> bool:
        return self._durable is not None and path.startswith(self._durable.prefix)


def route_of(function: Function, host_json: HostJson) -> str:
    """Return the full route template of an HTTP function, without leading slash."""
    route = str(function.trigger.get("route") or function.name).strip("/")
    return f"{host_json.route_prefix}/{route}".strip("/")


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            value = f"{headers[name]}{'; ' if name == 'cookie' else ','}{value}"
        headers[name] = value
    return headers


def _add_peer(headers: dict[str, str], peer: tuple[str, int] | None) -> None:
    """Who spoke to us, appended to what they say of others, as Azure's front end does."""
    if peer is None:
        return
    host, port = peer
    entry = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    said = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{said}, {entry}" if said else entry


def _sender(scope: Mapping[str, Any]) -> str:
    peer = scope.get("client")
    return str(peer[0]) if peer else ""


def _path(scope: Mapping[str, Any]) -> str:
    raw: bytes = scope["raw_path"]
    if b"%2f" in raw or b"%2F" in raw:
        # An encoded slash does not separate segments and stays encoded, as in ASP.NET Core.
        return unquote(raw.decode("ascii").replace("%2F", "%252F").replace("%2f", "%252f"))
    path: str = scope["path"]
    return path


def _query(raw: bytes) -> dict[str, str]:
    """Return the query parameters, several of one name joined; as on Azure, without those that have no value."""
    query: dict[str, str] = {}
    if raw:
        for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
            query[name] = f"{query[name]},{value}" if name in query else value
    return {name: value for name, value in query.items() if value}


def _url(scope: Mapping[str, Any], headers: dict[str, str]) -> str:
    url = f"{scope['scheme']}://{headers.get('host', 'localhost')}{scope['raw_path'].decode('ascii')}"
    return f"{url}?{scope['query_string'].decode('ascii')}" if scope["query_string"] else url


def _shaped(result: Any) -> WebResponse:
    """Return the ASGI form of what an HTTP function returned.

    As on Azure, of a header set twice the last counts, except Set-Cookie; a `str` is text, nothing at all is 204."""
    if isinstance(result, func.HttpResponse):
        fields: dict[bytes, bytes] = {}
        cookies: list[tuple[bytes, bytes]] = []
        for name, value in result.headers.items():
            key = name.lower().encode("latin-1")
            if key == b"set-cookie":
                cookies.append((key, str(value).encode("latin-1")))
            elif key != b"content-length":
                fields[key] = str(value).encode("latin-1")
        if b"content-type" not in fields:
            kind = result.mimetype
            text = f"{kind}; charset={result.charset}" if kind.startswith("text/") else kind
            fields[b"content-type"] = text.encode("latin-1")
        return WebResponse(int(result.status_code), [*fields.items(), *cookies], result.get_body())
    if result is None:
        return WebResponse(204, [], b"")
    if isinstance(result, str):
        return WebResponse(200, [(b"content-type", b"text/plain; charset=utf-8")], result.encode())
    raise TypeError(f"An HTTP function must return func.HttpResponse, not {type(result).__name__}")


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name.lower() != "content-length"
    ]


def _problem(
    status: int, detail: str, path: str, trace: str, *, close: bool = False, code: str = ""
) -> WebResponse:
    """Return an RFC 9457 problem of the host's own; `code` where the app's reference explains it."""
    document = {
        "type": f"/api/docs#problem-{code}" if code else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
        "traceId": trace,
        **({"code": code} if code else {}),
    }
    headers = [(b"content-type", b"application/problem+json")]
    if status in (429, 503):
        headers.append((b"retry-after", b"1"))
    if close:
        headers.append((b"connection", b"close"))
    return WebResponse(status, headers, json.dumps(document).encode())
