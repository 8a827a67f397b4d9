"""The app as the production host sees it: the worker's own library indexes it, and every binding is function that the
extensions accept."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT
from tests.worlds.worker_environment import worker_environment

_INDEX = """
import json, sys
from function_app import app
functions = [
    {"name": function.get_function_name(), "bindings": [json.loads(raw) for raw in function.get_raw_bindings()]}
    for function in app.get_functions()
]
json.dump(functions, sys.stdout)
"""


@pytest.fixture(scope="module")
def worker_python() -> Path:
    """An environment with the app's own requirements and the worker's library, kept between runs."""
    return worker_environment()


@pytest.fixture(scope="module")
def indexed() -> list[dict[str, Any]]:
    """Every function with its bindings, as the programming model writes them."""
    command = [sys.executable, "-c", _INDEX]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def test_the_production_worker_accepts_every_function(
    worker_python: Path, indexed: list[dict[str, Any]], tmp_path: Path
) -> None:
    script = ROOT / "tests/fixtures/index_with_worker.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    done = subprocess.run(
        [str(worker_python), str(script), str(ROOT)],
        cwd=tmp_path,
        env={**environment, "HUB_HOME": str(tmp_path / "hub")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    assert answer["python"].startswith("3.13")
    accepted = {function["name"]: function for function in answer["functions"]}
    assert accepted.keys() == {function["name"] for function in indexed}
    for function in indexed:
        names = {binding["name"] for binding in function["bindings"] if binding["direction"] == "IN"}
        assert set(accepted[function["name"]]["inputs"]) == names - {"$return"}, function["name"]
    # Indexing must not build an adapter or touch the state: a cold start pays for it.
    assert not (tmp_path / "hub").exists()


def test_every_binding_is_valid_for_its_extension(indexed: list[dict[str, Any]]) -> None:
    allowed = {
        "httpTrigger": {"authLevel", "route", "methods"},
        "http": set(),
        "timerTrigger": {"schedule", "runOnStartup", "useMonitor"},
        "serviceBusTrigger": {"queueName", "connection", "cardinality", "dataType"},
        "orchestrationTrigger": {"orchestration"},
        "activityTrigger": {"activity"},
        "durableClient": {"taskHub", "connectionName"},
    }
    for function in indexed:
        triggers = [
            binding for binding in function["bindings"] if binding["type"].lower().endswith("trigger")
        ]
        assert len(triggers) == 1, function["name"]
        for binding in function["bindings"]:
            assert binding["type"] in allowed, binding
            assert binding["direction"] in ("IN", "OUT")
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*|\$return", binding["name"])
            extra = binding.keys() - {"type", "direction", "name"} - allowed[binding["type"]]
            assert not {name for name in extra if binding[name] is not None}, binding


def test_function_names_and_routes_are_unique(indexed: list[dict[str, Any]]) -> None:
    names = [function["name"] for function in indexed]
    assert len(names) == len({name.lower() for name in names})
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,126}", name) for name in names)
    routes = [
        (re.sub(r"\{[^}]*\}", "{}", binding["route"]), method)
        for function in indexed
        for binding in function["bindings"]
        if binding["type"] == "httpTrigger"
        for method in binding.get("methods") or ("*",)
    ]
    assert len(routes) == len(set(routes))


def test_connections_of_bindings_are_in_the_example_settings(indexed: list[dict[str, Any]]) -> None:
    example = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    connections = {
        binding["connection"]
        for function in indexed
        for binding in function["bindings"]
        if binding.get("connection")
    }
    assert connections == {"ServiceBusConnection"}
    assert connections <= example.keys()
    settings = {
        name
        for function in indexed
        for binding in function["bindings"]
        for value in binding.values()
        if isinstance(value, str)
        for name in re.findall(r"%(\w+)%", value)
    }
    assert settings <= example.keys()


def test_batch_triggers_take_lists(indexed: list[dict[str, Any]]) -> None:
    """The worker hands a batch over only to a parameter annotated as a list of messages."""
    queues = {
        binding["queueName"]: binding["cardinality"]
        for function in indexed
        for binding in function["bindings"]
        if binding["type"] == "serviceBusTrigger"
    }
    assert queues.keys() >= {"domain-events", "webhook-deliveries", "alerts"}
    assert set(queues.values()) == {"MANY"}


def test_timers_have_six_fields(indexed: list[dict[str, Any]]) -> None:
    schedules = {
        function["name"]: binding["schedule"]
        for function in indexed
        for binding in function["bindings"]
        if binding["type"] == "timerTrigger"
    }
    assert schedules["process_webhook_retries"] == "0 * * * * *"
    assert schedules["clean_up_deliveries"] == "0 0 3 * * *"
    assert all(len(schedule.split()) == 6 for schedule in schedules.values())
