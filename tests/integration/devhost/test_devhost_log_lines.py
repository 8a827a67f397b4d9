"""The host keeps log lines of running invocations alone; the app's lines arrive all the same, each once."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

import azure.functions as func
import pytest

from devhost.invocation import Invocations
from devhost.loading import Function
from devhost.running import InvocationsOnly
from infra.observability import logs

hub = logging.getLogger("hub.test")
WRITTEN = (
    "in a function",
    "in its task",
    "in a thread of it",
    "in a task with a fresh context",
    "after the end",
)
KEPT = ("in a function", "in its task")


@pytest.fixture
def host() -> Iterator[io.StringIO]:
    """What a host keeps that is as strict as the real one."""
    root, kept = logging.getLogger(), io.StringIO()
    before, level = root.handlers[:], root.level
    logs.configure("INFO", kept)
    root.handlers[0].addFilter(InvocationsOnly())
    yield kept
    root.handlers[:] = before
    root.setLevel(level)


def told(text: str) -> Counter[str]:
    return Counter(str(json.loads(line)["message"]) for line in text.splitlines())


async def call(function: Callable[..., Any]) -> None:
    is_async = asyncio.iscoroutinefunction(function)
    trigger = {"type": "httpTrigger", "name": "req"}
    called = Function("f", "httpTrigger", trigger, function, is_async, False, (), "")
    with ThreadPoolExecutor(1) as pool:
        await Invocations(pool).call(called, func.HttpRequest("GET", "/", body=b""))


async def write_from_everywhere() -> None:
    """Run a function that writes each of WRITTEN once."""
    ended, background = asyncio.Event(), []

    async def later() -> None:
        await ended.wait()
        hub.info("after the end")

    async def write(text: str) -> None:
        hub.info(text)

    async def function(req: func.HttpRequest) -> None:
        hub.info("in a function")
        await asyncio.create_task(write("in its task"))
        await asyncio.to_thread(hub.info, "in a thread of it")
        await asyncio.create_task(write("in a task with a fresh context"), context=Context())
        background.append(asyncio.create_task(later()))

    await call(function)
    ended.set()
    await background[0]


async def test_a_line_is_kept_only_where_an_invocation_runs(host: io.StringIO) -> None:
    await write_from_everywhere()
    logging.getLogger("devhost.queues").info("of the host")
    assert told(host.getvalue()) == Counter((*KEPT, "of the host"))


async def test_a_function_that_is_no_coroutine_has_the_lines_of_its_one_thread(host: io.StringIO) -> None:
    def function(req: func.HttpRequest) -> None:
        hub.info("on its thread")
        other = threading.Thread(target=hub.info, args=("on another",))
        other.start()
        other.join()

    await call(function)
    assert told(host.getvalue()) == Counter(["on its thread"])


async def test_every_line_of_the_app_is_printed_once_whatever_runs(
    host: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.to_standard_output()
    logs.to_standard_output()
    await write_from_everywhere()
    logging.getLogger("aiohttp").warning("of a library")
    assert told(capsys.readouterr().out) == Counter((*WRITTEN, "of a library"))
    assert host.getvalue() == "", "or the line would be there twice"


async def test_what_the_worker_says_goes_the_way_it_went(
    host: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.to_standard_output()

    async def function(req: func.HttpRequest) -> None:
        logging.getLogger("azure_functions_worker.dispatcher").warning("of the worker")
        logging.getLogger("azure_functions_runtime").warning("of its library")

    await call(function)
    assert capsys.readouterr().out == ""
    assert told(host.getvalue()) == Counter(["of the worker", "of its library"])


async def test_a_handler_that_the_worker_adds_later_is_stood_before_too(
    host: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.to_standard_output()
    late = io.StringIO()
    logging.getLogger().addHandler(logging.StreamHandler(late))
    logs.to_standard_output()
    hub.warning("once")
    logging.getLogger("proxy_worker").warning("of the worker")
    assert told(capsys.readouterr().out) == Counter(["once"])
    assert late.getvalue() == "of the worker\n"


def test_a_line_of_several_lines_is_one(host: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_standard_output()
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        hub.exception("it\nfailed {not} a %s template")
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "it\nfailed {not} a %s template"
