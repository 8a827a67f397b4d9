"""Endpoints for the Azure adapters, on loopback only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_START_SECONDS = 20.0
_ACCOUNT = "devstoreaccount1"
_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's published account and key."""


@pytest.fixture(scope="session")
def azurite_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of Azurite's table service; the executable is `HUB_AZURITE`, or `azurite` on PATH."""
    executable = os.environ.get("HUB_AZURITE") or shutil.which("azurite")
    if executable is None:
        pytest.skip("Azurite is neither on PATH nor named by HUB_AZURITE")
    # The table service alone: the whole of Azurite would need two more ports.
    table_service = Path(executable).with_name("azurite-table")
    port = _free_port()
    process = subprocess.Popen(
        [table_service, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location",
         tmp_path_factory.mktemp("azurite"), "--tableHost", "127.0.0.1", "--tablePort", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port, process)
        endpoint = f"http://127.0.0.1:{port}/{_ACCOUNT}"
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={_ACCOUNT};AccountKey={_KEY};TableEndpoint={endpoint};"
        )
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("Azurite did not start")
