"""A batch of 83 MiB once took 3.8 GB, and a process took as many of them as came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import azure.functions as func
import pytest
from pydantic import BaseModel

import function_app
from devhost.bodies import BodyReader, BodyTooLarge, BodyTooSlow, ClientGone
from domain.core.json_text import check_json
from domain.core.memory_budget import Busy, MemoryBudget
from functions.http.kit.bodies import RAISED
from functions.http.kit.calls import ApiResponse, Call
from functions.http.kit.operations import OPERATIONS, ApiOperation
from functions.http.kit.resource import trigger_of
from functions.http.webhooks.routes import test_webhook as run_test_webhook
from tests.worlds.builders import settings_at
from tests.worlds.http_app import App, Thing, said, serving_app

assert function_app.app  # registers the operations
MIB = 1024 * 1024


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with serving_app(tmp_path) as made:
        yield made


def batch(size: int) -> bytes:
    one = json.dumps({"type": "A", "data": {"x": "y" * 100_000}}).encode()
    return b'{"events":[' + b",".join([one] * (size // (len(one) + 1))) + b"]}"


def test_a_batch_of_83_mebibytes_is_refused_naming_the_limit_and_one_of_8_is_taken(app: App) -> None:
    refused = app.call("raise_events", app.request("POST", "events", batch(83 * MIB)))
    assert (refused.status_code, said(refused)["code"]) == (413, "too-large")
    assert "8,388,608" in said(refused)["detail"] and "HUB_REQUEST_MAX_BYTES" in said(refused)["detail"]
    assert app.call("raise_events", app.request("POST", "events", batch(8 * MIB))).status_code == 202


def test_every_operation_has_a_limit_and_only_batches_of_events_may_have_more_than_a_payload() -> None:
    limits = {operation.name: operation.takes for operation in OPERATIONS}
    assert [name for name, limit in limits.items() if limit.most is None] == ["raise_events"]
    assert max(limit.most or 0 for limit in limits.values()) == MIB + 64 * 1024
    without = [operation for operation in OPERATIONS if operation.body is None and not operation.anonymous]
    assert {operation.takes.most for operation in without} == {64 * 1024}
    large = [name for name, limit in limits.items() if (limit.most or 0) > 128 * 1024]
    assert sorted(large) == [
        *("change_integration_records", "preview_integration_mapping", "put_integration_mapping"),
        *("receive_handshake", "receive_handshake_at_rotated_url", "receive_preflight"),
        *(
            "receive_preflight_at_rotated_url",
            "receive_webhook",
            "receive_webhook_at_rotated_url",
            "test_webhook",
        ),
    ]


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_a_body_that_no_one_asked_for_is_refused_before_anything_is_looked_up(app: App, method: str) -> None:
    handle = app.serve(lambda call: ApiResponse(Thing()), method=method, permission="webhook:manage")
    for authorization in ("", f"Bearer {app.token('webhook:manage')}"):
        request = app.request(method, "things", b" " * (64 * 1024 + 1), authorization=authorization)
        assert handle(request).status_code == 413


def test_bodies_beyond_the_budget_are_turned_away_and_other_tenants_find_room(tmp_path: Path) -> None:
    """One tenant's bodies never take up all of it."""
    settings = settings_at(tmp_path).model_copy(update={"bodies_max_bytes": 2 * MIB})
    with serving_app(tmp_path, settings=settings) as app, ThreadPoolExecutor(4) as threads:
        inside, done = Barrier(2), Barrier(2)

        def slow(call: Call) -> ApiResponse:
            inside.wait(10)
            done.wait(10)
            return ApiResponse(Thing())

        hold = app.serve(slow, body_limit=RAISED, permission="webhook:manage")
        take = app.serve(lambda call: ApiResponse(Thing()), body_limit=RAISED, permission="webhook:manage")
        first = threads.submit(hold, app.request("POST", "things", b" " * MIB))
        inside.wait(10)
        refused = take(app.request("POST", "things", b" " * 1000))
        other = f"Bearer {app.token('webhook:manage', other=True)}"
        taken = take(app.request("POST", "things", b" " * MIB, authorization=other))
        done.wait(10)
        assert first.result(10).status_code == taken.status_code == 200
        assert (refused.status_code, said(refused)["code"]) == (503, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        assert app.hub.bodies.lent == 0
        assert take(app.request("POST", "things", b" " * MIB)).status_code == 200


def message(body: bytes, more: bool = True) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


class Peer:
    """The messages of a client, and how many of them were asked for."""

    def __init__(self, *messages: dict[str, object], waits: bool = False) -> None:
        self.messages, self.read, self.waits = messages, 0, waits

    async def __call__(self) -> dict[str, object]:
        if self.read == len(self.messages):
            await asyncio.sleep(3600)
        self.read += 1
        return self.messages[self.read - 1]


CHUNKED = {"transfer-encoding": "chunked"}


@pytest.mark.parametrize(
    ("peer", "error", "read"),
    [
        (Peer(*[message(b"x" * 64)] * 50), BodyTooLarge, 16),
        (Peer(message(b"x")), BodyTooSlow, 1),
        (Peer(message(b"x"), {"type": "http.disconnect"}), ClientGone, 2),
    ],
)
def test_a_body_is_read_no_further_than_it_is_refused(peer: Peer, error: type[Exception], read: int) -> None:
    budget = MemoryBudget(10_000)
    reader = BodyReader(1000, budget, seconds=0.05)

    async def attack() -> None:
        async with reader.body(CHUNKED, peer, "a"):
            pytest.fail("The body was taken.")

    with pytest.raises(error):
        asyncio.run(attack())
    assert (peer.read, budget.lent) == (read, 0)


def test_the_host_stops_reading_bodies_once_they_take_up_its_budget() -> None:
    budget = MemoryBudget(1000)
    reader = BodyReader(1000, budget)
    first = Peer(message(b"x" * 300, more=False))
    hostile = [first, *(Peer(*[message(b"x" * 100)] * 9, message(b"", more=False)) for _ in range(20))]

    async def send(peer: Peer, sender: str, seconds: float = 0.0) -> int:
        async with reader.body({"content-length": "1000"}, peer, sender) as body:
            await asyncio.sleep(seconds)
            return len(body)

    async def attack() -> tuple[list[int | BaseException], int]:
        held = asyncio.gather(*(send(peer, "hostile", 0.1) for peer in hostile), return_exceptions=True)
        await asyncio.sleep(0.01)
        other = await send(Peer(message(b"x" * 300, more=False)), "another")
        return await held, other

    ends, other = asyncio.run(attack())
    assert other == 300
    assert [end for end in ends if isinstance(end, int)] == [300]
    assert sum(isinstance(end, Busy) for end in ends) == 20
    assert {peer.read for peer in hostile} == {1, 3}
    assert budget.lent == 0


@pytest.mark.parametrize("flaw", [b"0", b"NaN"])
@pytest.mark.parametrize("unit", [b'{"":[]},', b"[[[[]]]],"])
async def test_the_loop_goes_on_while_a_payload_of_tiny_values_is_read(
    app: App, unit: bytes, flaw: bytes
) -> None:
    operation = next(operation for operation in OPERATIONS if operation.name == "test_webhook")
    trigger = trigger_of(operation, run_test_webhook)
    values = unit * (1_000_000 // len(unit)) + flaw
    body = b'{"eventType":"A b","data":{"x":[' + values + b"]}}"
    request = app.request("POST", f"webhooks/{uuid4()}/test", body)
    await trigger(app.request("POST", f"webhooks/{uuid4()}/test", b"{}"))  # what is loaded at first use
    began = time.thread_time()
    answer = await trigger(request)
    assert time.thread_time() - began < 0.05, "The body was read on the loop."
    assert answer.status_code == 422


@pytest.mark.parametrize("unit", [b'{"":[]},', b"[],", b"{},", b"[[[[]]]],"])
def test_a_payload_of_tiny_values_keeps_the_interpreter_for_less_than_a_late_heartbeat(unit: bytes) -> None:
    """The check of a payload is one call into C, during which no other thread runs."""
    body = b"[" + unit * (MIB // len(unit) - 1) + b"0]"
    began = time.process_time()
    check_json(body)
    assert time.process_time() - began < 0.25


BOMBS = {
    "nested lists": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "just deep enough": b'{"a":' * 199 + b"1" + b"}" * 199,
    "a number of a million digits": b"1" * 1_000_000,
    "a fraction of a million digits": b"0." + b"1" * 1_000_000,
    "an exponent of a million digits": b"1e" + b"1" * 1_000_000,
    "numbers of 4,300 digits": b"[" + b",".join([b"7" * 4_300] * 20) + b"]",
    "names that repeat": b"{" + b",".join([b'"a":1'] * 10_000) + b"}",
    "half characters": b'["' + b"\\ud800" * 10_000 + b'"]',
    "no text": b'"\xff\xfe"',
}


def models_of(operation: ApiOperation) -> tuple[type[BaseModel], ...]:
    if operation.body is None:
        return ()
    return operation.body if isinstance(operation.body, tuple) else (operation.body,)


@pytest.mark.parametrize("bomb", BOMBS)
def test_json_that_is_a_bomb_is_refused_by_every_operation_that_takes_a_body(app: App, bomb: str) -> None:
    """As the whole body, as each of its members, and beneath `data`."""
    for model in {model for operation in OPERATIONS for model in models_of(operation)}:
        names = [field.alias or name for name, field in model.model_fields.items()]

        def read(call: Call, model: type[BaseModel] = model) -> ApiResponse:
            call.body(model)
            return ApiResponse(Thing())

        handle = app.serve(read, permission="webhook:manage", body_limit=RAISED)
        bodies = [
            BOMBS[bomb],
            b"{" + b",".join(b'"%b":%b' % (name.encode(), BOMBS[bomb]) for name in names) + b"}",
        ]
        for body in bodies:
            answer = handle(app.request("POST", "things", body))
            assert answer.status_code in (200, 400, 413, 422), (model, said(answer))


def test_a_token_whose_header_is_a_bomb_is_no_token(app: App) -> None:
    import base64

    def part(text: bytes) -> str:
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    good = app.token("webhook:manage").split(".")
    for header in (b"[" * 9_000, b'{"a":' * 2_000, b'{"alg":"RS256","kid":' + b"1" * 9_000 + b"}"):
        for token in (f"{part(header)}.{good[1]}.{good[2]}", f"{good[0]}.{part(header)}.{good[2]}"):
            request = app.request("GET", "webhooks", authorization=f"Bearer {token}")
            answer = app.call("list_webhooks", request)
            assert isinstance(answer, func.HttpResponse) and answer.status_code == 401
