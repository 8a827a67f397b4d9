"""Every function of the packaged app, called by real requests under the library of Azure's own Python worker."""

from __future__ import annotations

import base64
import json
import re
import uuid
from pathlib import Path

import pytest

from tests.worlds.hub_api import Api, Receiver
from tests.worlds.worker_host import WorkerHost, as_bytes

pytestmark = pytest.mark.e2e

_NOBODY = str(uuid.uuid4())
#: What the durable functions get for a job that is not there.
_ACTIVITIES = {
    "plan_sync": {"jobId": _NOBODY, "run": 1},
    "sync_batch": {"jobId": _NOBODY, "run": 1, "position": 0, "size": 10},
    "conclude_sync": {"jobId": _NOBODY, "run": 1, "outcome": {"state": "stopped"}},
}
_ORCHESTRATIONS = {
    "sync_job": {"jobId": _NOBODY, "run": 1},
    "sync_streams": {"jobId": _NOBODY, "run": 1, "positions": [0], "size": 10},
    "sync_step": {"jobId": _NOBODY, "run": 1, "position": 0, "full": 10, "size": 10, "tries": 0},
}


def test_the_package_holds_the_app_and_nothing_that_is_for_developers(package: Path) -> None:
    assert {path.name for path in package.iterdir()} == {
        "domain",
        "function_app.py",
        "functions",
        "host.json",
        "infra",
        "requirements.txt",
    }


def test_the_library_of_the_worker_indexes_and_loads_the_package(worker: WorkerHost) -> None:
    assert worker.runtime == "3.13"
    assert len(worker.functions) > 100
    # By these the host decides in which form a request is sent.
    assert worker.capabilities["RawHttpBodyBytes"] == "true"
    assert worker.capabilities["RpcHttpBodyOnly"] == "true"
    # With this one the host would take no log lines from the worker.
    assert "WorkerOpenTelemetryEnabled" not in worker.capabilities


def test_every_http_function_answers_each_of_its_methods(worker: WorkerHost) -> None:
    token = {"authorization": f"Bearer {worker.host.token()}"}
    called = 0
    for name in worker.of_kind("httpTrigger"):
        trigger = worker.trigger(name)
        route = re.sub(r"\{[^}]*\}", _NOBODY, trigger["route"])
        params = dict.fromkeys(re.findall(r"\{\*?(\w+)[^}]*\}", trigger["route"]), _NOBODY)
        for method in trigger.get("methods") or ["GET"]:
            answer = worker.http(name, method, route, headers=token, params=params)
            assert answer.failure == "", name
            status = int(answer.value["http"]["statusCode"])
            assert status < 500, (name, method, answer.value)
            called += 1
    assert called > 100


def test_every_timer_runs(worker: WorkerHost) -> None:
    timers = worker.of_kind("timerTrigger")
    assert len(timers) > 20
    assert {name: worker.tick(name).failure for name in timers} == dict.fromkeys(timers, "")


def test_every_queue_takes_a_batch_of_what_it_cannot_read(worker: WorkerHost) -> None:
    queues = worker.of_kind("serviceBusTrigger")
    assert len(queues) >= 4
    for name in queues:
        answer = worker.messages(name, as_bytes("{}", "not JSON", "[]", "null", '"text"'), 5, ["m-1"])
        assert answer.failure == "", name


def test_every_activity_and_orchestrator_answers(worker: WorkerHost) -> None:
    assert sorted(worker.of_kind("activityTrigger")) == sorted(_ACTIVITIES)
    assert sorted(worker.of_kind("orchestrationTrigger")) == sorted(_ORCHESTRATIONS)
    for name, task in _ACTIVITIES.items():
        assert worker.invoke(name, {"string": json.dumps(task)}).failure == "", name
    for name, task in _ORCHESTRATIONS.items():
        moment = "2026-01-01T00:00:00.0000000Z"
        begun = {"EventId": -1, "IsPlayed": False, "Timestamp": moment}
        started = {**begun, "EventType": 0, "Name": name, "Version": "", "Input": json.dumps(task)}
        body = {
            "history": [{**begun, "EventType": 12}, started],
            "input": json.dumps(task),
            "instanceId": _NOBODY,
            "isReplaying": False,
            "parentInstanceId": None,
            "upperSchemaVersion": 1,
            "upperSchemaVersionNew": 2,
            "maximumShortTimerDuration": "6.00:00:00",
            "longRunningTimerIntervalDuration": "3.00:00:00",
        }
        answer = worker.invoke(name, {"string": json.dumps(body)})
        assert answer.failure == "", name
        decided = json.loads(answer.value["json"])
        assert not decided["isDone"]
        assert decided["actions"][0], name


