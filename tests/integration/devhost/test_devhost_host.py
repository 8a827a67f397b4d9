"""Loading an app, its settings and keys; draining; logs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from devhost.config import expand, load_host_json, load_local_settings
from devhost.errors import HostError
from devhost.invocation import trace_of
from devhost.keys import load_keys
from devhost.server import finish_tasks
from infra.observability import logs
from tests import ROOT


def app_in(directory: Path, source: str, host_json: str = "{}") -> Path:
    (directory / "function_app.py").write_text("import azure.functions as func\n" + source)
    (directory / "host.json").write_text(host_json)
    return directory


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("x = 1", "no module-level `app`"),
        (
            "app = func.FunctionApp()\n"
            "@app.timer_trigger(schedule='%NO_SUCH%', arg_name='t')\ndef f(t: func.TimerRequest): ...",
            "NO_SUCH",
        ),
        (
            "app = func.FunctionApp()\n"
            "@app.blob_trigger(arg_name='b', path='p', connection='c')\ndef f(b): ...",
            "blobTrigger",
        ),
        (
            "app = func.FunctionApp()\n"
            "@app.function_name('same')\n@app.route('a')\ndef f(req): ...\n"
            "@app.function_name('same')\n@app.route('b')\ndef g(req): ...",
            "same",
        ),
    ],
)
def test_an_app_that_cannot_be_served_is_refused_with_the_reason(
    tmp_path: Path, source: str, complaint: str
) -> None:
    app_in(tmp_path, source)
    command = [sys.executable, "-m", "devhost", "functions", "--app-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_host_json_is_read_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(
        '{"extensions": {"http": {"routePrefix": "/v1/"}, "serviceBus": {"maxBatchWaitTime": "00:00:05"}}}'
    )
    host_json = load_host_json(tmp_path)
    assert (host_json.route_prefix, host_json.max_outstanding_requests) == ("v1", -1)
    assert (host_json.max_batch_wait_seconds, host_json.max_concurrent_calls) == (5.0, 16)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"extensions": {"http": {"maxConcurrentRequests": "many"}}}', None]
)
def test_a_host_json_that_makes_no_sense_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "host.json").write_text(text)
    with pytest.raises(HostError):
        load_host_json(tmp_path)


def test_the_environment_wins_over_local_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"Values": {"DEVHOST_TEST_A": "file", "DEVHOST_TEST_B": "file"}}
    (tmp_path / "local.settings.json").write_text(json.dumps(values))
    monkeypatch.setenv("DEVHOST_TEST_A", "environment")
    monkeypatch.delenv("DEVHOST_TEST_B", raising=False)
    load_local_settings(tmp_path)
    assert expand("%DEVHOST_TEST_A% %DEVHOST_TEST_B%", "x") == "environment file"


def test_keys_are_kept_private_and_open_their_levels(tmp_path: Path) -> None:
    keys = load_keys(tmp_path)
    file = tmp_path / "host-keys.json"
    stored = json.loads(file.read_text())
    assert file.stat().st_mode & 0o077 == 0
    function, master = stored["functionKeys"]["default"], stored["masterKey"]
    opens = {
        level: [keys.allows(level, key) for key in (None, "x", function, master)]
        for level in ("anonymous", "function", "admin")
    }
    assert opens == {
        "anonymous": [True, True, True, True],
        "function": [False, False, True, True],
        "admin": [False, False, False, True],
    }
    assert load_keys(tmp_path).allows("admin", master)
    assert [path.name for path in tmp_path.iterdir()] == ["host-keys.json"]


def test_a_trace_is_taken_from_a_sound_traceparent_only() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_of(f"00-{trace}-00f067aa0ba902b7-01") == trace
    for bad in (None, "", "00-zz-00-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"):
        fresh = trace_of(bad)
        assert len(fresh) == 32
        assert fresh not in (trace, "0" * 32)


async def test_a_drain_waits_for_background_tasks_and_what_they_start() -> None:
    finished = []

    async def inner() -> None:
        await asyncio.sleep(0.01)
        finished.append("inner")

    async def outer() -> None:
        await asyncio.sleep(0.01)
        spawned.append(asyncio.create_task(inner()))
        finished.append("outer")

    spawned = [asyncio.create_task(outer())]
    own = {task for task in asyncio.all_tasks() if task not in spawned}
    left = await finish_tasks(own, asyncio.get_running_loop().time() + 5)
    assert (finished, left) == (["outer", "inner"], set())


async def test_a_drain_cancels_what_does_not_end_in_time() -> None:
    endless = asyncio.create_task(asyncio.sleep(3600), name="endless")
    own = asyncio.all_tasks() - {endless}
    left = await finish_tasks(own, asyncio.get_running_loop().time() + 0.02)
    assert [task.get_name() for task in left] == ["endless"]
    assert endless.cancelled()


def logged(log: logging.Logger) -> tuple[logging.Handler, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    log.addHandler(handler)
    log.propagate = False
    return handler, stream


def test_a_log_line_is_json_with_its_trace_and_fields() -> None:
    log = logging.getLogger("test.logs")
    _, stream = logged(log)
    with logs.bind(trace="t" * 32, request="r-1", tenantId="x"):
        log.warning("Said %s", "so", extra={"webhookId": 7})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("Broke")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "WARNING",
        "logger": "test.logs",
        "message": "Said so",
        "traceId": "t" * 32,
        "requestId": "r-1",
        "tenantId": "x",
        "webhookId": 7,
    }
    assert "ValueError: two\nlines" in second["exception"]
    assert "traceId" not in second
