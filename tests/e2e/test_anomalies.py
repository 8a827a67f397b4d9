"""Anomalies over real HTTP: a key is used from elsewhere, a webhook hears of it, somebody takes it on."""

from __future__ import annotations

import pytest

from bench.harness import HostProcess
from tests.worlds.hub_api import Api, Receiver, alerted, fresh_tenant

pytestmark = pytest.mark.e2e
DAY = 86_400


def _issued(api: Api) -> str:
    status, issued = api("POST", "/apikeys", {"keyName": "Kiosk", "scopes": ["events:read"]})
    assert status == 201, issued
    return str(issued["key"])


def _used_from(api: Api, key: str, address: str) -> None:
    status, verified = api("POST", "/apikeys/verify", {"key": key, "ip": address})
    assert (status, verified["valid"]) == (200, True)


def test_a_key_used_from_elsewhere_is_told_and_taken_on(
    clocked_host: HostProcess, receiver: Receiver
) -> None:
    api = fresh_tenant(clocked_host)
    api.webhook(receiver.url, eventTypes=["AnomalyDetected", "AlertRaised"])
    key = _issued(api)
    _used_from(api, key, "192.0.2.7")
    clocked_host.advance(DAY + 60)
    _used_from(api, key, "192.0.2.99")
    assert api("GET", "/insights/anomalies")[1]["total"] == 0
    _used_from(api, key, "203.0.113.5")

    status, page = api("GET", "/insights/anomalies?metric=new-network&acknowledged=false")
    assert (status, page["total"]) == (200, 1), page
    [found] = page["items"]
    assert (found["subjectType"], found["status"], found["expected"]) == ("apikey", "Ended", None)
    assert "203.0.113.0/24" in found["detail"]
    api.eventually(lambda: receiver.received)
    assert receiver.received[0]["json"]["type"] == "AnomalyDetected"
    assert receiver.received[0]["json"]["data"]["anomalyId"] == found["anomalyId"]

    [alert] = alerted(clocked_host, api)
    assert (alert["kind"], alert["subject"]) == ("key-anomaly", found["subjectId"])
    assert alert["details"]["anomalyId"] == found["anomalyId"]

    path = f"/insights/anomalies/{found['anomalyId']}"
    assert api("POST", f"{path}/acknowledge", {"note": "The new kiosk."})[0] == 200
    status, refused = api("POST", f"{path}/acknowledge")
    assert (status, refused["status"]) == (409, 409)
    status, snoozed = api("POST", f"{path}/snooze", {"hours": 24})
    assert (status, snoozed["note"]) == (200, "The new kiosk.")
    assert api("POST", f"{path}/snooze", {"hours": 0})[0] == 422
    status, shown = api("GET", path)
    assert (status, shown["series"], shown["snoozedUntil"]) == (200, [], snoozed["snoozedUntil"])
    assert api("GET", "/insights/anomalies?acknowledged=false")[1]["total"] == 0


def test_anomalies_are_ones_own(host: HostProcess) -> None:
    api = fresh_tenant(host)
    missing = "/insights/anomalies/00000000-0000-7000-8000-000000000000"
    assert api("GET", missing)[0] == 404
    assert api("POST", f"{missing}/acknowledge")[0] == 404
    reader = fresh_tenant(host, "insights:read")
    assert reader("GET", "/insights/anomalies")[0] == 200
    status, refused = reader("POST", f"{missing}/snooze", {"hours": 1})
    assert (status, "insights:manage" in refused["detail"]) == (403, True)
    assert fresh_tenant(host, "alerts:read")("GET", "/insights/anomalies")[0] == 403


def test_requests_with_a_key_are_signals(host: HostProcess) -> None:
    api = fresh_tenant(host)
    key = _issued(api)
    for _ in range(3):
        _used_from(api, key, "192.0.2.7")
    status, series = api("GET", "/insights/signals?kind=ApiKey")
    assert status == 200
    assert series["totals"]["total"] == 3
    assert series["items"][-1]["succeeded"] + series["items"][-2]["succeeded"] == 3
