"""The development host over real HTTP, serving the small app of tests/fixtures/hostapp."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from domain.core.ports import QueueMessage
from infra.clock import AdjustableClock
from infra.embedded.queue import EmbeddedQueue
from tests import ROOT
from tests.loopback.plain_http import PLAIN

pytestmark = pytest.mark.e2e

APP = ROOT / "tests" / "fixtures" / "hostapp"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class RunningHost:
    """A started host: its address, state directory and process."""

    def __init__(self, home: Path, workers: int, *options: str) -> None:
        environment = {**os.environ, "HUB_HOME": str(home), "TICK": "0 0 0 1 1 *"}
        for setting in ("ServiceBusConnection", "PORT", "WORKERS"):
            environment.pop(setting, None)
        command = [sys.executable, "-m", "devhost", "start", "--port", "0", "--app-dir", str(APP)]
        command += ["--workers", str(workers), "--drain-seconds", "10", *options]
        self.home = home
        self._log = (home / "log").open("ab")
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert "http://" in first, (home / "log").read_text()
        self.url = first.split()[-1]
        self.client = httpx.Client(base_url=self.url, timeout=10, verify=PLAIN)

    def lines(self, name: str) -> list[str]:
        path = self.home / name
        return path.read_text().splitlines() if path.exists() else []

    def log(self) -> str:
        return (self.home / "log").read_text()

    def worker_pids(self) -> set[int]:
        """The process ids that answer, each request on a connection of its own."""
        answers = (httpx.get(f"{self.url}/api/pid", timeout=10, verify=PLAIN) for _ in range(24))
        return {answer.json()["pid"] for answer in answers}

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return code


def eventually(condition: Callable[[], bool], seconds: float = 8.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie waits for its parent to notice.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    running = RunningHost(tmp_path_factory.mktemp("single"), 1)
    yield running
    assert running.stop() == 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[RunningHost]:
    running = RunningHost(tmp_path, 2)
    yield running
    running.stop()


def test_a_binary_body_comes_back_as_it_went(host: RunningHost) -> None:
    body = bytes(range(256)) * 5000
    answer = host.client.post(
        "/api/Echo/a%20b/7?x=1&x=2&empty=",
        content=body,
        headers=[(b"X-SEND", b"\xe4")],
    )
    assert answer.status_code == 201
    assert answer.content == body
    assert answer.headers["x-url"] == f"{host.url}/api/Echo/a%20b/7?x=1&x=2&empty="
    assert json.loads(answer.headers["x-route"]) == {"name": "a b", "number": "7"}
    assert json.loads(answer.headers["x-params"]) == {"x": "1,2"}
    assert answer.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    assert answer.headers["x-sent"] == "\u00e4"
    assert "server" not in answer.headers


def test_of_a_chunked_body_nothing_arrives_as_on_azure(host: RunningHost) -> None:
    answer = host.client.post("/api/echo/x", content=iter([b"one", b"two", b"\0"]))
    assert (answer.status_code, answer.content) == (201, b"")
    assert host.client.post("/api/echo/x", content=b"whole").content == b"whole", "on the same connection"


def test_an_exception_is_a_problem_without_a_stack_and_the_log_has_its_trace(host: RunningHost) -> None:
    answer = host.client.get("/api/fail", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    problem = answer.json()
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["traceId"]) == (500, TRACE)
    assert "secret of the stack" not in answer.text
    assert "Traceback" not in answer.text
    failures = [json.loads(line) for line in host.log().splitlines() if TRACE in line]
    assert "the secret of the stack" in failures[0]["exception"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/none"), ("POST", "/api/ping"), ("HEAD", "/api/ping"), ("GET", "/ping")]
)
def test_what_no_function_serves_is_not_found(host: RunningHost, method: str, path: str) -> None:
    assert host.client.request(method, path).status_code == 404


def test_a_body_over_the_limit_is_refused_before_it_is_sent(host: RunningHost) -> None:
    with socket.create_connection(("127.0.0.1", int(host.url.rpartition(":")[2])), timeout=10) as connection:
        length = 16 * 1024 * 1024 + 1
        connection.sendall(
            f"POST /api/echo/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_a_function_key_opens_a_locked_function(host: RunningHost) -> None:
    key = json.loads((host.home / "host-keys.json").read_text())["functionKeys"]["default"]
    assert host.client.get("/api/locked").status_code == 401
    assert host.client.get("/api/locked?code=wrong").status_code == 401
    assert host.client.get("/api/locked", params={"code": key}).text == "open"
    assert host.client.get("/api/locked", headers={"x-functions-key": key}).text == "open"


def test_a_function_sees_its_context_and_trace(host: RunningHost) -> None:
    seen = host.client.get("/api/pid", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}).json()
    assert seen["function"] == "pid"
    assert seen["traceparent"].split("-")[1] == TRACE


def test_messages_arrive_in_batches_of_the_configured_size(host: RunningHost) -> None:
    queue = EmbeddedQueue(host.home / "queue.db", AdjustableClock(host.home / "clock"))
    queue.send("batches", [QueueMessage(str(number)) for number in range(120)])
    assert eventually(lambda: queue.depths().get("batches") is None)
    batches = [json.loads(line)["bodies"] for line in host.lines("batches")]
    assert [len(batch) for batch in batches] == [50, 50, 20]
    assert [body for batch in batches for body in batch] == [str(number) for number in range(120)]
    queue.close()


def test_a_poisonous_message_ends_in_the_dead_letters(host: RunningHost) -> None:
    queue = EmbeddedQueue(host.home / "queue.db", AdjustableClock(host.home / "clock"))
    queue.send("poison", [QueueMessage("x", message_id="p1")])
    assert eventually(lambda: "poison" in queue.depths() and queue.depths()["poison"].dead == 1)
    assert host.lines("poison") == [f"p1 {count}" for count in range(1, 11)]
    queue.close()


def test_a_scheduled_message_waits_for_the_clock_and_a_moved_clock_fires_timers(host: RunningHost) -> None:
    clock = AdjustableClock(host.home / "clock")
    queue = EmbeddedQueue(host.home / "queue.db", clock)
    due = clock.now() + timedelta(hours=1)
    queue.send("batches", [QueueMessage("later", scheduled_at=due)])
    time.sleep(0.05)
    assert not any("later" in line for line in host.lines("batches"))
    clock.advance(3601)
    moved = time.monotonic()
    assert eventually(lambda: any("later" in line for line in host.lines("batches")))
    assert eventually(lambda: len(host.lines("hourly")) == 1)
    assert time.monotonic() - moved < 1.0
    queue.close()


def test_a_stopping_host_finishes_requests_and_background_work_and_exits_0(tmp_path: Path) -> None:
    host = RunningHost(tmp_path, 1)
    answers: list[str] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{host.url}/api/slow?seconds=0.5", timeout=10).text)
    )
    asking.start()
    assert eventually(lambda: host.lines("slow") == ["began"])
    assert host.client.post("/api/background").status_code == 202
    assert host.stop() == 0
    asking.join()
    assert answers == ["done"]
    assert host.lines("background") == ["finished"]
    assert "Traceback" not in host.log()


def test_two_workers_share_the_work_and_one_fires_the_timers(pair: RunningHost) -> None:
    pids = pair.worker_pids()
    assert len(pids) == 2
    assert eventually(lambda: len(pair.lines("tick")) == 1)  # runOnStartup, in one of them
    AdjustableClock(pair.home / "clock").advance(3600)
    assert eventually(lambda: len(pair.lines("hourly")) == 1)
    queue = EmbeddedQueue(pair.home / "queue.db", AdjustableClock(pair.home / "clock"))
    queue.send("batches", [QueueMessage(str(number)) for number in range(500)])
    assert eventually(lambda: queue.depths().get("batches") is None)
    batches = [json.loads(line) for line in pair.lines("batches")]
    counted = Counter(body for batch in batches for body in batch["bodies"])
    assert set(counted.values()) == {1}
    assert len(counted) == 500
    assert {batch["pid"] for batch in batches} == pids
    queue.close()
    assert len(pair.lines("hourly")) == 1
    assert pair.stop() == 0


def test_a_worker_that_dies_is_restarted_and_its_timers_are_taken_over(pair: RunningHost) -> None:
    before = pair.worker_pids()
    assert eventually(lambda: len(pair.lines("tick")) == 1)
    owner = int(pair.lines("tick")[0])
    os.kill(owner, signal.SIGKILL)
    time.sleep(0.6)
    AdjustableClock(pair.home / "clock").advance(3600)
    assert eventually(lambda: len(pair.lines("hourly")) == 1)
    after = pair.worker_pids()
    assert len(after) == 2
    assert len(after & before) == 1
    assert pair.stop() == 0


def test_workers_end_with_a_parent_that_was_killed(pair: RunningHost) -> None:
    pids = pair.worker_pids()
    pair.process.kill()
    assert eventually(lambda: not any(alive(pid) for pid in pids), 2.0)


def test_a_second_host_on_the_same_port_is_refused(pair: RunningHost, tmp_path: Path) -> None:
    port = pair.url.rpartition(":")[2]
    command = [
        sys.executable,
        "-m",
        "devhost",
        "start",
        "--port",
        port,
        "--app-dir",
        str(APP),
        "--workers",
        "2",
    ]
    environment = {**os.environ, "HUB_HOME": str(tmp_path / "other"), "TICK": "0 0 0 1 1 *"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert f"Port {port} cannot be served" in done.stderr


@pytest.mark.parametrize(("workers", "code"), [(1, -signal.SIGTERM), (2, 0)])
def test_a_host_that_ends_at_once_cuts_what_is_in_flight(tmp_path: Path, workers: int, code: int) -> None:
    host = RunningHost(tmp_path, workers, "--end-at-once")
    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(host.client.get, "/api/slow?seconds=5")
        assert eventually(lambda: host.lines("slow") != [])
        began = time.monotonic()
        host.process.terminate()
        assert host.process.wait(4) == code
        assert time.monotonic() - began < 2, "no drain"
        with pytest.raises(httpx.TransportError):
            cut.result(5)
    host.stop()
