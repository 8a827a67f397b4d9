"""The app as the production host sees it: the worker's own library indexes it, and every binding is function that the
extensions accept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT

_RUNTIME = "azure-functions-runtime==1.3.0"
_INDEX = """
import json, sys
from function_app import app
functions = [
    {"name": function.get_function_name(), "bindings": [json.loads(raw) for raw in function.get_raw_bindings()]}
    for function in app.get_functions()
]
json.dump(functions, sys.stdout)
"""


def _candidates() -> Iterator[str]:
    if chosen := os.environ.get("HUB_PYTHON313"):
        yield chosen
    if sys.version_info[:2] == (3, 13):
        yield sys.executable
    if found := shutil.which("python3.13"):
        yield found
    yield from (str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.13*/bin/python")))


def _python313() -> str | None:
    for candidate in _candidates():
        command = [candidate, "-c", "import sys; print(sys.version_info[:2] == (3, 13))"]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.stdout.strip() == "True":
            return candidate
    return None


@pytest.fixture(scope="module")
def worker_python() -> Path:
    """An environment with the app's own requirements and the worker's library, kept between runs."""
    python = _python313()
    if python is None:
        pytest.skip("the worker's library needs Python 3.13, and none was found (set HUB_PYTHON313)")
    home = ROOT / ".venv-worker"
    requirements = ROOT / "requirements.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + _RUNTIME.encode() + python.encode()).hexdigest()
    stamp = home / "stamp"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(home)], check=True)
        uv = str(Path(sys.executable).with_name("uv"))
        pip = [str(home / "bin/python"), "-m", "pip", "install", "-q"]
        for installer in ([uv, "pip", "install", "-q", "--python", str(home / "bin/python")], pip):
            with contextlib.suppress(FileNotFoundError):
                # The app's own by their hashes, as in Azure; the library beside them in a second step.
                for what in (["--require-hashes", "-r", str(requirements)], [_RUNTIME]):
                    installed = subprocess.run(
                        [*installer, *what], capture_output=True, text=True, check=False
                    )
                    if installed.returncode:
                        break
                else:
                    break
        else:
            pytest.skip(f"the worker's library could not be installed: {installed.stderr[-300:]}")
        stamp.write_text(wanted)
    return home / "bin/python"


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
