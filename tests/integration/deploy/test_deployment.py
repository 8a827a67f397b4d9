"""The deployment files agree with each other and with the app. Bicep is parsed, not compiled: the compiler comes from
neither PyPI nor npm; the workflow compiles it."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bench.harness import ROOT
from bench.scaling import PLANS
from domain.journal.bursts import POLICIES, BurstSource
from domain.monitoring.alerts.model import AlertKind
from domain.monitoring.alerts.rules import RULES
from infra.app.settings import Settings
from infra.sql.engine import most_connections
from tests.worlds.bicep_templates import BICEP, FILES, TEXT, TREE

#: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "fd53cd77-2268-407a-8f46-7e7863d0f521": "SignalR REST API Owner",
    "5e0bd9bd-7b93-4f28-af87-19fc36ad61bd": "Cognitive Services OpenAI User",
}
#: https://learn.microsoft.com/azure/azure-functions/functions-app-settings: refused on Flex Consumption
NOT_ON_FLEX = {
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_EXTENSION_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "ENABLE_ORYX_BUILD",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
}


def walk(node: Any) -> list[dict[str, Any]]:
    """Every mapping inside."""
    if isinstance(node, dict):
        return [node, *(found for value in node.values() for found in walk(value))]
    if isinstance(node, list):
        return [found for value in node for found in walk(value)]
    return []


def settings_of_app() -> dict[str, Any]:
    return dict(TREE[BICEP / "modules" / "functions.bicep"]["variables"]["settings"]["value"])


def function_names() -> set[str]:
    sources = "\n".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    return set(re.findall(r'function_name\("(\w+)"\)', sources))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_modules_are_called_with_the_parameters_that_they_declare(path: Path) -> None:
    for name, module in TREE[path].get("modules", {}).items():
        target = (path.parent / module["detail"]["path"]).resolve()
        declared = TREE[target].get("parameters", {})
        given = next(found["params"] for found in walk(module["config"]) if "params" in found)
        needed = {one for one, facts in declared.items() if facts["default"] is None}
        assert needed <= set(given) <= set(declared), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_parameter_and_variable_is_used_and_every_output_asked_for_exists(path: Path) -> None:
    text = re.sub(r"(?<!:)//.*", "", TEXT[path])
    for name in [*TREE[path].get("parameters", {}), *TREE[path].get("variables", {})]:
        assert len(re.findall(rf"\b{name}\b", text)) > 1, f"{name} is not used"
    for module, output in re.findall(r"\b(\w+)!?\.outputs\.(\w+)", text):
        target = (path.parent / TREE[path]["modules"][module]["detail"]["path"]).resolve()
        assert output in TREE[target]["outputs"], f"{module} has no output {output}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_resource_has_a_stable_looking_api_version(path: Path) -> None:
    for resource in TREE[path].get("resources", {}).values():
        assert re.fullmatch(r"20\d\d-\d\d-\d\d(-preview)?", resource["api_version"])


def test_nothing_is_entered_with_a_key() -> None:
    everything = "\n".join(TEXT.values())
    assert not re.search(
        r"listKeys|listConnectionStrings|SharedAccessKey|AccountKey|administratorLoginPassword", everything
    )
    assert "allowSharedKeyAccess: false" in everything
    assert everything.count("disableLocalAuth: true") == 3
    assert "azureADOnlyAuthentication: true" in everything
    assert re.search(
        r"basicPublishingCredentialsPolicies@.*\['ftp', 'scm'\].*\n.*\n.*\n  properties: \{ allow: false \}",
        everything,
    )
    assert "enableRbacAuthorization: true" in everything


def test_roles_are_known_by_name_and_given_on_a_single_resource() -> None:
    """Least privilege: no owner or contributor of anything, nothing on a subscription or group."""
    used = set(re.findall(r"'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})'", "\n".join(TEXT.values())))
    assert used == set(ROLES)
    for tree in TREE.values():
        for resource in tree.get("resources", {}).values():
            if resource["type"] == "Microsoft.Authorization/roleAssignments":
                assert any("scope" in found for found in walk(resource["config"]))


def test_the_app_gets_settings_that_it_reads_and_none_that_flex_refuses() -> None:
    known = {f"HUB_{name.upper()}" for name in Settings.model_fields}
    given = settings_of_app()
    assert {name for name in given if name.startswith("HUB_")} <= known
    assert not NOT_ON_FLEX & set(given)
    assert given["HUB_ENVIRONMENT"] == "production"
    for twin in ("SQL_CONNECTION", "TABLES_ENDPOINT", "KEY_VAULT_URL", "SIGNALR_ENDPOINT"):
        assert f"HUB_{twin}" in given, "an embedded twin would be used in Azure"
    assert "ServiceBusConnection__fullyQualifiedNamespace" in given
    for name in ("AUTH_ISSUER", "AUTH_AUDIENCE", "PUBLIC_URL", "MANAGED_IDENTITY_CLIENT_ID"):
        assert f"HUB_{name}" in given, "production does not work without it"


def test_the_platforms_tenant_is_named_to_the_app_where_there_is_one_alone() -> None:
    """An empty GUID would be none at all, and the app would not start."""
    template = (ROOT / "deploy" / "bicep" / "modules" / "functions.bicep").read_text()
    setting = "empty(platformTenant) ? {} : { HUB_PLATFORM_TENANT: platformTenant }"
    assert f"var platformSettings = {setting}" in template


def test_the_model_is_made_and_named_to_the_app_where_it_is_asked_for_alone() -> None:
    assert TREE[BICEP / "main.bicep"]["parameters"]["openAi"]["default"] is False
    assert "module model 'modules/openai.bicep' = if (openAi)" in TEXT[BICEP / "hub.bicep"]
    assert re.search(r"openAiEndpoint: openAi \? model!\.outputs\.endpoint : ''", TEXT[BICEP / "hub.bicep"])
    app = TEXT[BICEP / "modules" / "functions.bicep"]
    block = app.split("var modelSettings = empty(openAiEndpoint) ? {} : {")[1].split("}")[0]
    given = set(re.findall(r"HUB_\w+", block))
    assert {"HUB_OPENAI_ENDPOINT", "HUB_OPENAI_DEPLOYMENT"} <= given
    assert given <= {f"HUB_{name.upper()}" for name in Settings.model_fields}
    assert "union(settings, modelSettings, platformSettings)" in app
    made = re.search(r"name: '(\w+)'\n  // Processed", TEXT[BICEP / "modules" / "openai.bicep"])
    assert made is not None
    assert made.group(1) == Settings.model_fields["openai_deployment"].default


def test_the_model_has_a_private_address_where_the_others_do() -> None:
    module = TREE[BICEP / "modules" / "openai.bicep"]
    assert (
        "publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'"
        in TEXT[BICEP / "modules" / "openai.bicep"]
    )
    [endpoint] = [found["params"] for found in walk(module["modules"]["endpoint"]) if "params" in found]
    assert endpoint["groupId"] == "account"
    network = TEXT[BICEP / "modules" / "network.bicep"]
    listed = network.split("var zones = ")[1].split("\n\n")[0]
    zones = re.findall(r"'(privatelink[^']+)'", listed)
    position = re.search(r"openAiZoneId string = openAi \? zone\[(\d)\]\.id", network)
    assert position is not None
    assert zones[int(position.group(1))] == "privatelink.openai.azure.com"


def test_the_database_is_entered_with_the_managed_identity() -> None:
    from infra.sql.login import needs_token

    assert needs_token(str(settings_of_app()["HUB_SQL_CONNECTION"]))


def test_the_queues_are_those_of_the_triggers() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    triggered = set(re.findall(r'queue_name="([^"]+)"', sources))
    made = TREE[BICEP / "modules" / "servicebus.bicep"]["variables"]["queues"]["value"]
    assert set(made) == triggered
    emulated = json.loads((ROOT / "deploy" / "emulators" / "servicebus.json").read_text())
    names = {queue["Name"] for queue in emulated["UserConfig"]["Namespaces"][0]["Queues"]}
    assert names == triggered


def test_scaling_groups_name_functions_that_exist() -> None:
    groups = re.findall(r"name: 'function:(\w+)'", TEXT[BICEP / "modules" / "functions.bicep"])
    assert groups
    assert set(groups) <= function_names()


def triggers() -> list[str]:
    """Of every function but those of HTTP."""
    sources = "\n".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    return re.findall(r"^@bp\.(\w+)_trigger\(", sources, re.MULTILINE)


@pytest.mark.parametrize("is_prod", [True, False], ids=["S3", "S2"])
def test_all_instances_together_open_no_more_connections_than_the_database_takes(is_prod: bool) -> None:
    """By the vendor's figures in docs/sql.md. HTTP functions and durable ones are a scaling group each, and so is every
    other function; a timer runs on one instance. Instances that are always ready count beside those on demand."""
    assert "sku: isProd ? 'S3' : 'S2'" in TEXT[BICEP / "hub.bicep"]
    app = TEXT[BICEP / "modules" / "functions.bicep"]
    kinds = triggers()
    assert {"timer", "service_bus_queue"} < set(kinds) <= {
        "timer", "service_bus_queue", "activity", "orchestration",
    }, "another kind of trigger: does it scale out?"  # fmt: skip
    maximum = re.search(r"maximumInstanceCount: (\d+)\n", app)
    pools = re.search(r"HUB_SQL_POOL_SIZE: isProd \? '(\d+)' : '(\d+)'", app)
    sessions = re.search(
        r"\| sessions [^|]*, S2 / S3 \| ([\d,]+) / ([\d,]+) \|", (ROOT / "docs" / "sql.md").read_text()
    )
    assert maximum and pools and sessions
    groups = 2 + kinds.count("service_bus_queue")
    ready = len(re.findall(r"instanceCount: ", app)) * 2 if is_prod else 0
    processes = groups * int(maximum[1]) + ready + kinds.count("timer")
    opened = processes * most_connections(int(pools[1 if is_prod else 2]))
    taken = int(sessions[2 if is_prod else 1].replace(",", ""))
    # A twentieth is left for the migration, for operators, and for instances that a deployment replaces.
    assert opened <= 0.95 * taken


def test_the_loads_of_the_scaling_model_fit_into_a_scaling_group() -> None:
    maximum = re.search(r"maximumInstanceCount: (\d+)\n", TEXT[BICEP / "modules" / "functions.bicep"])
    assert maximum
    assert max(plan.instances for plan in PLANS) <= int(maximum[1])


def test_a_zone_redundant_plan_gets_no_group_of_a_single_instance() -> None:
    """It refuses one: https://learn.microsoft.com/azure/reliability/reliability-functions"""
    counts = re.findall(r"instanceCount: (.+?) \}", TEXT[BICEP / "modules" / "functions.bicep"])
    assert len(counts) == 4
    assert set(counts) <= {"2", "zoneRedundant ? 2 : 1"}


