"""A small durable app, and a harness that drives the development host's engine over it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df

from devhost.durable import DurableFunction, DurableHost
from devhost.keys import HostKeys
from domain.core.ports import Clock

KEYS = HostKeys(function="function", master="master")
START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    def __init__(self) -> None:
        self._now = START

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


class GrowingPause(df.RetryOptions):
    """The SDK's retry options with the backoff the extension understands."""

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"backoffCoefficient": 2, "maxRetryIntervalInMilliseconds": 15_000}


class SampleApp:
    """Calls are counted by the text the activities get."""

    def __init__(self, journal: Path | None = None) -> None:
        self.calls: Counter[str] = Counter()
        self.times: list[datetime] = []
        self.clock: Clock | None = None
        self.fail_first = 0
        self.gate = threading.Event()
        self._journal = journal
        self._lock = threading.Lock()

    def note(self, text: str) -> int:
        with self._lock:
            self.calls[text] += 1
            if self.clock:
                self.times.append(self.clock.now())
            if self._journal:
                with self._journal.open("a") as file:
                    file.write(text + "\n")
            return self.calls[text]

    def functions(self) -> dict[str, DurableFunction]:
        blueprint = df.Blueprint()
        _activities(blueprint, self)
        _sequences(blueprint)
        _waits(blueprint)
        _families(blueprint)
        found = {}
        for builder in blueprint._function_builders:
            function = builder.build(None)
            trigger = function.get_trigger()
            kind = "orchestrator" if trigger.type == "orchestrationTrigger" else "activity"
            name = function.get_function_name()
            found[name] = DurableFunction(name, kind, function.get_user_function(), trigger.name)
        return found


def _activities(bp: df.Blueprint, app: SampleApp) -> None:
    @bp.activity_trigger(input_name="city")
    def hello(city: str) -> str:
        app.note(city)
        return f"Hello {city}"

    @bp.activity_trigger(input_name="number")
    async def double(number: int) -> int:
        app.note(str(number))
        await asyncio.sleep(0)
        return number * 2

    @bp.activity_trigger(input_name="text")
    def flaky(text: str) -> str:
        if app.note(text) <= app.fail_first:
            raise ValueError("not yet")
        return f"{text} at last"

    @bp.activity_trigger(input_name="text")
    def slow(text: str) -> str:
        app.note(text)
        assert app.gate.wait(10)
        return text

    @bp.activity_trigger(input_name="text")
    def unspeakable(text: str) -> object:
        return object()


def _sequences(bp: df.Blueprint) -> None:
    @bp.orchestration_trigger(context_name="context")
    def sequence(context: Any) -> Any:
        greetings = []
        for city in context.get_input()["cities"]:
            greetings.append((yield context.call_activity("hello", city)))
            context.set_custom_status({"greeted": len(greetings)})
        return greetings

    @bp.orchestration_trigger(context_name="context")
    def fan(context: Any) -> Any:
        numbers = yield context.task_all(
            [context.call_activity("double", n) for n in range(int(context.get_input()))]
        )
        return sum(numbers)

    @bp.orchestration_trigger(context_name="context")
    def retried(context: Any) -> Any:
        options = GrowingPause(5_000, 4)
        return (yield context.call_activity_with_retry("flaky", options, "done"))

    @bp.orchestration_trigger(context_name="context")
    def failing(context: Any) -> Any:
        yield context.call_activity(context.get_input(), "x")

    @bp.orchestration_trigger(context_name="context")
    def gated(context: Any) -> Any:
        return (yield context.call_activity("slow", "work"))

    @bp.orchestration_trigger(context_name="context")
    def caller(context: Any) -> Any:
        yield context.call_http("GET", "http://127.0.0.1/")


