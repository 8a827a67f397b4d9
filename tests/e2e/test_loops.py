"""Loops over real HTTP: a receiver that raises what it gets again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.worlds.hub_api import Api, Receiver

pytestmark = pytest.mark.e2e


def test_a_loop_over_http_is_held_and_released_by_a_person(api: Api, receiver: Receiver) -> None:
    def send_back(request: dict[str, Any]) -> tuple[int, dict[str, str]]:
        body = request["json"]
        api.raise_event(body["type"], data=body["data"])
        return 200, {}

    receiver.respond = send_back
    api.webhook(receiver.url, eventTypes=["Looping"])
    api.raise_event("Looping")
    [loop] = api.eventually(
        lambda: [loop for loop in api("GET", "/loops")[1]["items"] if loop["state"] == "Confirmed"],
        seconds=60,
    )
    assert (loop["eventType"], loop["held"], loop["trips"]) == ("Looping", 1, 1)
    assert len(receiver.received) < 1_000
    [alert] = api.eventually(lambda: api("GET", "/alerts?kind=event-loop")[1]["items"])
    assert (alert["subject"], alert["severity"], alert["status"]) == ("Looping", "Critical", "Open")
    receiver.respond = lambda request: (200, {})
    deliveries = len(receiver.received)
    status, released = api("POST", f"/loops/{loop['loopId']}/release", {"trustHours": 1})
    assert (status, released["state"]) == (202, "Released")
    receiver.wait(deliveries + 1)
    api.eventually(lambda: api("GET", "/alerts?kind=event-loop&status=Recovered")[1]["items"])
    status, problem = api("POST", f"/loops/{loop['loopId']}/release")
    assert (status, problem["code"]) == (409, "not-held")


def test_what_was_delivered_eight_times_in_a_row_is_refused(api: Api, receiver: Receiver) -> None:
    answers: list[tuple[int, Any]] = []

    def send_back(request: dict[str, Any]) -> tuple[int, dict[str, str]]:
        event = {"type": "Looping", "data": {"n": len(answers)}}
        answers.append(api("POST", "/events", event, webhook_hops=request["headers"]["webhook-hops"]))
        return 200, {}

    receiver.respond = send_back
    api.webhook(receiver.url, eventTypes=["Looping"])
    api.raise_event("Looping")
    api.eventually(lambda: len(answers) == 8, seconds=20)
    assert [status for status, _ in answers] == [202] * 7 + [409]
    assert answers[-1][1]["code"] == "too-many-hops"
