"""Recommendations over real HTTP: an endpoint refuses a type of event, and is unsubscribed from it."""

from __future__ import annotations

import os

import pytest

from bench.harness import HostProcess
from tests.worlds.azure_services import SWITCH
from tests.worlds.hub_api import Receiver, fresh_tenant
from tests.worlds.refusing_receiver import PATH, listed, refusing

pytestmark = pytest.mark.e2e


def test_a_recommendation_is_shown_dismissed_reopened_and_applied__10_1(
    clocked_host: HostProcess, receiver: Receiver
) -> None:
    api, [webhook] = refusing(clocked_host, receiver)
    [one] = listed(api, "?status=Open")
    words = "model" if os.environ.get(SWITCH) else "rules"
    assert (one["kind"], one["status"], one["wordedBy"]) == ("webhook-refused-events", "Open", words)
    assert one["apply"]["body"] == {"eventTypes": ["order.created"]}
    evidence = {figure["name"]: figure["value"] for figure in one["evidence"]}
    assert (evidence["refusedDeliveries"], evidence["deliveriesLookedAt"]) == (25, 50)
    path = f"{PATH}/{one['recommendationId']}"

    assert api("POST", f"{path}/reopen")[0] == 409
    assert api("POST", f"{path}/dismiss", {})[0] == 422
    assert api("POST", f"{path}/dismiss", {"reason": "Soon.", "until": "2020-01-01T00:00:00Z"})[0] == 422
    status, dismissed = api("POST", f"{path}/dismiss", {"reason": "Soon."})
    assert (status, dismissed["status"], dismissed["decision"]["reason"]) == (200, "Dismissed", "Soon.")
    assert listed(api, "?status=Open") == []
    assert api("POST", f"{path}/apply")[0] == 409
    assert api("POST", f"{path}/reopen")[1]["status"] == "Open"

    assert api("POST", f"{path}/apply", if_match='"99"')[0] == 412
    status, applied = api("POST", f"{path}/apply", if_match=f'"{one["subject"]["version"]}"')
    assert (status, applied["status"]) == (200, "Applied")
    assert api("GET", f"/webhooks/{webhook['webhookId']}")[1]["eventTypes"] == ["order.created"]
    assert api("POST", f"{path}/apply")[0] == 409
    assert api("GET", path)[1]["status"] == "Applied"
    assert [recommendation["status"] for recommendation in listed(api)] == ["Applied"]
    _, audit = api("GET", "/audit?targetType=recommendation")
    assert sorted(row["action"] for row in audit["items"]) == [
        "recommendation.applied",
        "recommendation.dismissed",
        "recommendation.reopened",
    ]


def test_what_is_refused(clocked_host: HostProcess, receiver: Receiver) -> None:
    api, [webhook] = refusing(clocked_host, receiver)
    [one] = listed(api)
    path = f"{PATH}/{one['recommendationId']}"
    stranger = fresh_tenant(clocked_host)
    for action in ("apply", "reopen"):
        assert stranger("POST", f"{path}/{action}")[0] == 404
    assert stranger("GET", path)[0] == 404
    assert api("GET", f"{PATH}/not-a-guid")[0] == 404
    assert api("GET", f"{PATH}?kind=webhook-nonsense")[0] == 422
    assert fresh_tenant(clocked_host, "webhook:manage")("GET", PATH)[0] == 403
    assert api("PUT", f"/webhooks/{webhook['webhookId']}", {"timeoutSeconds": 20})[0] == 200
    status, problem = api("POST", f"{path}/apply")
    assert (status, problem["code"]) == (409, "recommendation-gone")
    assert api("GET", path)[0] == 404