def test_alert_rules_ask_for_lines_that_the_app_writes() -> None:
    """Section 12.3."""
    sources = "\n".join(
        path.read_text()
        for folder in ("domain", "functions", "infra")
        for path in (ROOT / folder).rglob("*.py")
    )
    rules = TREE[BICEP / "modules" / "alerts.bicep"]["variables"]["rules"]["value"]
    assert {rule["name"] for rule in rules} >= {"integration-health", "webhook-failure-rate", "sync-failed"}
    for rule in rules:
        for said in re.findall(r'(?:said|kind\)) == "([^"]+)"', rule["query"]):
            assert f'"{said}"' in sources, said
        for kind in re.findall(r'!= "(integration-[a-z]+)"', rule["query"]):
            assert f'"{kind}"' in sources, kind


def test_the_deployment_pages_for_the_same_counts_as_the_app_alerts_for() -> None:
    """A single refusal pages nobody, and a burst that is over does not page again."""
    rules = {
        rule["name"]: rule for rule in TREE[BICEP / "modules" / "alerts.bicep"]["variables"]["rules"]["value"]
    }
    query = rules["security-violation"]["query"]
    [least] = re.findall(r"line\.alert\.data\.count\), \"(\d+)\"\)\) >= \1$", query)
    assert (
        int(least)
        == POLICIES[BurstSource.Refusals].least
        == min(policy.least for policy in POLICIES.values())
    )
    assert int(least) == RULES[AlertKind.SecurityViolation].minimum_volume
    assert 'tostring(line.alert.data.state) != "ended"' in query
    assert rules["security-violation"]["threshold"] == 0
    assert rules["webhook-failure-rate"]["query"].endswith(
        'tostring(line.alert.kind) == "webhook-failure-rate"'
    )


