"""Requests and messages that once took a process down or held it for minutes, through the library of Azure's worker:
each is answered, at a bounded price, and the worker goes on."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Iterator

import psutil
import pytest

from tests.worlds.worker_environment import long_run
from tests.worlds.worker_host import WorkerHost

pytestmark = [pytest.mark.e2e, long_run]

MIB = 1024 * 1024
_SECONDS = 8.0
_EVENT = b'{"type":"BookingConfirmed","data":'


@pytest.fixture(autouse=True)
def _price(worker: WorkerHost) -> Iterator[None]:
    process = psutil.Process(worker.pid)
    before, memory = process.cpu_times(), process.memory_info().rss
    yield
    after = process.cpu_times()
    assert after.user - before.user < _SECONDS
    assert process.memory_info().rss - memory < 400 * MIB
    assert worker.http("health_ready", "GET", "health/ready").value["http"]["statusCode"] == "200"


BODIES = {
    "more than any body may have": _EVENT + b'"' + b"x" * (9 * MIB) + b'"}',
    "lists within lists": _EVENT + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects within objects": _EVENT + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a number of many digits": _EVENT + b"9" * 200_000 + b"}",
    "a number beyond all": _EVENT + b"1e999}",
    "no number": _EVENT + b"NaN}",
    "many elements": b'{"events":[' + b"{}," * 400_000 + b"{}]}",
    "half a character": _EVENT + b'"\\ud800"}',
    "no text": _EVENT + b'"\xff\xfe"}',
    "a zero in the type": b'{"type":"a\\u0000b","data":{}}',
    "one name many times": b"{" + b'"type":"A",' * 200_000 + b'"data":{}}',
    "compressed": gzip.compress(b"\0" * (32 * MIB)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("name", ["raise_events", "create_webhook"])
def test_a_body_that_explodes_is_refused(worker: WorkerHost, name: str, body: bytes) -> None:
    headers = {
        "authorization": f"Bearer {worker.host.token()}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **({"content-encoding": "gzip"} if body.startswith(b"\x1f\x8b") else {}),
    }
    answer = worker.http(name, "POST", worker.trigger(name)["route"], body, headers=headers)
    assert answer.failure == ""
    http = answer.value["http"]
    assert 400 <= int(http["statusCode"]) < 500
    assert json.loads(base64.b64decode(http["body"]["bytes"]))["code"]


def test_a_query_and_headers_without_end_are_answered(worker: WorkerHost) -> None:
    headers = {
        "authorization": "Bearer " + "x." * 30_000,
        "cookie": "; ".join(f"c{n}={n}" for n in range(5_000)),
        "traceparent": "0" * 60_000,
        "x-forwarded-for": ",".join(["203.0.113.7"] * 5_000),
    }
    query = {f"p{n}": "v" * 20 for n in range(5_000)} | {"pageSize": "9" * 5_000, "cursor": "A" * 60_000}
    for name in ("list_webhooks", "oauth_callback"):
        answer = worker.http(name, "GET", worker.trigger(name)["route"], headers=headers, query=query)
        assert answer.failure == ""
        assert 400 <= int(answer.value["http"]["statusCode"]) < 500


@pytest.mark.parametrize("part", ["\0", "../" * 5_000, "x" * 60_000, "\ud7ff\uffff", "%00", "null"])
def test_a_part_of_the_path_that_is_no_id_is_refused(worker: WorkerHost, part: str) -> None:
    headers = {"authorization": f"Bearer {worker.host.token()}"}
    params = {"id": part}
    answer = worker.http("get_webhook", "GET", "webhooks/x", headers=headers, params=params)
    assert answer.failure == ""
    assert answer.value["http"]["statusCode"] in ("400", "404")


def test_an_incoming_webhook_of_many_elements_for_nobody_is_refused(worker: WorkerHost) -> None:
    body = b"[" + b"0," * (MIB // 2 - 2) + b"0]"
    name = "receive_webhook"
    params = {"integrationId": str(uuid.uuid4())}
    answer = worker.http(
        name, "POST", "incoming/x", body, params=params, headers={"content-type": "text/plain"}
    )
    assert answer.failure == ""
    assert 400 <= int(answer.value["http"]["statusCode"]) < 500


MESSAGES = {
    "lists within lists": b"[" * 120_000,
    "objects within objects": b'{"eventIds":' * 20_000,
    "a number of many digits": b"9" * 250_000,
    "no text": b"\xff" * 1_000,
    "nothing": b"",
    "zeros": b"\0" * 1_000,
    "ids that are numbers": b'{"initial":{"tenantId":5,"integrationId":6},"push":{"integrationId":7}}',
    "a run that is a list": b'{"cancel":[1],"jobId":{"a":1}}',
    "a run of many digits": b'{"cancel":' + b"9" * 4_000 + b',"jobId":"x"}',
    "a loop and a tenant that are numbers": b'{"loop":{"tenantId":1,"loopId":2},"tenantId":3,"eventIds":[]}',
    "ids without end": b'{"tenantId":"x","eventIds":[' + b'"a",' * 60_000 + b'"a"]}',
}


@pytest.mark.parametrize("body", MESSAGES.values(), ids=list(MESSAGES))
def test_a_message_that_explodes_takes_no_batch_with_it(worker: WorkerHost, body: bytes) -> None:
    bodies = {"collectionBytes": {"bytes": [base64.b64encode(body).decode()]}}
    for name in worker.of_kind("serviceBusTrigger"):
        assert worker.messages(name, bodies, 1, ["odd"]).failure == "", name
