"""The HTTP front, spoken to as an ASGI server would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import azure.functions as func
import pytest

from devhost.config import HostJson
from devhost.invocation import Invocations
from devhost.keys import HostKeys
from devhost.loading import Function
from devhost.names import OwnNames
from devhost.web import WebApp


def served(call: Callable[..., Any], **limits: int) -> WebApp:
    trigger = {"type": "httpTrigger", "name": "req", "authLevel": "ANONYMOUS", "route": "f"}
    function = Function("f", "httpTrigger", trigger, call, asyncio.iscoroutinefunction(call), False, (), "")
    return WebApp(
        functions=[function],
        host_json=HostJson(**limits),
        keys=HostKeys(function="f", master="m"),
        names=OwnNames(["https://hub.example"]),
        invocations=Invocations(ThreadPoolExecutor(1)),
    )


async def ask(
    app: WebApp,
    *messages: dict[str, Any],
    headers: tuple[tuple[bytes, bytes], ...] = (),
    query: bytes = b"",
) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request, and the answer's status, headers and body."""
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/api/f",
        "raw_path": b"/api/f",
        "query_string": query,
        "headers": list(headers),
    }
    incoming = iter(messages)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


@pytest.mark.parametrize(
    ("returned", "status", "kind", "body"),
    [
        ("text", 200, b"text/plain; charset=utf-8", b"text"),
        (None, 204, None, b""),
        (func.HttpResponse("{}", mimetype="application/json"), 200, b"application/json", b"{}"),
        (func.HttpResponse("x", headers={"Content-Type": "a/b"}), 200, b"a/b", b"x"),
        (func.HttpResponse(b"ignored", status_code=304), 304, b"text/plain; charset=utf-8", b""),
        (7, 500, b"application/problem+json", None),
    ],
)
async def test_what_a_function_returns_becomes_the_answer(
    returned: Any, status: int, kind: bytes | None, body: bytes | None
) -> None:
    seen, headers, content = await ask(served(lambda req: returned))
    assert (seen, headers.get(b"content-type")) == (status, kind)
    assert body is None or content == body


async def test_of_a_header_set_twice_the_last_counts_as_on_azure() -> None:
    response = func.HttpResponse("x")
    response.headers.add("Link", "one")
    response.headers.add("Link", "two")
    _, headers, _ = await ask(served(lambda req: response))
    assert headers[b"link"] == b"two"


async def test_requests_beyond_the_outstanding_limit_are_told_to_come_back() -> None:
    gate = asyncio.Event()

    async def call(req: func.HttpRequest) -> str:
        await gate.wait()
        return "done"

    app = served(call, max_outstanding_requests=2)
    waiting = [asyncio.create_task(ask(app)) for _ in range(2)]
    await asyncio.sleep(0)
    status, headers, body = await ask(app)
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert json.loads(body)["status"] == 429
    gate.set()
    assert [(await each)[0] for each in waiting] == [200, 200]
    assert (await ask(app))[0] == 200


async def test_requests_beyond_the_concurrent_limit_wait_for_their_turn() -> None:
    running, most = 0, 0

    async def call(req: func.HttpRequest) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return "done"

    app = served(call, max_concurrent_requests=2)
    answers = await asyncio.gather(*(ask(app) for _ in range(6)))
    assert [answer[0] for answer in answers] == [200] * 6
    assert most == 2


async def test_a_function_never_sees_half_a_body() -> None:
    called: list[bytes] = []
    app = served(lambda req: called.append(req.get_body()))
    half = {"type": "http.request", "body": b"half", "more_body": True}
    headers = ((b"content-length", b"8"),)
    assert (await ask(app, half, {"type": "http.disconnect"}, headers=headers))[0] == 400
    assert called == []
    rest = {"type": "http.request", "body": b"rest", "more_body": False}
    assert (await ask(app, half, rest, headers=headers))[0] == 204
    assert called == [b"halfrest"]


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked"])
async def test_a_function_gets_nothing_of_a_body_that_came_in_chunks(coding: bytes) -> None:
    called: list[tuple[bytes, str]] = []
    app = served(lambda req: called.append((req.get_body(), req.headers["transfer-encoding"])))
    chunks = [
        {"type": "http.request", "body": b"one", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    assert (await ask(app, *chunks, headers=((b"transfer-encoding", coding),)))[0] == 204
    assert called == [(b"", coding.decode())]


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        (b"a=&b=1", {"b": "1"}),
        (b"a&b=1&c=", {"b": "1"}),
        (b"a=1&a=2", {"a": "1,2"}),
        (b"a=&a=2", {"a": ",2"}),
        (b"a=%20", {"a": " "}),
        (b"a=", {}),
    ],
)
async def test_query_parameters_without_a_value_do_not_arrive(query: bytes, seen: dict[str, str]) -> None:
    called: list[tuple[dict[str, str], str]] = []
    app = served(lambda req: called.append((dict(req.params), req.url)))
    assert (await ask(app, query=query))[0] == 204
    assert called == [(seen, f"http://localhost/api/f?{query.decode()}")]
