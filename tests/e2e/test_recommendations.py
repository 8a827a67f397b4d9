"""Recommendations over real HTTP: an endpoint refuses a type of event, and is unsubscribed from it."""

from __future__ import annotations

from typing import Any

import pytest

from bench.harness import HostProcess
from tests.e2e.conftest import Api, Receiver, fresh_tenant

pytestmark = pytest.mark.e2e
_PATH = "/insights/recommendations"


def _listed(api: Api, query: str = "") -> list[dict[str, Any]]:
    status, page = api("GET", f"{_PATH}{query}")
    assert status == 200, page
    assert page["total"] == len(page["items"])
    return list(page["items"])


def _refusing(host: HostProcess, receiver: Receiver) -> tuple[Api, dict[str, Any]]:
    """A webhook of which the receiver took one type of event 25 times, and refused another as often."""
    api = fresh_tenant(host)
    webhook = api.webhook(receiver.url, eventTypes=["order.created", "user.deleted"])
    receiver.respond = lambda request: (422 if request["json"]["type"] == "user.deleted" else 200, {})
    host.advance(3600)  # past the hour of its creation
    for n in range(1, 6):  # few at a time: the receiver's backlog is short
        events = [{"type": name, "data": {}} for name in ("order.created", "user.deleted") for _ in range(5)]
        assert api("POST", "/events", {"events": events})[0] == 202
        receiver.wait(10 * n)
    api.eventually(lambda: len(api.deliveries(webhook["webhookId"], "&status=Failed")) == 25)
    host.advance(3600)
    return api, webhook


def test_a_recommendation_is_shown_dismissed_reopened_and_applied__10_1(
    own_host: HostProcess, receiver: Receiver
) -> None:
    api, webhook = _refusing(own_host, receiver)
    [one] = _listed(api, "?status=Open")
    assert (one["kind"], one["status"], one["wordedBy"]) == ("webhook-refused-events", "Open", "rules")
    assert one["apply"]["body"] == {"eventTypes": ["order.created"]}
    evidence = {figure["name"]: figure["value"] for figure in one["evidence"]}
    assert (evidence["refusedDeliveries"], evidence["deliveriesLookedAt"]) == (25, 50)
    path = f"{_PATH}/{one['recommendationId']}"

    assert api("POST", f"{path}/reopen")[0] == 409
    assert api("POST", f"{path}/dismiss", {})[0] == 422
    assert api("POST", f"{path}/dismiss", {"reason": "Soon.", "until": "2020-01-01T00:00:00Z"})[0] == 422
    status, dismissed = api("POST", f"{path}/dismiss", {"reason": "Soon."})
    assert (status, dismissed["status"], dismissed["decision"]["reason"]) == (200, "Dismissed", "Soon.")
    assert _listed(api, "?status=Open") == []
    assert api("POST", f"{path}/apply")[0] == 409
    assert api("POST", f"{path}/reopen")[1]["status"] == "Open"

    assert api("POST", f"{path}/apply", if_match='"99"')[0] == 412
    status, applied = api("POST", f"{path}/apply", if_match=f'"{one["subject"]["version"]}"')
    assert (status, applied["status"]) == (200, "Applied")
    assert api("GET", f"/webhooks/{webhook['webhookId']}")[1]["eventTypes"] == ["order.created"]
    assert api("POST", f"{path}/apply")[0] == 409
    assert api("GET", path)[1]["status"] == "Applied"
    assert [one["status"] for one in _listed(api)] == ["Applied"]
    _, audit = api("GET", "/audit?targetType=recommendation")
    assert sorted(row["action"] for row in audit["items"]) == [
        "recommendation.applied",
        "recommendation.dismissed",
        "recommendation.reopened",
    ]


def test_what_is_refused(own_host: HostProcess, receiver: Receiver) -> None:
    api, webhook = _refusing(own_host, receiver)
    [one] = _listed(api)
    path = f"{_PATH}/{one['recommendationId']}"
    stranger = fresh_tenant(own_host)
    for action in ("apply", "reopen"):
        assert stranger("POST", f"{path}/{action}")[0] == 404
    assert stranger("GET", path)[0] == 404
    assert api("GET", f"{_PATH}/not-a-guid")[0] == 404
    assert api("GET", f"{_PATH}?kind=webhook-nonsense")[0] == 422
    assert fresh_tenant(own_host, "webhook:manage")("GET", _PATH)[0] == 403
    assert api("PUT", f"/webhooks/{webhook['webhookId']}", {"timeoutSeconds": 20})[0] == 200
    status, problem = api("POST", f"{path}/apply")
    assert (status, problem["code"]) == (409, "recommendation-gone")
    assert api("GET", path)[0] == 404