def test_no_alert_counts_what_may_be_sampled() -> None:
    for rule in TREE[BICEP / "modules" / "alerts.bicep"]["variables"]["rules"]["value"]:
        assert rule["query"].startswith("${lines} | where said == "), rule["name"]


def test_every_kind_of_alert_has_a_rule_and_a_runbook() -> None:
    """What the hub raises reaches the operators of the deployment too, and they can look up what to do."""
    tree = TREE[BICEP / "modules" / "alerts.bicep"]
    ruled = {rule["name"] for rule in tree["variables"]["rules"]["value"]}
    ruled |= {"dead-letters"} if "deadLetters" in tree["resources"] else set()
    kinds = {kind.value for kind in AlertKind}
    assert kinds <= ruled
    page = (ROOT / "docs" / "alerts.md").read_text()
    assert kinds == set(re.findall(r"^## ([a-z-]+)$", page.split("# Runbooks")[1], re.MULTILINE))


def test_parameter_files_set_what_main_declares() -> None:
    declared = TREE[BICEP / "main.bicep"]["parameters"]
    required = {name for name, facts in declared.items() if facts["default"] is None}
    for path in BICEP.glob("*.bicepparam"):
        given = set(re.findall(r"^param (\w+) =", path.read_text(), re.MULTILINE))
        assert required <= given <= set(declared), path.name
    document = json.loads((BICEP / "main.parameters.json").read_text())
    assert required <= set(document["parameters"]) <= set(declared)


