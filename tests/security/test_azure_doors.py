"""Ways into a deployment on Azure, as the templates leave them: parsed, for nothing here can deploy."""

from __future__ import annotations

import json
import re
import runpy
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import ROOT
from tests.worlds.bicep_templates import BICEP, TEXT, TREE

MODULES = BICEP / "modules"
HOLDING_DATA = {
    "Microsoft.Storage/storageAccounts",
    "Microsoft.ServiceBus/namespaces",
    "Microsoft.Sql/servers",
    "Microsoft.KeyVault/vaults",
    "Microsoft.CognitiveServices/accounts",
}
"""What must not be reached from outside in production; SignalR is for browsers."""


def resources(type_: str) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """(file, symbol, resource) of that type, wherever it is made."""
    for path, tree in TREE.items():
        for symbol, resource in tree.get("resources", {}).items():
            if resource["type"] == type_ and not resource.get("existing"):
                yield path, symbol, resource


def block(path: Path, symbol: str) -> str:
    """The text of one resource or module."""
    found = re.search(rf"(?ms)^(?:resource|module) {symbol} .*?^\}}", TEXT[path])
    assert found is not None, symbol
    return found[0]


@pytest.mark.parametrize("type_", sorted(HOLDING_DATA))
def test_a_dependency_of_prod_is_reached_from_the_internet(type_: str) -> None:
    """Also where DEPLOY_TIER=prod is all that anybody set."""
    assert "var isPrivate = tier == 'prod' || privateNetworking" in TEXT[BICEP / "main.bicep"]
    assert "privateNetworking: isPrivate" in block(BICEP / "main.bicep", "hub")
    made = list(resources(type_))
    assert made
    for path, symbol, _ in made:
        assert "publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'" in block(path, symbol)
        endpoint = block(path, "endpoint")
        listed = "[for one in privateServices: {" in endpoint
        assert listed or "= if (privateNetworking)" in endpoint
        assert not listed or "var privateServices = privateNetworking ? [" in TEXT[path]
        handed = {
            module
            for module in TREE[BICEP / "hub.bicep"]["modules"]
            if path.name in block(BICEP / "hub.bicep", module)
        }
        for module in handed:
            assert "privateNetworking: privateNetworking" in block(BICEP / "hub.bicep", module)
        assert handed


def test_a_virtual_machine_of_anybody_in_azure_knocks_at_the_database_of_prod() -> None:
    sql = MODULES / "sql.bicep"
    rules = list(resources("Microsoft.Sql/servers/firewallRules"))
    assert len(rules) == 2
    for path, symbol, _ in rules:
        assert re.search(rf"resource {symbol} '[^']+' = if \(!privateNetworking\b", TEXT[path])
    assert "endIpAddress: '0.0.0.0'" in block(sql, "azureServices")


@pytest.mark.parametrize("type_", sorted(HOLDING_DATA | {"Microsoft.SignalRService/signalR"}))
def test_what_is_done_to_a_dependency_leaves_no_trace(type_: str) -> None:
    """Each sends who did what to the workspace, from the resource itself or from the part of it that is asked."""
    for path, symbol, _ in resources(type_):
        text = TEXT[path]
        parts = {symbol} | set(
            re.findall(rf"(?m)^resource (\w+) '[^']+'(?: existing)? = \{{\n  parent: {symbol}$", text)
        )
        scopes = {
            re.search(r"(?m)^  scope: (\w+)$", block(path, name))[1]  # type: ignore[index]
            for name, found in TREE[path]["resources"].items()
            if found["type"] == "Microsoft.Insights/diagnosticSettings"
        }
        assert parts & scopes
        for name, found in TREE[path]["resources"].items():
            if found["type"] == "Microsoft.Insights/diagnosticSettings":
                assert "workspaceId: workspaceId" in block(path, name)
                assert "enabled: true" in block(path, name)


def test_an_administrator_of_the_database_leaves_no_trace() -> None:
    auditing = block(MODULES / "sql.bicep", "auditing")
    assert "state: 'Enabled'" in auditing
    assert "isAzureMonitorTargetEnabled: true" in auditing
    for group in (
        "FAILED_DATABASE_AUTHENTICATION",
        "DATABASE_PRINCIPAL_CHANGE",
        "DATABASE_ROLE_MEMBER_CHANGE",
    ):
        assert f"'{group}_GROUP'" in auditing
    audited = block(MODULES / "sql.bicep", "audited")
    assert "scope: master" in audited
    assert "'SQLSecurityAuditEvents'" in audited


