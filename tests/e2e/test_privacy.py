"""Export and erasure of a person over HTTP (17.3)."""

from __future__ import annotations

from typing import Any

import pytest

from bench.harness import HostProcess, call
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

pytestmark = pytest.mark.e2e
JANE = "jane.roe@example.com"


def test_a_person_is_exported_then_erased(clocked_host: HostProcess, receiver: Receiver) -> None:
    api = fresh_tenant(clocked_host)
    webhook = api.webhook(receiver.url)
    api.raise_event(data={"booking": 42, "guest": {"email": JANE, "name": "Jane"}})
    receiver.wait(1)
    subject = {"identifiers": [JANE]}

    status, export = api("POST", "/privacy/export", subject, Idempotency_Key="export-jane")
    assert (status, export["isComplete"], export["cursor"]) == (200, True, None)
    assert [item["kind"] for item in export["items"]] == ["Event"]
    assert export["items"][0]["data"]["data"]["guest"]["name"] == "Jane"

    status, asked = api("POST", "/privacy/erase", subject, Idempotency_Key="erase-jane")
    assert (status, asked["status"]) == (202, "Running")
    assert api("POST", "/privacy/erase", subject, Idempotency_Key="erase-jane")[1] == asked
    clocked_host.advance(120)

    def completed() -> Any:
        erasure = api("GET", f"/privacy/erasures/{asked['erasureId']}")[1]
        return erasure if erasure["status"] == "Completed" else None

    erasure = api.eventually(completed, seconds=30)
    assert erasure["erased"]["events"] == 1
    assert api("POST", "/privacy/export", subject, Idempotency_Key="export-jane")[1]["items"] == []
    delivery = api.deliveries(webhook["webhookId"])[0]
    path = f"/webhooks/{webhook['webhookId']}/deliveries/{delivery['webhookDeliveryId']}"
    status, kept = api("GET", path)
    assert (status, kept["deliveryStatus"]) == (200, "Delivered")
    assert JANE not in str(kept)
    assert "Jane" not in str(kept)
    assert api("GET", "/audit?action=privacy.*")[1]["total"] == 4
    assert JANE not in str(api("GET", "/audit")[1])
    assert api("GET", "/audit/verify")[1]["intact"]


def test_what_a_caller_may_not_do_is_refused(host: HostProcess) -> None:
    api = fresh_tenant(host, "integration:admin,integration:manage,audit:read")
    for method, path in (
        ("POST", "/privacy/export"),
        ("POST", "/privacy/erase"),
        ("POST", "/privacy/allow"),
        ("GET", "/privacy/erasures"),
    ):
        status, problem = api(method, path, {"identifiers": [JANE]} if method == "POST" else None)
        assert (status, problem["code"]) == (403, "forbidden"), path
    assert call("POST", f"{host.url}/privacy/erase", {"identifiers": [JANE]})[0] == 401


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"identifiers": ["a"]}, "/identifiers/0"),
        ({"identifiers": [JANE] * 21}, "/identifiers"),
        ({"identifiers": ["jane\u0000roe"]}, "/identifiers/0"),
        ({"records": [{"stream": "contacts", "externalId": "1"}]}, "/records/0/integrationId"),
    ],
)
def test_an_unclear_subject_is_refused(api: Api, body: dict[str, Any], pointer: str) -> None:
    for path in ("/privacy/export", "/privacy/erase", "/privacy/allow"):
        status, problem = api("POST", path, body)
        assert (status, problem["errors"][0]["pointer"]) == (422, pointer), problem


def test_an_unknown_erasure_and_another_tenants_are_404(host: HostProcess, api: Api) -> None:
    status, asked = api("POST", "/privacy/erase", {"identifiers": [JANE]})
    assert status == 202
    other = fresh_tenant(host)
    assert other("GET", f"/privacy/erasures/{asked['erasureId']}")[0] == 404
    assert api("GET", "/privacy/erasures/nonsense")[0] == 404
    assert api("GET", "/privacy/erasures")[1]["items"] == [asked]
