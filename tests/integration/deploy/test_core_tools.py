"""What Core Tools and the real host would refuse, checked without them. Sources: the host.json reference
(https://learn.microsoft.com/azure/azure-functions/functions-host-json) and the bindings' own pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pathspec
import pytest

from bench.harness import ROOT

HOST = json.loads((ROOT / "host.json").read_text())
LOCAL = json.loads((ROOT / "local.settings.json.example").read_text())
TIMESPAN = re.compile(r"(\d+\.)?\d\d:\d\d:\d\d")
#: Each property of host.json that we set, as the reference types it.
SCHEMA: dict[str, Any] = {
    "version": str,
    "functionTimeout": TIMESPAN,
    "telemetryMode": re.compile("OpenTelemetry|ApplicationInsights"),
    "logging": {
        "logLevel": {"default": str, "Host.Results": str},
    },
    "extensionBundle": {"id": str, "version": str},
    "extensions": {
        "http": {"routePrefix": str, "maxConcurrentRequests": int, "maxOutstandingRequests": int},
        "serviceBus": {
            "prefetchCount": int,
            "autoCompleteMessages": bool,
            "maxConcurrentCalls": int,
            "maxMessageBatchSize": int,
            "minMessageBatchSize": int,
            "maxBatchWaitTime": TIMESPAN,
            "clientRetryOptions": {"mode": str, "tryTimeout": TIMESPAN, "maxRetries": int},
        },
        "durableTask": {
            "hubName": re.compile(r"[A-Za-z][A-Za-z0-9]{0,44}"),
            "maxConcurrentActivityFunctions": int,
            "maxConcurrentOrchestratorFunctions": int,
            "storageProvider": {"type": str},
        },
    },
}
TRIGGERS = {
    "httpTrigger",
    "timerTrigger",
    "serviceBusTrigger",
    "orchestrationTrigger",
    "activityTrigger",
    "entityTrigger",
}
BINDINGS = TRIGGERS | {"http", "durableClient"}

_INDEX = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("devhost", "tests", "bench", "starlette", "uvicorn", "rich"):
            raise ImportError(f"{name} is not deployed")
sys.meta_path.insert(0, Blocked())
import function_app
rows = []
for function in function_app.app.get_functions():
    bindings = [binding.get_dict_repr() for binding in function.get_bindings()]
    rows.append({"name": function.get_function_name(), "bindings": bindings})
print(json.dumps(rows, default=str))
"""


@cache
def functions() -> list[dict[str, Any]]:
    """The app's functions, indexed in a process in which nothing can be imported that is not deployed."""
    found = subprocess.run(
        [sys.executable, "-c", _INDEX], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return list(json.loads(found.stdout.strip().splitlines()[-1]))


def bindings(kind: str) -> list[dict[str, Any]]:
    return [
        binding for function in functions() for binding in function["bindings"] if binding["type"] == kind
    ]


def fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            name in wanted and fits(inner, wanted[name]) for name, inner in value.items()
        )
    if isinstance(wanted, re.Pattern):
        return isinstance(value, str) and wanted.fullmatch(value) is not None
    return type(value) is wanted


def test_host_json_has_only_properties_that_the_host_knows_in_their_types() -> None:
    assert HOST["version"] == "2.0"
    assert fits(HOST, SCHEMA)


def test_each_line_is_sent_once_and_none_is_sampled_away() -> None:
    """Alert rules read the log's lines. The host sends them, and samples none in this mode; there its settings for
    Application Insights count for nothing. A worker that said it exports its own lines would silence the host's:
    https://learn.microsoft.com/azure/azure-functions/opentelemetry-howto"""
    assert HOST["telemetryMode"] == "OpenTelemetry"
    assert "applicationInsights" not in HOST["logging"]
    template = (ROOT / "deploy" / "bicep" / "modules" / "functions.bicep").read_text()
    for switch in ("PYTHON_ENABLE_OPENTELEMETRY", "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY"):
        assert switch not in template
        assert switch not in LOCAL["Values"]
    sources = "".join(path.read_text() for path in (ROOT / "infra" / "telemetry").glob("*.py"))
    assert "LogExporter" not in sources
    assert "LoggerProvider" not in sources