def _waits(bp: df.Blueprint) -> None:
    @bp.orchestration_trigger(context_name="context")
    def approval(context: Any) -> Any:
        return (yield context.wait_for_external_event("approved"))

    @bp.orchestration_trigger(context_name="context")
    def late_approval(context: Any) -> Any:
        yield context.call_activity("slow", "work")
        return (yield context.wait_for_external_event("approved"))

    @bp.orchestration_trigger(context_name="context")
    def deadline(context: Any) -> Any:
        timer = context.create_timer(context.current_utc_datetime + timedelta(hours=1))
        cancel = context.wait_for_external_event("cancel")
        winner = yield context.task_any([timer, cancel])
        if winner is cancel:
            timer.cancel()
        yield context.call_activity("hello", "end")
        return "cancelled" if winner is cancel else "timed out"

    @bp.orchestration_trigger(context_name="context")
    def long_wait(context: Any) -> Any:
        yield context.create_timer(context.current_utc_datetime + timedelta(days=10))
        return str(context.current_utc_datetime)

    @bp.orchestration_trigger(context_name="context")
    def countdown(context: Any) -> Any:
        left = context.get_input()
        yield context.call_activity("hello", str(left))
        if left > 1:
            context.continue_as_new(left - 1)
            return None
        return "liftoff"

    @bp.orchestration_trigger(context_name="context")
    def collector(context: Any) -> Any:
        """Takes one event per execution, as an actor does."""
        taken = context.get_input()
        if not taken:
            yield context.call_activity("slow", "work")
        letter = yield context.wait_for_external_event("letter")
        taken += letter.strip('"')
        if len(taken) < 3:
            context.continue_as_new(taken)
            return None
        return taken


def _families(bp: df.Blueprint) -> None:
    @bp.orchestration_trigger(context_name="context")
    def parent(context: Any) -> Any:
        one = context.call_sub_orchestrator("sequence", {"cities": ["Oslo"]})
        two = context.call_sub_orchestrator("sequence", {"cities": ["Rome"]}, instance_id="rome")
        return (yield context.task_all([one, two]))

    @bp.orchestration_trigger(context_name="context")
    def patient_parent(context: Any) -> Any:
        options = df.RetryOptions(1_000, 3)
        return (yield context.call_sub_orchestrator_with_retry("retry_child", options))

    @bp.orchestration_trigger(context_name="context")
    def retry_child(context: Any) -> Any:
        return (yield context.call_activity("flaky", "child"))

    @bp.orchestration_trigger(context_name="context")
    def guardian(context: Any) -> Any:
        try:
            yield context.call_sub_orchestrator("approval", None, "ward")
        except Exception as failure:
            return f"lost it: {failure}"


class Harness:
    def __init__(self, host: DurableHost) -> None:
        self.host = host

    async def call(self, method: str, path: str, payload: Any = None, **query: str) -> tuple[int, Any]:
        """As the SDK's client does it: the JSON of a payload is sent as a JSON string."""
        body = b"" if payload is None else json.dumps(json.dumps(payload)).encode()
        status, _, content = await self.host.handle(
            method, self.host.prefix + path, query, body, key="master"
        )
        return status, json.loads(content) if content else None

    async def start(self, name: str, payload: Any = None, instance_id: str = "") -> str:
        path = f"/orchestrators/{name}" + (f"/{instance_id}" if instance_id else "")
        status, answer = await self.call("POST", path, payload)
        assert status == 202, answer
        return str(answer["id"])

    async def status(self, instance_id: str, **query: str) -> dict[str, Any]:
        _, answer = await self.call("GET", f"/instances/{instance_id}", **query)
        return answer or {}

    async def end(self, instance_id: str) -> dict[str, Any]:
        """The status once the orchestration has ended."""
        endings = ("Completed", "Failed", "Terminated")
        await until(lambda: self.status(instance_id), lambda s: s.get("runtimeStatus") in endings)
        return await self.status(instance_id)

    async def history(self, instance_id: str) -> list[str]:
        status = await self.status(instance_id, showHistory="true")
        return [event["EventType"] for event in status["historyEvents"]]

    async def reached(self, instance_id: str, event: str, count: int = 1) -> None:
        """Wait until the history holds so many events of that type."""
        await until(lambda: self.history(instance_id), lambda events: events.count(event) >= count)


async def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds(await look()):  # noqa: ASYNC110 - the state may belong to another process
            await asyncio.sleep(0.003)


@asynccontextmanager
async def running(
    path: Path, functions: dict[str, DurableFunction], clock: Clock, *, worker: str = "one", **options: Any
) -> AsyncIterator[Harness]:
    """An engine at work; drained and closed at the end."""
    base_url = options.pop("base_url", "http://hub.test")
    with ThreadPoolExecutor(10) as threads:
        host = DurableHost(
            functions=functions,
            path=path,
            base_url=base_url,
            hub_name="TestHub",
            keys=KEYS,
            worker_id=worker,
            clock=clock,
            run_activity_executor=threads,
            **options,
        )
        run = asyncio.create_task(host.run())
        try:
            yield Harness(host)
        finally:
            await host.stop()
            await run