def test_the_hook_gets_through_the_firewall_from_where_azd_runs() -> None:
    """From main.parameters.json through each module to the rule."""
    document = json.loads((BICEP / "main.parameters.json").read_text())
    assert document["parameters"]["deployerAddress"]["value"] == "${DEPLOY_ADDRESS=}"
    for name in ("main.bicep", "hub.bicep"):
        assert "deployerAddress: deployerAddress" in TEXT[BICEP / name]
    rule = TREE[BICEP / "modules" / "sql.bicep"]["resources"]["deployer"]
    assert any(found.get("startIpAddress") for found in walk(rule["config"]))
    assert "!privateNetworking && !empty(deployerAddress)" in TEXT[BICEP / "modules" / "sql.bicep"]


def test_azd_finds_the_app_the_template_and_the_hook() -> None:
    document = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / document["infra"]["path"] / f"{document['infra']['module']}.bicep").is_file()
    assert document["services"]["api"]["host"] == "function"
    assert "'azd-service-name': 'api'" in TEXT[BICEP / "modules" / "functions.bicep"]
    for hook in ("postprovision", "predeploy", "postdeploy"):
        entries = document["hooks"][hook]
        for system, shell, suffix in (("posix", "sh", "sh"), ("windows", "pwsh", "ps1")):
            assert entries[system] == {"shell": shell, "run": f"deploy/hooks/{hook}.{suffix}"}
            entry = HOOKS / f"{hook}.{suffix}"
            assert f"{hook}.py" in entry.read_text()
            assert len(entry.read_text().splitlines()) <= 2, "an entry starts the Python and decides nothing"
        assert os.access(HOOKS / f"{hook}.sh", os.X_OK)
        wanted = set(re.findall(r'"(HUB_\w+)"[,)\n]', (HOOKS / f"{hook}.py").read_text())) - {
            "HUB_SQL_CONNECTION"
        }
        assert wanted
        assert wanted - {"HUB_MANAGED_IDENTITY_CLIENT_ID"} <= set(TREE[BICEP / "main.bicep"]["outputs"])


HOOKS = ROOT / "deploy" / "hooks"
PROVISIONED = {
    "HUB_SQL_SERVER": "sql-hub.database.windows.net",
    "HUB_SQL_DATABASE": "hub",
    "HUB_IDENTITY_NAME": "id-hub",
    "HUB_IDENTITY_CLIENT_ID": "11111111-2222-3333-4444-555555555555",
}


