"""A host whose realtime messages go through SignalR Service: to Microsoft's own client, while a job runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.harness import HostProcess, running
from bench.sync_world import SyncClient, serving
from infra.clock import AdjustableClock
from tests.loopback import signalr
from tests.loopback.javascript_client import javascript_client
from tests.loopback.plug import Plug, plugged
from tests.loopback.signalr_client import connected
from tests.worlds.hub_api import Api, Receiver, fresh_tenant

pytestmark = [pytest.mark.e2e, pytest.mark.azure]


@contextmanager
def service_of(home: Path) -> Iterator[tuple[signalr.SignalRService, Plug]]:
    """SignalR Service behind a plug, by the clock of the host over `home`."""
    clock = AdjustableClock(home / "clock")
    with plugged() as plug, signalr.running(endpoint=f"http://127.0.0.1:{plug.port}", clock=clock) as service:
        plug.target = service.port
        yield service, plug


@pytest.fixture(scope="module")
def service_and_host(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[signalr.SignalRService, Plug, HostProcess]]:
    home = tmp_path_factory.mktemp("signalr") / "hub"
    with (
        service_of(home) as (service, plug),
        running(home, AzureSignalRConnectionString=service.connection_string) as host,
    ):
        yield service, plug, host


@pytest.fixture
def service(service_and_host: tuple[signalr.SignalRService, Plug, HostProcess]) -> signalr.SignalRService:
    return service_and_host[0]


@pytest.fixture
def plug(service_and_host: tuple[signalr.SignalRService, Plug, HostProcess]) -> Plug:
    return service_and_host[1]


@pytest.fixture
def host(service_and_host: tuple[signalr.SignalRService, Plug, HostProcess]) -> HostProcess:
    return service_and_host[2]


def test_the_javascript_client_follows_a_sync_job_to_its_end(
    host: HostProcess, service: signalr.SignalRService
) -> None:
    api = fresh_tenant(host)
    sync = SyncClient(host, api.token)
    with serving(3_000) as source, javascript_client(host.url, api.token, "syncProgress") as client:
        job_id = sync.start(sync.integration(source.url))
        told = client.payloads(lambda one: one["status"] == "Completed")
    assert {message["dataSyncJobId"] for message in told} == {job_id}
    counts = [message["recordsProcessed"] for message in told]
    assert counts == sorted(counts)
    assert counts[-1] == sync.job(job_id)["recordsProcessed"] >= 3_000
    assert len(counts) >= 3, "a batch has 1,000 records"
    assert any(request.endswith(".syncProgress/:send") for request in service.requests)


def test_a_key_that_is_revoked_while_the_service_refuses_does_not_stay_connected__UC_AK_02(
    host: HostProcess, service: signalr.SignalRService
) -> None:
    api = fresh_tenant(host)
    _, key = api("POST", "/apikeys", {"keyName": "Screen", "scopes": ["webhook:manage"]})
    _, negotiated = Api(host, key["key"])("POST", "/realtime/negotiate")
    with connected(negotiated["url"], negotiated["accessToken"]) as client:
        service.down = 1_000
        assert api("DELETE", f"/apikeys/{key['apiKeyId']}")[0] == 204
        assert client.hears_nothing(0.1)
        service.down = 0
        host.advance(120)
        assert client.until_closed(5.0)["allowReconnect"] is False


def test_the_javascript_client_comes_back_after_an_outage_and_hears_again(
    host: HostProcess, plug: Plug, receiver: Receiver
) -> None:
    api = fresh_tenant(host)
    webhook = api.webhook(receiver.url, eventTypes=["BookingConfirmed"])
    with javascript_client(host.url, api.token, "deliveryUpdated") as client:
        plug.pull()
        status, problem = api("POST", "/realtime/negotiate")
        assert (status, problem["code"]) == (503, "unavailable")
        assert "SignalR" in problem["detail"]
        api.raise_event()
        receiver.wait(1)
        plug.restore()
        assert client.line() == "reconnected"
        event_id = api.raise_event()
        receiver.wait(2)
        [delivery] = [
            candidate
            for candidate in api.deliveries(webhook["webhookId"])
            if candidate["eventId"] == event_id
        ]
        told = client.payloads(lambda one: one["webhookDeliveryId"] == delivery["webhookDeliveryId"])
        assert told[-1]["deliveryStatus"] == "Delivered"