def test_a_cookie_leaves_as_a_cookie_and_comes_back(worker: WorkerHost, api: Api) -> None:
    answer = worker.http("oauth_callback", "GET", "oauth/callback", headers={"cookie": "a=1; hub=x; b=ü"})
    assert answer.failure == ""
    assert int(answer.value["http"]["statusCode"]) < 500


def test_values_of_a_header_that_came_several_times_are_one(worker: WorkerHost) -> None:
    headers = {
        "x-forwarded-for": "203.0.113.7:1,198.51.100.2",
        "x-request-id": "one,two",
        "accept": "a/b,c/d",
    }
    answer = worker.http("health_ready", "GET", "health/ready", headers=headers)
    assert (answer.failure, answer.value["http"]["statusCode"]) == ("", "200")


def test_a_request_without_a_body_is_told_what_is_missing(worker: WorkerHost) -> None:
    token = {"authorization": f"Bearer {worker.host.token()}", "content-type": "application/json"}
    answer = worker.http("create_webhook", "POST", "webhooks", headers=token)
    http = answer.value["http"]
    problem = json.loads(base64.b64decode(http["body"]["bytes"]))
    assert http["statusCode"] in ("400", "422")
    assert problem["code"]


def test_an_event_goes_through_the_worker_to_its_receiver(
    worker: WorkerHost, api: Api, receiver: Receiver
) -> None:
    webhook = api.webhook(receiver.url)
    event = api.raise_event()
    [request] = receiver.wait(1)
    assert request["headers"]["webhook-id"] == event
    api.eventually(lambda: api.deliveries(webhook["webhookId"], "&status=Delivered"))
    ran = {each["function"] for each in worker.journal(kind="invocation", failure="")}
    assert ran >= {"create_webhook", "raise_events", "fan_out_events", "deliver_webhooks"}


def test_no_line_of_the_app_is_dropped_by_the_host_and_each_delivery_is_told_once(
    worker: WorkerHost, api: Api, receiver: Receiver
) -> None:
    webhook = api.webhook(receiver.url)
    api.raise_event()
    [delivery] = api.eventually(lambda: api.deliveries(webhook["webhookId"], "&status=Delivered"))

    def told() -> list[dict[str, object]]:
        printed = worker.journal(kind="printed", stream="stdout")
        lines = [json.loads(each["line"]) for each in printed if each["line"].startswith("{")]
        return [line for line in lines if delivery["webhookDeliveryId"] in str(line)]

    worker.eventually(told)
    assert [line["message"] for line in told()] == ["webhook delivery attempted"]
    assert worker.journal(kind="log", kept=False, own=False) == []


@pytest.mark.parametrize(
    "ids",
    [["a", "b", "c"], ["b", "c"], ["a", "c"], ["a", "b"], ["b"], []],
    ids=["all there", "no first", "no second", "no last", "one alone", "none"],
)
def test_events_whose_messages_lack_ids_are_each_delivered_once(
    worker: WorkerHost, receiver: Receiver, ids: list[str]
) -> None:
    tenant = str(uuid.uuid4())
    api = Api(worker.host, worker.host.token("--tenant", tenant))
    api.webhook(receiver.url)
    event = {"tenantId": tenant, "type": "BookingConfirmed"}
    bodies = [json.dumps({**event, "data": {"n": number}}) for number in range(3)]
    batch = [f"{tenant}-{each}" for each in ids]
    for _ in range(2):  # the second time as after a lock that ran out: the same batch again
        assert worker.messages("fan_out_events", as_bytes(*bodies), 3, batch).failure == ""
    receiver.wait(3)
    api.raise_event(data={"n": "last"})
    api.eventually(lambda: "last" in [each["json"]["data"]["n"] for each in receiver.received])
    assert sorted(each["json"]["data"]["n"] for each in receiver.received[:3]) == [0, 1, 2]
    assert len({each["headers"]["webhook-id"] for each in receiver.received}) == len(receiver.received) == 4


def test_every_function_was_invoked(worker: WorkerHost) -> None:
    """The last of this file: what the tests before it left out is named."""
    assert worker.functions.keys() - {each["function"] for each in worker.journal(kind="invocation")} == set()