def hook(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a hook's script."""
    monkeypatch.syspath_prepend(HOOKS)
    return runpy.run_path(str(HOOKS / f"{name}.py"))


@pytest.mark.parametrize("fails", [False, True])
def test_the_hook_migrates_and_then_lets_the_identity_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: bool
) -> None:
    for name, value in (PROVISIONED | {"HUB_MANAGED_IDENTITY_CLIENT_ID": "the app's"}).items():
        monkeypatch.setenv(name, value)
    ran: list[str] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[0] == sys.executable
        assert "HUB_MANAGED_IDENTITY_CLIENT_ID" not in env
        ran.append(f"{env['HUB_SQL_CONNECTION']} {' '.join(command[1:])}")
        return subprocess.CompletedProcess(command, int(fails))

    main = hook("postprovision", monkeypatch)["main"]
    monkeypatch.setattr(subprocess, "run", run)
    assert main() == int(fails)
    server = "Server=tcp:sql-hub.database.windows.net,1433;Database=hub;Encrypt=yes;"
    lines = [
        f"{server} -m infra.sql.migrate",
        f"{server} -m infra.sql.grant id-hub 11111111-2222-3333-4444-555555555555",
    ]
    assert ran == (lines[:1] if fails else lines)
    assert ("may read and write" in capsys.readouterr().out) is not fails


@pytest.mark.parametrize("name", ["postprovision", "predeploy", "postdeploy"])
def test_a_hook_that_is_not_told_what_it_needs_says_so_and_fails(name: str) -> None:
    ended = subprocess.run(
        [HOOKS / f"{name}.sh"],
        check=False,
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ": not set; azd sets it after provisioning." in ended.stderr


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([(503, {}), (404, {}), (200, {"python": "3.12"})], None),
        ([(200, {"python": "3.11"})], "The app runs on Python 3.11, not on 3.12."),
        ([(404, {})] * 6, "did not answer within 1 minutes (last: 404)"),
    ],
)
def test_a_deployment_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, answers: list[tuple[int, dict[str, str]]], told: str | None
) -> None:
    left = iter(answers)

    def get(url: str, **_: Any) -> httpx.Response:
        assert url == "https://hub.example/api/health/live"
        status, body = next(left)
        return httpx.Response(status, json=body)

    problem = hook("postdeploy", monkeypatch)["problem"]
    monkeypatch.setattr(httpx, "get", get)
    waited: list[float] = []
    wrong = problem("https://hub.example", "3.12", patience=60.0, sleep=waited.append)
    assert wrong is None if told is None else told in wrong
    assert list(left) == []
    assert len(waited) == sum(status != 200 for status, _ in answers)


def test_the_workflow_passes_on_every_parameter_that_azd_asks_for() -> None:
    """What is left out is set back to its default by the next run."""
    asked = set(re.findall(r"\$\{(\w+)", (BICEP / "main.parameters.json").read_text()))
    document = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    # Whoever runs the hook by hand says from where; the runner is within Azure.
    assert asked - {"DEPLOY_ADDRESS"} <= set(document["jobs"]["deploy"]["env"])


def test_compose_mounts_what_is_there() -> None:
    document = yaml.safe_load((ROOT / "deploy" / "emulators" / "compose.yaml").read_text())
    assert {"servicebus", "sql", "azurite"} <= set(document["services"])
    [mount] = document["services"]["servicebus"]["volumes"]
    assert (ROOT / "deploy" / "emulators" / mount.split(":")[0]).is_file()


#: https://learn.microsoft.com/azure/reliability/regions-list: regions with zones, and their pairs.
PAIRS = {
    "australiaeast": "australiasoutheast",
    "eastasia": "southeastasia",
    "eastus": "westus",
    "eastus2": "centralus",
    "northeurope": "westeurope",
    "southcentralus": "northcentralus",
    "southeastasia": "eastasia",
    "swedencentral": "swedensouth",
    "uksouth": "ukwest",
    "westeurope": "northeurope",
    "westus2": "westcentralus",
}


def test_a_region_has_zones_and_a_pair() -> None:
    allowed = re.search(r"@allowed\(\[([^\]]+)\]\)\n@metadata.*\nparam location", TEXT[BICEP / "main.bicep"])
    assert allowed
    assert set(re.findall(r"'(\w+)'", allowed[1])) == set(PAIRS)
    defaults = {
        re.search(r"'AZURE_LOCATION', '(\w+)'", path.read_text())[1]  # type: ignore[index]
        for path in BICEP.glob("*.bicepparam")
    }
    assert defaults <= set(PAIRS)
    assert "requestedBackupStorageRedundancy: 'Geo'" in TEXT[BICEP / "modules" / "sql.bicep"]