def test_the_identity_of_the_data_writes_what_is_deployed() -> None:
    """The package has an account, a container and an identity of its own, and the app's has no right there."""
    hub, app = TEXT[BICEP / "hub.bicep"], TEXT[MODULES / "functions.bicep"]
    assert "value: packageUrl" in app
    assert "userAssignedIdentityResourceId: packageIdentityId" in app
    assert "packageUrl: package.outputs.containerUrl" in hub
    given = block(BICEP / "hub.bicep", "package")
    assert "principalId" not in given, "nobody else gets a role there"
    role = block(MODULES / "package.bicep", "access")
    assert "scope: package" in role
    assert "principalId: identity.properties.principalId" in role
    assert "app-package" not in TEXT[MODULES / "storage.bicep"]
    versions = block(MODULES / "package.bicep", "blobs")
    assert "isVersioningEnabled: true" in versions
    assert "deleteRetentionPolicy: { enabled: true" in versions


def test_a_package_is_exchanged_outside_of_a_deployment() -> None:
    """The rule reads what the account sends, and knows a deployment by what the hook writes."""
    query = re.search(r"query: '(StorageBlobLogs .*)'", block(MODULES / "alerts.bicep", "package"))
    assert query is not None
    sent = set(re.findall(r"category: '(\w+)'", block(MODULES / "package.bicep", "diagnostics")))
    read = set(re.findall(r'"(Storage\w+)"', query[1]))
    assert {"StorageWrite", "StorageDelete"} == read <= sent
    assert 'AccountName == "${packageAccount}"' in query[1]
    assert "packageAccount: package.outputs.accountName" in block(BICEP / "hub.bicep", "alerts")
    assert '_ResourceId startswith "${appId}"' in query[1]
    assert 'OperationNameValue =~ "Microsoft.Resources/tags/write"' in query[1]
    assert "'Administrative'" in block(MODULES / "activity.bicep", "diagnostics")
    assert "workspaceId: hub.outputs.workspaceId" in block(BICEP / "main.bicep", "activity")


APP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/func-hub"


class ResourceManager(BaseHTTPRequestHandler):
    """Takes tags of a resource as Azure does: merged, with an API version, from who is let in."""

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path, _, query = self.path.partition("?")
        status = 200
        if self.headers["authorization"] != "Bearer t":
            status = 401
        elif query != "api-version=2021-04-01" or not path.endswith(
            "/providers/Microsoft.Resources/tags/default"
        ):
            status = 404
        elif body.get("operation") not in ("Merge", "Replace", "Delete"):
            status = 400
        self.server.told.append((status, path, body))  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def manager() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), ResourceManager)
    server.told = []  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


def test_a_deployment_says_that_it_is_one(manager: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "deploy" / "hooks")
    hook = runpy.run_path(str(ROOT / "deploy" / "hooks" / "predeploy.py"))
    address = f"http://127.0.0.1:{manager.server_port}"
    moment = datetime(2026, 12, 1, 8, tzinfo=UTC)
    hook["announce"]("t", APP, moment, manager=address)
    tags = {"hub-deployed-at": "2026-12-01T08:00:00+00:00"}
    path = f"{APP}/providers/Microsoft.Resources/tags/default"
    assert manager.told == [(200, path, {"operation": "Merge", "properties": {"tags": tags}})]  # type: ignore[attr-defined]
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        hook["announce"]("somebody", APP, moment, manager=address)


def test_a_caller_goes_around_the_gateway_and_makes_up_its_address() -> None:
    app = TEXT[MODULES / "functions.bicep"]
    assert "var isGated = !empty(gatewayAddresses) || !empty(frontDoorId)" in app
    assert "ipSecurityRestrictionsDefaultAction: isGated ? 'Deny' : 'Allow'" in app
    assert "ipSecurityRestrictions: concat(throughFrontDoor, throughGateways)" in app
    assert "HUB_TRUSTED_PROXY_HOPS: isGated ? '2' : '1'" in app
    assert "headers: { 'x-azure-fdid': [frontDoorId] }" in app


def test_receivers_are_told_the_addresses_that_they_may_let_in() -> None:
    network = TEXT[MODULES / "network.bicep"]
    assert "natGateway: { id: gateway.id }" in network
    assert "publicIpAddresses: [{ id: address.id }]" in network
    assert "output outboundAddresses string = address.properties.ipAddress" in network
    assert (
        "output HUB_OUTBOUND_ADDRESSES string = hub.outputs.outboundAddresses" in TEXT[BICEP / "main.bicep"]
    )