def test_host_json_asks_for_a_bundle_whose_extensions_the_app_uses() -> None:
    assert HOST["extensionBundle"] == {
        "id": "Microsoft.Azure.Functions.ExtensionBundle",
        "version": "[4.*, 5.0.0)",
    }
    used = {binding["type"] for function in functions() for binding in function["bindings"]}
    assert used <= BINDINGS


def test_every_function_has_one_trigger_and_a_name_of_its_own() -> None:
    names = [function["name"] for function in functions()]
    assert len({name.lower() for name in names}) == len(names)
    for function in functions():
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,126}", function["name"])
        assert sum(binding["type"] in TRIGGERS for binding in function["bindings"]) == 1, function["name"]


def test_the_app_settings_that_bindings_name_are_in_the_example() -> None:
    named = {str(binding["connection"]) for binding in bindings("serviceBusTrigger")}
    text = json.dumps(functions())
    named |= set(re.findall(r"%(\w+)%", text))
    assert named == {"ServiceBusConnection"}
    assert named | {"AzureWebJobsStorage", "FUNCTIONS_WORKER_RUNTIME"} <= set(LOCAL["Values"])
    assert LOCAL["Values"]["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert all(isinstance(value, str) for value in LOCAL["Values"].values()), "the host takes text alone"


def test_no_two_functions_serve_the_same_method_of_the_same_route() -> None:
    seen: set[tuple[str, str]] = set()
    for binding in bindings("httpTrigger"):
        route = re.sub(r"\{[^}]*\}", "{}", str(binding["route"]).lower())
        assert not route.startswith(("/", "api/", "admin/")), route
        assert route.count("{") == route.count("}")
        for method in binding.get("methods") or ["ANY"]:
            assert (str(method), route) not in seen, (method, route)
            seen.add((str(method), route))
    assert len(seen) > 50


def test_timers_have_six_fields_and_do_not_run_at_every_start() -> None:
    for binding in bindings("timerTrigger"):
        assert len(str(binding["schedule"]).split()) == 6, binding
        assert not binding.get("runOnStartup"), "it would run at every scale-out"


def test_the_deployed_requirements_are_the_apps_alone() -> None:
    """The build in Azure reads one file: an include would not be found."""
    lines = [
        line
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line[:1] not in ("#", " ", "")
    ]
    assert all(re.match(r"[a-z0-9-]+(\[[a-z]+\])?==[\w.]+", line) for line in lines), "an include or a range"
    assert not any(line.startswith(("starlette", "uvicorn", "pytest")) for line in lines)


@pytest.mark.parametrize(
    ("path", "is_deployed"),
    [
        ("function_app.py", True),
        ("host.json", True),
        ("requirements.txt", True),
        ("requirements.in", False),
        ("domain/core/ports.py", True),
        ("infra/sql/migrations/versions/0001_initial.py", True),
        ("functions/http/static/docs.html", True),
        ("devhost/server.py", False),
        ("tests/conftest.py", False),
        ("deploy/bicep/main.bicep", False),
        ("local.settings.json", False),
        (".hub/hub.db", False),
        (".venv/bin/python", False),
        ("README.md", False),
    ],
)
def test_the_package_holds_what_the_app_needs_and_no_more(path: str, is_deployed: bool) -> None:
    ignored = pathspec.PathSpec.from_lines("gitignore", Path(ROOT / ".funcignore").read_text().splitlines())
    assert ignored.match_file(path) is not is_deployed


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("check_integration_health", "0 */5 * * * *"),  # BR-IM-03
        ("process_webhook_retries", "0 * * * * *"),
        ("schedule_sync_jobs", "0 */15 * * * *"),
        ("expire_api_keys", "0 0 * * * *"),
        ("clean_up_integration_logs", "0 0 2 * * *"),
        ("clean_up_deliveries", "0 0 3 * * *"),
    ],
)
def test_a_scheduled_job_runs_when_section_14_1_says(name: str, schedule: str) -> None:
    [function] = [function for function in functions() if function["name"] == name]
    assert [binding["schedule"] for binding in function["bindings"]] == [schedule]
