"""The examples work with the API as it is: the client against each receiver."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.harness import ROOT, HostProcess, free_port
from tests.loopback.azurite import NODE_MODULES, node_package
from tests.worlds.hub_api import fresh_tenant

pytestmark = pytest.mark.e2e
EXAMPLES = ROOT / "examples"


@contextmanager
def serving(command: Sequence[str], port: int, output: Path, **surroundings: str) -> Iterator[None]:
    """A receiver, once it listens."""
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **surroundings}
        )
        try:
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, "it does not listen"
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                except OSError:
                    time.sleep(0.05)
                else:
                    break
            yield
        finally:
            process.terminate()
            process.wait(10)


def run_client(host: HostProcess, port: int, webhook: Path) -> str:
    """What examples/client.py prints."""
    surroundings = {
        **os.environ,
        "TOKEN": fresh_tenant(host).token,
        "HUB_URL": host.url.removesuffix("/api"),
    }
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "client.py"), f"http://localhost:{port}/", str(webhook)],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_client(printed: str) -> None:
    lines = printed.splitlines()
    assert "Verified" in lines[0] or "Active" in lines[0], lines
    assert "'accepted': 3" in lines[1]
    assert lines[2:] == ["booking.confirmed  Delivered  200"] * 3


def test_the_python_client_and_the_python_receiver(host: HostProcess, tmp_path: Path) -> None:
    port, webhook, output = free_port(), tmp_path / "webhook.json", tmp_path / "receiver.log"
    command = [
        sys.executable,
        str(EXAMPLES / "receiver.py"),
        "--port",
        str(port),
        "--webhook",
        str(webhook),
    ]
    with serving(command, port, output):
        check_client(run_client(host, port, webhook))
    printed = output.read_text()
    assert printed.count("signature valid") == 3, printed
    assert "refused" not in printed


def test_the_python_client_and_the_node_receiver(host: HostProcess, tmp_path: Path) -> None:
    node, _ = node_package("standardwebhooks")
    port, webhook, output = free_port(), tmp_path / "webhook.json", tmp_path / "receiver.log"
    shutil.copy(EXAMPLES / "node-receiver" / "index.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES.resolve())
    command = [node, str(tmp_path / "index.mjs")]
    with serving(command, port, output, PORT=str(port), WEBHOOK_FILE=str(webhook)):
        check_client(run_client(host, port, webhook))
    printed = output.read_text()
    assert printed.count("booking.confirmed") == 3, printed
    assert "refused" not in printed
