"""With `HUB_TEST_AZURE` a host works over Azure's services alone; only the database is embedded."""

from __future__ import annotations

import os
from uuid import uuid4

import pytest

from bench.harness import HostProcess, call
from infra.authentication.development import mint_token
from tests.loopback.signalr_client import connected
from tests.worlds.azure_services import SWITCH
from tests.worlds.hub_api import Receiver, fresh_tenant

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.azure,
    pytest.mark.skipif(not os.environ.get(SWITCH), reason="run `make test-azure`"),
]


def test_no_embedded_twin_has_written_its_file(own_host: HostProcess, receiver: Receiver) -> None:
    api = fresh_tenant(own_host)
    negotiated = api("POST", "/realtime/negotiate")[1]
    with connected(negotiated["url"], negotiated["accessToken"]) as client:
        api.webhook(receiver.url)
        api.raise_event()
        assert client.message("deliveryUpdated")
    status, key = api("POST", "/apikeys", {"keyName": "Screen", "scopes": ["webhook:manage"]})
    assert status == 201
    assert call("GET", f"{own_host.url}/webhooks", token=key["key"])[0] == 200
    files = {path.name for path in own_host.home.iterdir()}
    assert "hub.db" in files
    twins = {"queue.db", "tables.db", "secrets.db", "master.key", "realtime.db", "dev-issuer.json"}
    assert files & twins == set()


def test_a_token_of_the_development_issuer_lets_nobody_in(own_host: HostProcess) -> None:
    token = mint_token(
        own_host.home, tenant_id=uuid4(), user_id=uuid4(), permissions=["webhook:manage"], ttl_seconds=60
    )
    assert call("GET", f"{own_host.url}/webhooks", token=token)[0] == 401
